//! This cluster's own certificates, and what is wrong with them.
//!
//! A certificate that peers refuse leaves everything else intact: files are written, documents are exchanged, and every call
//! fails. So the certificates are checked here as a peer's Envoy would check them. The checks are pure: an adapter hands in the
//! bytes. What they find is of two kinds: faults that hold at any time ([`Credentials::faults`]), and times of validity, from
//! which [`Credentials::findings`] makes findings that come and go without any file changing.
//!
//! What Envoy refuses was tried on Envoy 1.40 with the SPIFFE validator on both sides; `controller/envoy/tests/envoy` repeats it.

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
    /// What is wrong whatever the time is.
    pub faults: Vec<Finding>,
    /// When each certificate is valid that a call depends on, and each root.
    pub validities: Vec<Validity>,
}

impl Credentials {
    /// Checks what the gateway and the egress show: their certificate chain, the leaf first, its private key, and the roots that
    /// peers are told.
    pub fn of_identity(chain: &Source<'_>, key: &Source<'_>, roots: &RootSource<'_>, ours: &TrustDomain) -> Self {
        let (mut credentials, anchors) = identity::check(chain, key, roots.roots, ours);
        credentials.add(roots::check(roots, &anchors));
        credentials
    }

    /// Checks the roots that peers are told, where the gateway's own certificate is somebody else's business: on Kubernetes.
    pub fn of_roots(roots: &RootSource<'_>) -> Self {
        roots::check(roots, &[])
    }

    /// Checks what the metadata endpoint shows.
    pub fn of_endpoint(chain: &Source<'_>, key: &Source<'_>) -> Self {
        endpoint::check(chain, key)
    }

    /// Adds what is known of other certificates.
    pub fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.validities.extend(other.validities);
    }

    /// Everything that is wrong at `now`.
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let of_time =
            self.validities.iter().filter_map(|validity| validity.finding(self.has_valid_root(validity, now), now));
        self.faults.iter().cloned().chain(of_time).collect()
    }

    /// The next moment after `now` at which [`Self::findings`] may be others.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.validities.iter().flat_map(Validity::changes).filter(|moment| *moment > now).min()
    }

    /// Whether calls do not depend on this root: those that the gateway's certificate may come from are asked, or all when that is not known.
    fn has_valid_root(&self, validity: &Validity, now: Timestamp) -> bool {
        let roots = || self.validities.iter().filter(|other| other.role == CertificateRole::Root);
        let anchored = roots().any(|root| root.anchor);
        validity.role == CertificateRole::Root && roots().any(|root| root.anchor == anchored && root.is_valid(now))
    }
}
