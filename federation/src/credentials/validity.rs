//! When certificates are valid, and the findings about those that are not.

use super::issuer::Issuer;
use super::leaf::uris;
use crate::bundle::{Fingerprint, Root};
use crate::finding::{Finding, FindingReason, ObjectRef, Severity, shown};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;

/// A certificate ends soon at most this long before its end.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A certificate with a short life ends soon when this fraction of its life is left. Certificates
/// valid for a day are usual in meshes.
const SOON_PART: i32 = 10;

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRole {
    /// Shown by the gateway and the egress.
    Leaf,
    /// Between the leaf and a root.
    Intermediate,
    /// Published to the peers.
    Root,
    /// Shown by the metadata endpoint.
    Endpoint,
}

impl CertificateRole {
    /// All roles.
    pub const ALL: &'static [Self] = &[Self::Leaf, Self::Intermediate, Self::Root, Self::Endpoint];

    /// Returns the word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Intermediate => "intermediate",
            Self::Root => "root",
            Self::Endpoint => "endpoint",
        }
    }

    fn words(self, issuer: Issuer) -> &'static str {
        match self {
            Self::Leaf if issuer == Issuer::Istiod => "the gateway's certificate",
            Self::Leaf => "the certificate of gateway and egress",
            Self::Intermediate => "the intermediate CA's certificate in the chain",
            Self::Root => "the root",
            Self::Endpoint => "the metadata endpoint's certificate",
        }
    }

    /// Returns what happens if it is not valid.
    fn consequence(self, issuer: Issuer) -> &'static str {
        match self {
            Self::Leaf if issuer == Issuer::Istiod => "peers refuse every connection to this Pod",
            Self::Leaf => "peers refuse every connection from and to this cluster",
            Self::Intermediate => {
                "peers refuse every certificate that it signed, and so every connection"
            }
            Self::Root => "peers refuse every certificate that it signed",
            Self::Endpoint => "peers cannot fetch this cluster's metadata",
        }
    }

    fn remedy(self, issuer: Issuer) -> &'static str {
        match self {
            Self::Leaf if issuer == Issuer::Istiod => {
                "look at the log of the Pod's istio-agent, which renews it from istiod, and at `istioctl proxy-config secret`"
            }
            Self::Intermediate if issuer == Issuer::Istiod => {
                "renew the CA that istiod signs with (Secret cacerts)"
            }
            Self::Leaf | Self::Endpoint => "have it renewed and replace the files",
            Self::Intermediate => "put the CA's new certificate into the chain",
            Self::Root => {
                "publish a new root next to it, and sign with the new one once the peers have acknowledged it"
            }
        }
    }
}

/// The time in which a certificate is valid, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validity {
    /// What the certificate is used for.
    pub role: CertificateRole,
    /// Its subject or fingerprint, escaped for display.
    pub name: String,
    /// Where it comes from.
    pub object: ObjectRef,
    /// The field of that object.
    pub field: String,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// Whether it is a root that the gateway's own certificate leads to.
    #[serde(default)]
    pub anchor: bool,
    /// The fingerprint of a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Fingerprint>,
}

/// Its subject; istiod gives workloads an empty one, and then it is the first URI SAN.
fn name(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject().to_string();
    match uris(certificate).first() {
        Some(uri) if subject.is_empty() => shown(uri).to_string(),
        _ => shown(&subject).to_string(),
    }
}

/// The relation of a moment to a validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Within,
    EndsSoon,
    After,
}

impl Validity {
    pub(super) fn of_root(root: &Root, object: &ObjectRef, field: &str, anchor: bool) -> Self {
        Self {
            role: CertificateRole::Root,
            name: format!("{} ({})", root.fingerprint(), root.subject()),
            object: object.clone(),
            field: field.to_owned(),
            not_before: root.not_before(),
            not_after: root.not_after(),
            anchor,
            root: Some(root.fingerprint()),
        }
    }

    /// Returns `None` if its dates are not representable.
    pub(super) fn of(
        certificate: &X509Certificate<'_>,
        role: CertificateRole,
        object: &ObjectRef,
        field: &str,
    ) -> Option<Self> {
        let validity = certificate.validity();
        Some(Self {
            role,
            name: name(certificate),
            object: object.clone(),
            field: field.to_owned(),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            anchor: false,
            root: None,
        })
    }

    /// Returns true if the certificate is valid at `now`.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        matches!(self.phase(now), Phase::Within | Phase::EndsSoon)
    }

    fn phase(&self, now: Timestamp) -> Phase {
        match () {
            () if now < self.not_before => Phase::Before,
            () if now >= self.ended() => Phase::After,
            () if now >= self.ends_soon() => Phase::EndsSoon,
            () => Phase::Within,
        }
    }

    /// Returns the first moment after the validity.
    fn ended(&self) -> Timestamp {
        self.not_after.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
    }

    fn ends_soon(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after.checked_sub(SOON.min(life / SOON_PART)).unwrap_or(self.not_before)
    }

    pub(super) fn changes(&self) -> [Timestamp; 3] {
        [self.not_before, self.ends_soon(), self.ended()]
    }

    /// Returns the finding at `now`. `replaced` says that another certificate does its work, so
    /// that calls do not depend on it.
    pub(super) fn finding(&self, replaced: bool, now: Timestamp) -> Option<Finding> {
        let (role, end) = (self.role, self.not_after);
        let (reason, what, then) = match self.phase(now) {
            Phase::Within => return None,
            Phase::EndsSoon => {
                (FindingReason::CertificateEndsSoon, format!("expires at {end}"), "from then on ")
            }
            Phase::After => (FindingReason::CertificateExpired, format!("expired at {end}"), ""),
            Phase::Before => {
                let what = format!("is not valid before {}; compare the clocks", self.not_before);
                (FindingReason::CertificateNotYetValid, what, "until then ")
            }
        };
        let issuer = Issuer::of(&self.object);
        let message = format!(
            "{} {} {what}: {then}{}; {}",
            role.words(issuer),
            self.name,
            role.consequence(issuer),
            if reason == FindingReason::CertificateNotYetValid {
                "or wait until it is"
            } else {
                role.remedy(issuer)
            }
        );
        let severity = match reason == FindingReason::CertificateEndsSoon || replaced {
            true => Severity::Warning,
            false => Severity::Error,
        };
        Some(Finding::new(severity, reason, self.object.clone(), self.field.clone(), message))
    }
}
