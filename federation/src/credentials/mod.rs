//! This cluster's own certificates, and what is wrong with them.
//!
//! If peers refuse a certificate, everything else seems to work: files are written and documents
//! are exchanged, but every call fails. So the certificates are checked here as a peer's Envoy
//! would check them.
//!
//! The checks are pure: an adapter passes in the bytes. They find two kinds of things. Faults hold
//! at any time ([`Credentials::faults`]). Times of validity become findings in
//! [`Credentials::findings`], which come and go without any file changing.
//!
//! What Envoy refuses was tried on Envoy 1.40 with the SPIFFE validator on both sides;
//! `controller/envoy/tests/envoy` repeats it.

mod endpoint;
mod gateway;
mod identity;
mod issuer;
mod key;
mod leaf;
mod path;
mod roots;
mod source;
mod validity;

pub use gateway::PodChain;
pub use key::keys_match;
pub use leaf::{leaf_expiry, leaf_identities};
pub use roots::RootSource;
pub(crate) use roots::intermediate;
pub use source::Source;
pub use validity::{CertificateRole, Validity};

use crate::bundle::Fingerprint;
use crate::finding::Finding;
use fedgate_core::TrustDomain;
use issuer::POD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of this cluster's own certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credentials {
    /// The faults that do not depend on the time.
    pub faults: Vec<Finding>,
    /// The validity of each root, and of each certificate that a call depends on.
    pub validities: Vec<Validity>,
}

impl Credentials {
    /// Checks what the gateway and the egress use: their certificate chain, leaf first, its private
    /// key, and the roots that this cluster publishes.
    pub fn of_identity(
        chain: &Source<'_>,
        key: &Source<'_>,
        roots: &RootSource<'_>,
        ours: &TrustDomain,
    ) -> Self {
        let (mut credentials, anchors) = identity::check(chain, key, roots, ours);
        credentials.add(roots::check(roots, &anchors));
        credentials
    }

    /// Checks what the Pods of the gateway show, where istiod issues their certificates, and the
    /// published roots. The same fault of several Pods is one finding that names them. Nothing is
    /// assumed about Pods that are not in `pods`.
    pub fn of_gateway(pods: &[PodChain<'_>], roots: &RootSource<'_>, ours: &TrustDomain) -> Self {
        gateway::check(pods, roots, ours)
    }

    /// Checks the certificate of the metadata endpoint.
    pub fn of_endpoint(chain: &Source<'_>, key: &Source<'_>) -> Self {
        endpoint::check(chain, key)
    }

    /// Adds what is known of other certificates.
    pub fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.validities.extend(other.validities);
    }

    /// Returns what is known of the certificates that the gateway's Pods show.
    #[must_use]
    pub fn of_pods(&self) -> Self {
        let faults = self.faults.iter().filter(|fault| fault.object.kind == POD).cloned().collect();
        let validities = self
            .validities
            .iter()
            .filter(|validity| validity.object.kind == POD)
            .cloned()
            .collect();
        Self { faults, validities }
    }

    /// Returns the roots that the gateway's certificates lead to; `None` if it is not known which
    /// certificates the gateway shows.
    pub fn anchors(&self) -> Option<Vec<Fingerprint>> {
        let is_leaf = |validity: &Validity| validity.role == CertificateRole::Leaf;
        let anchors = self.validities.iter().filter(|validity| validity.anchor);
        self.validities.iter().any(is_leaf).then(|| anchors.filter_map(|root| root.root).collect())
    }

    /// Returns true if there are workloads besides the gateway, whose certificates are not known:
    /// where istiod issues them.
    pub fn has_workloads(&self) -> bool {
        self.validities.iter().any(|validity| validity.object.kind == POD)
    }

    /// Returns everything that is wrong at `now`.
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let found = |validity: &Validity| validity.finding(self.has_valid_root(validity, now), now);
        let (of_pods, of_others): (Vec<_>, Vec<_>) =
            self.validities.iter().partition(|validity| validity.object.kind == POD);
        let of_pods =
            of_pods.into_iter().filter_map(|validity| Some((validity.role, found(validity)?)));
        let of_others = of_others.into_iter().filter_map(found);
        self.faults.iter().cloned().chain(gateway::merge(of_pods)).chain(of_others).collect()
    }

    /// Returns the next moment after `now` at which [`Self::findings`] may change.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.validities.iter().flat_map(Validity::changes).filter(|moment| *moment > now).min()
    }

    /// Returns true if `validity` is a root's and calls do not depend on it, because another root
    /// is valid. If the roots that the gateway's certificate leads to are known, only those count.
    fn has_valid_root(&self, validity: &Validity, now: Timestamp) -> bool {
        let roots = || self.validities.iter().filter(|other| other.role == CertificateRole::Root);
        let anchored = roots().any(|root| root.anchor);
        validity.role == CertificateRole::Root
            && roots().any(|root| root.anchor == anchored && root.is_valid(now))
    }
}
