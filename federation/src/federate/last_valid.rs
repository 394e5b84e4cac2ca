//! A mistake in the object of a known peer does not break what works. The last valid version of the
//! object stays in force until the mistake is fixed or the object is deleted.

use super::Inputs;
use super::condition::Condition;
use crate::finding::{Finding, FindingReason, Severity};
use crate::object::{Named, Peer};
use std::collections::BTreeMap;

const STAYS: &str = "the last valid version of the object stays in force";

/// Returns the peers whose objects were valid before and are not now. Their findings say what stays
/// in force.
pub(super) fn peers(
    inputs: &Inputs<'_>,
    valid: &[Peer],
    refused: &BTreeMap<String, Condition>,
    findings: &mut [Finding],
) -> Vec<Peer> {
    let names =
        refused.keys().filter(|name| !valid.iter().any(|peer| peer.name.as_str() == name.as_str()));
    let peers: Vec<_> = names.filter_map(|name| last_valid(inputs, name, findings)).collect();
    for finding in
        findings.iter_mut().filter(|finding| peers.iter().any(|peer| is_about(finding, peer)))
    {
        finding.message = format!("{}; {STAYS}", finding.message);
    }
    peers
}

fn last_valid(inputs: &Inputs<'_>, name: &str, findings: &[Finding]) -> Option<Peer> {
    let (_, knowledge) = inputs.knowledge.iter().find(|(peer, _)| peer.as_str() == name)?;
    // An object that describes this cluster is valid but is not a peer.
    if findings
        .iter()
        .any(|finding| finding.reason == FindingReason::ThisCluster && finding.object.name == name)
    {
        return None;
    }
    let source = inputs
        .objects
        .federations
        .iter()
        .find(|named| named.name == name)
        .and_then(|named| named.source.clone());
    let annotations = knowledge.annotations.clone();
    let object = Named { source, annotations, ..Named::new(name, knowledge.object.clone()?) };
    let (peer, _) = Peer::parse(&object).ok()?;
    (peer.trust_domain != inputs.local.trust_domain).then_some(peer)
}

fn is_about(finding: &Finding, peer: &Peer) -> bool {
    let object = peer.object();
    finding.severity == Severity::Error
        && finding.object.kind == object.kind
        && finding.object.name == object.name
}

/// Returns the `Accepted` condition of a peer whose object is not valid now.
pub(super) fn condition(peer: &Peer, refused: &BTreeMap<String, Condition>) -> Option<Condition> {
    let refused = refused.get(peer.name.as_str())?;
    let message = match refused.message.contains("stay") {
        true => refused.message.clone(),
        false => format!("{}; {STAYS}", refused.message),
    };
    Some(Condition { message, ..refused.clone() })
}
