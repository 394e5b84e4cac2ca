//! Checks of the certificate that the gateway and the egress show.

use super::issuer::Issuer;
use super::leaf::{self, Chain};
use super::path::{self, Path};
use super::source::Source;
use super::validity::{CertificateRole, Validity};
use super::{Credentials, RootSource, key};
use crate::bundle::{Fingerprint, Root};
use crate::finding::{Finding, FindingReason, shown};
use fedgate_core::TrustDomain;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Checks a chain and its key, and returns which of the roots the chain leads to.
pub(super) fn check(
    chain: &Source<'_>,
    key: &Source<'_>,
    roots: &RootSource<'_>,
    ours: &TrustDomain,
) -> (Credentials, Vec<Fingerprint>) {
    let invalid = |why: String| {
        let faults = vec![chain.misplaced(FindingReason::InvalidCertificate, &why)];
        (Credentials { faults, validities: Vec::new() }, Vec::new())
    };
    let bytes = match &chain.bytes {
        Ok(bytes) => *bytes,
        Err(why) => {
            let faults = vec![chain.error(FindingReason::InvalidCertificate, why.clone())];
            return (Credentials { faults, validities: Vec::new() }, Vec::new());
        }
    };
    let read = match Chain::read(bytes) {
        Ok(read) => read,
        Err(why) => return invalid(why),
    };
    match read.parse() {
        Ok(certificates) => {
            let (mut credentials, anchors) = judge(chain, &certificates, roots, ours);
            if read.has_key {
                let message = "the file contains a private key next to the certificates: keep the key in a file of its own";
                credentials.faults.push(chain.warning(FindingReason::ExposedKey, message));
            }
            credentials
                .faults
                .extend(certificates.first().and_then(|leaf| key::check(key, leaf.public_key())));
            (credentials, anchors)
        }
        Err(why) => invalid(why),
    }
}

/// Checks a chain, leaf first, and returns which of the roots it leads to. `source` says where the
/// chain was found.
pub(super) fn judge(
    source: &Source<'_>,
    chain: &[X509Certificate<'_>],
    roots: &RootSource<'_>,
    ours: &TrustDomain,
) -> (Credentials, Vec<Fingerprint>) {
    let Some((leaf, _)) = chain.split_first() else { return (Credentials::default(), Vec::new()) };
    let form = leaf::faults(leaf, ours, Issuer::of(&source.object));
    let mut faults: Vec<_> = form.iter().map(|why| source.unfit(why)).collect();
    faults.extend(
        leaf::warnings(leaf).map(|why| source.warning(FindingReason::WeakCertificate, why)),
    );

    let parsed: Vec<_> = roots
        .roots
        .iter()
        .filter_map(|root| X509Certificate::from_der(root.der()).ok())
        .map(|(_, root)| root)
        .collect();
    let path = path::find(chain, &parsed);
    let mut validities: Vec<_> =
        validity(leaf, CertificateRole::Leaf, source).into_iter().collect();
    let mut anchors = Vec::new();
    match &path {
        None => {
            let message = untrusted(chain, &parsed, roots, Issuer::of(&source.object));
            faults.push(source.error(FindingReason::UntrustedCertificate, message));
        }
        Some(path) => {
            let intermediates: Vec<_> =
                path.intermediates.iter().filter_map(|index| chain.get(*index)).collect();
            faults.extend(of_path(source, leaf, &intermediates, path, &parsed, ours));
            validities.extend(
                intermediates
                    .into_iter()
                    .filter_map(|ca| validity(ca, CertificateRole::Intermediate, source)),
            );
            anchors.extend(
                path.anchors
                    .iter()
                    .filter_map(|index| roots.roots.get(*index))
                    .map(Root::fingerprint),
            );
        }
    }
    (Credentials { faults, validities }, anchors)
}

fn validity(
    certificate: &X509Certificate<'_>,
    role: CertificateRole,
    source: &Source<'_>,
) -> Option<Validity> {
    Validity::of(certificate, role, &source.object, source.field)
}

fn of_path(
    source: &Source<'_>,
    leaf: &X509Certificate<'_>,
    intermediates: &[&X509Certificate<'_>],
    path: &Path,
    roots: &[X509Certificate<'_>],
    ours: &TrustDomain,
) -> Vec<Finding> {
    let root = path.anchors.first().and_then(|index| roots.get(*index));
    let faults = path::faults(leaf, intermediates, root, ours);
    let mut findings: Vec<_> = faults.iter().map(|why| source.unfit(why)).collect();
    if path.weak {
        let message = "a signature in the chain is by an algorithm that is too weak to be checked (SHA-1, or an RSA key below 2048 bits), and \
                       programs other than Envoy refuse it: have the certificate signed with SHA-256";
        findings.push(source.warning(FindingReason::WeakCertificate, message));
    }
    findings
}

/// Explains why the chain leads to no root.
fn untrusted(
    chain: &[X509Certificate<'_>],
    roots: &[X509Certificate<'_>],
    source: &RootSource<'_>,
    issuer_kind: Issuer,
) -> String {
    let subjects: Vec<_> = chain.iter().map(|certificate| certificate.subject().as_raw()).collect();
    // The last certificate that can be reached from the leaf by following the issuers' names.
    let mut last = chain.first();
    for _ in chain {
        let issuer = last.map(|last| last.issuer().as_raw());
        let next = chain.iter().zip(&subjects).skip(1).find(|(next, subject)| {
            Some(**subject) == issuer && next.subject().as_raw() != next.issuer().as_raw()
        });
        last = next.map(|(next, _)| next).or(last);
    }
    let Some(last) = last else { return "the chain is empty".to_owned() };
    let issuer = shown(&last.issuer().to_string()).to_string();
    let location = issuer_kind.roots_location(source);
    let expected =
        format!("none of the roots in {location} has signed it, and peers trust no others");
    if last.issuer().as_raw() == last.subject().as_raw() {
        return format!(
            "{expected}: it is signed by itself; have it signed by the CA whose root is there"
        );
    }
    if roots.iter().any(|root| root.subject().as_raw() == last.issuer().as_raw()) {
        return format!(
            "{expected}: there is a root with the name of its issuer, {issuer}, which has another key; {}",
            issuer_kind.publish_other_root()
        );
    }
    format!("{expected}: it is issued by {issuer}; {}", issuer_kind.complete_chain(&location))
}
