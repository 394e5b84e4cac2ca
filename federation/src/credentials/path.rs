//! Finds and checks the certification path from a leaf over intermediates to a root (RFC 5280,
//! section 6.1), without regard to time.

use fedgate_core::TrustDomain;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use std::slice;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::Oid;

/// A path to at least one root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The indexes of the intermediates in the chain, from the leaf upwards.
    pub(super) intermediates: Vec<usize>,
    /// The indexes of the roots that may have signed the last certificate of the path.
    pub(super) anchors: Vec<usize>,
    /// Whether a signature on the path could not be checked because its algorithm is too weak, such
    /// as SHA-1.
    pub(super) weak: bool,
}

/// Finds a path from the first certificate of `chain`, over others in it, to one of `roots`.
pub(super) fn find(chain: &[X509Certificate<'_>], roots: &[X509Certificate<'_>]) -> Option<Path> {
    let search =
        Search { chain, roots, algorithms: default_provider().signature_verification_algorithms };
    search.from(0, &mut Vec::new())
}

struct Search<'a> {
    chain: &'a [X509Certificate<'a>],
    roots: &'a [X509Certificate<'a>],
    algorithms: WebPkiSupportedAlgorithms,
}

impl Search<'_> {
    /// Returns the path from the certificate at `index`; `passed` are the intermediates that lead
    /// there.
    fn from(&self, index: usize, passed: &mut Vec<usize>) -> Option<Path> {
        let certificate = self.chain.get(index)?;
        let (anchors, weak) = self.issuers(certificate, self.roots);
        if !anchors.is_empty() {
            return Some(Path { intermediates: passed.clone(), anchors, weak });
        }
        let (issuers, weak) = self.issuers(certificate, self.chain);
        for issuer in issuers.into_iter().filter(|issuer| *issuer > 0) {
            if passed.contains(&issuer) {
                continue;
            }
            passed.push(issuer);
            if let Some(path) = self.from(issuer, passed) {
                return Some(Path { weak: path.weak || weak, ..path });
            }
            passed.pop();
        }
        None
    }

    fn issuers(
        &self,
        certificate: &X509Certificate<'_>,
        candidates: &[X509Certificate<'_>],
    ) -> (Vec<usize>, bool) {
        let named = candidates
            .iter()
            .enumerate()
            .filter(|(_, issuer)| issuer.subject().as_raw() == certificate.issuer().as_raw());
        let signed: Vec<_> =
            named.map(|(index, issuer)| (index, self.signature(certificate, issuer))).collect();
        let weak = signed.iter().any(|(_, signature)| *signature == Signature::Unknown);
        (
            signed
                .into_iter()
                .filter(|(_, signature)| *signature != Signature::Wrong)
                .map(|(index, _)| index)
                .collect(),
            weak,
        )
    }

    fn signature(
        &self,
        certificate: &X509Certificate<'_>,
        issuer: &X509Certificate<'_>,
    ) -> Signature {
        let key = issuer.public_key();
        let (signed, of_key) = (
            element(&certificate.signature_algorithm.algorithm),
            element(&key.algorithm.algorithm),
        );
        let usable = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref().starts_with(&signed)
                && algorithm.public_key_alg_id().as_ref().starts_with(&of_key)
        });
        let verified = usable.map(|algorithm| {
            let (message, value) =
                (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
            algorithm.verify_signature(&key.subject_public_key.data, message, value).is_ok()
        });
        match verified.reduce(|a, b| a || b) {
            Some(true) => Signature::Right,
            Some(false) => Signature::Wrong,
            None => Signature::Unknown,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Right,
    Wrong,
    /// Its algorithm is not supported here.
    Unknown,
}

/// Encodes an object identifier as a DER element, which is how algorithm identifiers begin.
fn element(oid: &Oid<'_>) -> Vec<u8> {
    let value = oid.as_bytes();
    [&[0x06, u8::try_from(value.len()).unwrap_or(u8::MAX)], value].concat()
}

/// Checks the certificates of a path: `leaf`, then the intermediates upwards, then the root.
pub(super) fn faults(
    leaf: &X509Certificate<'_>,
    intermediates: &[&X509Certificate<'_>],
    root: Option<&X509Certificate<'_>>,
    ours: &TrustDomain,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (below, intermediate) in intermediates.iter().enumerate() {
        let named = |what: &str| {
            format!(
                "the intermediate CA {} {what}",
                crate::finding::shown(&intermediate.subject().to_string())
            )
        };
        faults.extend(of_issuer(intermediate, below).map(|fault| named(&fault)));
    }
    let all = slice::from_ref(&leaf).iter().chain(intermediates);
    faults.extend(all.clone().flat_map(|certificate| critical(certificate)));
    let constrained =
        intermediates.iter().copied().chain(root).filter(|issuer| !permits(issuer, ours));
    faults.extend(constrained.map(|issuer| {
        let issuer = crate::finding::shown(&issuer.subject().to_string()).to_string();
        format!("the name constraints of {issuer} exclude identities of {ours}: expected a CA that may sign URIs of that host")
    }));
    faults
}

/// Checks an intermediate with `below` further intermediates between it and the leaf.
fn of_issuer(issuer: &X509Certificate<'_>, below: usize) -> Option<String> {
    let constraints = issuer.basic_constraints().ok().flatten().map(|extension| extension.value);
    let usage = issuer.key_usage().ok().flatten().map(|extension| extension.value);
    let longest = constraints.and_then(|constraints| constraints.path_len_constraint);
    if !constraints.is_some_and(|constraints| constraints.ca) {
        return Some(
            "is not a CA (basicConstraints is not CA:TRUE): expected the CA that signed the leaf"
                .to_owned(),
        );
    }
    if usage.is_some_and(|usage| !usage.key_cert_sign()) {
        return Some("may not sign certificates: expected keyUsage with keyCertSign".to_owned());
    }
    let too_long =
        longest.filter(|longest| usize::try_from(*longest).is_ok_and(|longest| below > longest));
    too_long.map(|longest| {
        format!(
            "allows {longest} intermediates below it (pathlen), and there are {below}; use a CA that allows as many"
        )
    })
}

/// Finds a critical extension that BoringSSL does not know. It refuses a certificate with one.
fn critical(certificate: &X509Certificate<'_>) -> Option<String> {
    let unknown = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        extension.critical
            && matches!(extension.parsed_extension(), ParsedExtension::UnsupportedExtension { .. })
    };
    let oid = certificate.extensions().iter().find(unknown)?.oid.to_id_string();
    let subject = crate::finding::shown(&certificate.subject().to_string()).to_string();
    Some(format!(
        "certificate {subject} has a critical extension that Envoy does not know ({oid}), so peers refuse it"
    ))
}

/// Returns true if the name constraints of a CA permit URIs whose host is `ours` (RFC 5280, section
/// 4.2.1.10).
fn permits(issuer: &X509Certificate<'_>, ours: &TrustDomain) -> bool {
    let constraints = issuer.name_constraints().ok().flatten().map(|extension| extension.value);
    let Some(constraints) = constraints else { return true };
    let uris = |subtrees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        let uri = |subtree: &x509_parser::extensions::GeneralSubtree<'_>| match &subtree.base {
            GeneralName::URI(host) => Some((*host).to_owned()),
            _ => None,
        };
        subtrees.iter().flatten().filter_map(uri).collect::<Vec<_>>()
    };
    let covers = |host: &String| match host.strip_prefix('.') {
        Some(_) => ours.as_str().ends_with(host.as_str()),
        None => host.eq_ignore_ascii_case(ours.as_str()),
    };
    let (permitted, excluded) =
        (uris(&constraints.permitted_subtrees), uris(&constraints.excluded_subtrees));
    (permitted.is_empty() || permitted.iter().any(covers)) && !excluded.iter().any(covers)
}
