//! Conditions for `IstioFederation`s that are not valid peers, so that their authors see the reason
//! on the object itself.

use super::condition::{Condition, ConditionStatus, ConditionType};
use crate::finding::{Finding, FindingReason, ObjectRef, Severity, messages};
use crate::object::Objects;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the condition of each object that is not valid as it is now, by name: those that
/// `findings` explain, and those that the adapter could not even read.
pub(super) fn refused_objects(
    objects: &Objects,
    findings: &[Finding],
) -> BTreeMap<String, Condition> {
    let unreadable = objects.findings.iter().filter(|finding| is_unreadable(finding));
    let mut refusals: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in
        unreadable.chain(findings).filter(|finding| finding.severity != Severity::Warning)
    {
        refusals.entry(&finding.object.name).or_default().push(finding);
    }
    refusals
        .into_iter()
        .filter_map(|(name, findings)| Some((name.to_owned(), refused(&findings)?)))
        .collect()
}

/// Leaves out the objects of `peers`, which have a report instead.
pub(super) fn without_peers(
    mut refused: BTreeMap<String, Condition>,
    peers: &BTreeSet<&str>,
) -> BTreeMap<String, Condition> {
    refused.retain(|name, _| !peers.contains(name.as_str()));
    refused
}

fn is_unreadable(finding: &Finding) -> bool {
    finding.severity == Severity::Error
        && finding.object.kind == ObjectRef::federation("").kind
        && finding.reason != FindingReason::DuplicateObject
}

/// Returns a condition with the first finding's reason and up to three of the messages.
fn refused(findings: &[&Finding]) -> Option<Condition> {
    let reason = findings.first()?.reason.camel_case();
    let message = messages(findings.iter().map(|finding| finding.with_field()));
    Some(Condition {
        kind: ConditionType::Accepted,
        status: ConditionStatus::False,
        reason,
        message,
    })
}
