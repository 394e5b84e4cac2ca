//! Who issues a certificate, which decides what an operator does about a bad one.

use super::RootSource;
use crate::finding::ObjectRef;

/// The kind of the objects that stand for the gateway's Pods.
pub(super) const POD: &str = "Pod";

/// Who issues the certificate of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issuer {
    /// The operator, or a program of the operator's, by writing files.
    Operator,
    /// istiod, for a Pod of the gateway. The agent in the Pod renews it.
    Istiod,
}

impl Issuer {
    /// The issuer of a certificate that was found in `object`.
    pub(super) fn of(object: &ObjectRef) -> Self {
        if object.kind == POD { Self::Istiod } else { Self::Operator }
    }

    /// What to do about a certificate that peers refuse at any time.
    pub(super) fn reissue(self) -> &'static str {
        match self {
            Self::Operator => "have the certificate issued anew",
            Self::Istiod => {
                "correct what istiod's CA issues and restart the Pod; `istioctl proxy-config secret` shows its certificate"
            }
        }
    }

    /// What to do when the trust domain is not ours.
    pub(super) fn correct_trust_domain(self) -> &'static str {
        match self {
            Self::Operator => "correct trustDomain if that is wrong",
            Self::Istiod => "set --trust-domain and istiod's meshConfig.trustDomain to the same",
        }
    }

    /// Where the published roots are.
    pub(super) fn roots_location(self, roots: &RootSource<'_>) -> String {
        match self {
            Self::Operator => roots.field.to_owned(),
            Self::Istiod => roots.object.to_string(),
        }
    }

    /// What to do when the issuer's name is that of a known root, and its key is not.
    pub(super) fn publish_other_root(self) -> &'static str {
        match self {
            Self::Operator => "publish the root that signed it",
            Self::Istiod => {
                "restart istiod if its root was replaced, so that it publishes the new one, then restart the Pod"
            }
        }
    }

    /// What to do when the issuer is unknown; `location` has the roots.
    pub(super) fn complete_chain(self, location: &str) -> String {
        match self {
            Self::Operator => {
                format!("append the certificate of that intermediate CA here, or put the root into {location}")
            }
            Self::Istiod => {
                "put the intermediate CA into cert-chain.pem and its root into root-cert.pem of the Secret that istiod signs with (cacerts), \
                 and restart the Pod if it has a certificate from before"
                    .to_owned()
            }
        }
    }
}
