//! What to say on an `IstioFederation` that is no valid peer, so that its writer sees it on the object itself.

use super::condition::{Condition, ConditionStatus, ConditionType};
use crate::finding::{Finding, ObjectRef, Severity, messages};
use crate::object::{Objects, Peer};
use std::collections::{BTreeMap, BTreeSet};

/// The condition of each object that is none of the `peers`, by name: those of which `findings` say why not, and those that
/// the adapter could not even read.
pub(super) fn others(objects: &Objects, peers: &[Peer], findings: &[Finding]) -> BTreeMap<String, Condition> {
    let valid: BTreeSet<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let unreadable = objects.findings.iter().filter(|finding| is_unreadable(finding));
    let mut refusals: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in unreadable.chain(findings).filter(|finding| !valid.contains(finding.object.name.as_str())) {
        refusals.entry(&finding.object.name).or_default().push(finding);
    }
    refusals.into_iter().filter_map(|(name, findings)| Some((name.to_owned(), refused(&findings)?))).collect()
}

fn is_unreadable(finding: &Finding) -> bool {
    finding.severity == Severity::Error && finding.object.kind == ObjectRef::federation("").kind
}

/// With the first finding's reason, and what each of them says.
fn refused(findings: &[&Finding]) -> Option<Condition> {
    let reason = findings.first()?.reason.camel_case();
    let message = messages(findings.iter().map(|finding| finding.with_field()));
    Some(Condition { kind: ConditionType::Accepted, status: ConditionStatus::False, reason, message })
}
