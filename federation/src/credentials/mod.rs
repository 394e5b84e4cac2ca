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
mod identity;
mod key;
mod leaf;
mod path;
mod roots;
mod source;
mod validity;

pub use key::keys_match;
pub use leaf::leaf_identities;
pub use roots::RootSource;
pub(crate) use roots::intermediate;
pub use source::Source;
pub use validity::{CertificateRole, Validity};

use crate::finding::Finding;
use fedgate_core::TrustDomain;
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
    pub fn of_identity(chain: &Source<'_>, key: &Source<'_>, roots: &RootSource<'_>, ours: &TrustDomain) -> Self {
        let (mut credentials, anchors) = identity::check(chain, key, roots.roots, ours);
        credentials.add(roots::check(roots, &anchors));
        credentials
    }

    /// Checks only the published roots. For Kubernetes, where Istio manages the gateway's
    /// certificate.
    pub fn of_roots(roots: &RootSource<'_>) -> Self {
        roots::check(roots, &[])
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

    /// Returns everything that is wrong at `now`.
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let of_time =
            self.validities.iter().filter_map(|validity| validity.finding(self.has_valid_root(validity, now), now));
        self.faults.iter().cloned().chain(of_time).collect()
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
        validity.role == CertificateRole::Root && roots().any(|root| root.anchor == anchored && root.is_valid(now))
    }
}
