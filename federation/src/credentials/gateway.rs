//! The certificates that the Pods of a gateway show, where istiod issues them.

use super::identity::judge;
use super::issuer::Issuer;
use super::leaf::Chain;
use super::source::Source;
use super::validity::{CertificateRole, Validity};
use super::{Credentials, RootSource, roots};
use crate::bundle::Fingerprint;
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use fedgate_core::TrustDomain;

/// The most Pods that a finding names besides the first.
const NAMED: usize = 3;

/// What one Pod of the gateway shows in a TLS handshake.
#[derive(Debug, Clone)]
pub struct PodChain<'a> {
    /// The Pod.
    pub object: ObjectRef,
    /// The certificates in DER, the leaf first.
    pub certificates: &'a [Vec<u8>],
}

pub(super) fn check(
    pods: &[PodChain<'_>],
    roots: &RootSource<'_>,
    ours: &TrustDomain,
) -> Credentials {
    let (mut faults, mut validities, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
    for pod in pods {
        let (credentials, more) = of_pod(pod, roots, ours);
        faults.extend(credentials.faults.into_iter().map(|fault| (fault.message.clone(), fault)));
        credentials.validities.into_iter().for_each(|validity| add(&mut validities, validity));
        anchors.extend(more);
    }
    // A finding about several Pods speaks of the one whose certificate ends first.
    validities.sort_by_key(|validity| validity.not_after);
    let mut credentials = Credentials { faults: merge(faults), validities };
    credentials.add(roots::check(roots, &anchors));
    credentials
}

fn of_pod(
    pod: &PodChain<'_>,
    roots: &RootSource<'_>,
    ours: &TrustDomain,
) -> (Credentials, Vec<Fingerprint>) {
    let source = Source { object: pod.object.clone(), field: "", bytes: Ok(&[]) };
    let read = Chain::of_der(pod.certificates);
    let judged = read.as_ref().map_err(Clone::clone).and_then(|read| {
        let chain = read.parse()?;
        Ok(judge(&source, &chain, roots, ours))
    });
    judged.unwrap_or_else(|why| {
        let message = format!("{why}; {}", Issuer::Istiod.reissue());
        let faults = vec![source.error(FindingReason::InvalidCertificate, message)];
        (Credentials { faults, validities: Vec::new() }, Vec::new())
    })
}

/// Each Pod has a leaf of its own, and all have the same intermediates.
fn add(validities: &mut Vec<Validity>, validity: Validity) {
    let same = |known: &Validity| {
        Validity { object: validity.object.clone(), ..known.clone() } == validity
    };
    if validity.role == CertificateRole::Leaf || !validities.iter().any(same) {
        validities.push(validity);
    }
}

/// Makes one finding of those that are the same (by key, reason and severity) but for the Pod.
pub(super) fn merge<K: PartialEq>(found: impl IntoIterator<Item = (K, Finding)>) -> Vec<Finding> {
    let mut merged: Vec<(K, Finding, Vec<String>)> = Vec::new();
    for (key, finding) in found {
        let same = merged.iter_mut().find(|(known, first, _)| {
            (known, first.reason, first.severity) == (&key, finding.reason, finding.severity)
        });
        match same {
            Some((.., others)) if !others.contains(&finding.object.name) => {
                others.push(finding.object.name)
            }
            Some(_) => {}
            None => merged.push((key, finding, Vec::new())),
        }
    }
    merged.into_iter().map(|(_, finding, others)| counting(finding, &others)).collect()
}

fn counting(mut finding: Finding, others: &[String]) -> Finding {
    let named: Vec<_> = others.iter().take(NAMED).map(|name| shown(name).to_string()).collect();
    let more = match others.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match others {
        [] => {}
        [one] => finding
            .message
            .push_str(&format!(". The same holds for one more Pod of the gateway: {}", shown(one))),
        _ => {
            let count = others.len();
            let named = named.join(", ");
            finding.message.push_str(&format!(
                ". The same holds for {count} more Pods of the gateway: {named}{more}"
            ));
        }
    }
    finding
}
