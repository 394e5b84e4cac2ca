//! Finds out what the compiled federation says about a step.

use super::{Question, Sources};
use fedgate_core::{Callers, Mode, Outcome, PeerName, PeerRow};
use fedgate_federation::federate::{PeerReport, Standing};
use fedgate_federation::grant::{Access, PeerGrant};

pub(super) fn report<'a>(sources: &Sources<'a>, peer: &str) -> Option<&'a PeerReport> {
    sources.federation.peers.iter().find(|report| report.peer.name.as_str() == peer)
}

fn grant_of<'a>(sources: &Sources<'a>, question: &Question, peer: &str) -> Option<&'a PeerGrant> {
    let export = sources.federation.exports.iter().find(|export| export.service == question.to)?;
    export.grants.iter().find(|grant| grant.peer.as_str() == peer)
}

/// Why a peer is not in the table in force.
pub(super) fn not_in_table(
    sources: &Sources<'_>,
    name: &PeerName,
    report: Option<&PeerReport>,
) -> String {
    match report.map(|report| &report.standing) {
        None => format!("there is no valid IstioFederation {name}"),
        Some(Standing::Refused { message, .. }) => format!("{name} is refused: {message}"),
        Some(Standing::Accepted) if report.is_some_and(|report| report.is_dropped) => {
            format!(
                "{name} was silent for too long: its public document has expired, and it is set to Drop then"
            )
        }
        Some(Standing::Accepted) => format!("{name} is not in it yet: {}", older_table(sources)),
    }
}

/// What happens by the table in force to the peer's callers that get furthest.
pub(super) fn best_outcome(
    sources: &Sources<'_>,
    question: &Question,
    peer: &PeerRow<'_>,
) -> Outcome {
    let export = sources.table.export(question.to.host.as_str(), question.to.port);
    let grants = export.map(|export| sources.table.grants(export)).unwrap_or_default();
    match grants.iter().find(|(row, _)| row.name == peer.name).map(|(_, callers)| callers) {
        None => Outcome::Refused,
        Some(callers) if !callers.admits_none() => Outcome::Allowed,
        Some(_) if peer.mode == Mode::Audit => Outcome::Audited,
        Some(_) => Outcome::Refused,
    }
}

/// What follows the reason for a call that is not granted.
pub(super) fn audited(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Audited => " (audit mode: reported, and let through)",
        _ => "",
    }
}

/// The explanation when the objects differ from the table in force.
fn older_table(sources: &Sources<'_>) -> String {
    let generation = sources.table.generation();
    format!(
        "the table in force (generation {generation}) is older than the objects; see the findings of `fedgate status`"
    )
}

/// Who decided a peer's grant, in a sentence.
pub(super) fn decided_by(sources: &Sources<'_>, question: &Question, peer: Option<&str>) -> String {
    if sources.federation.table.as_ref().map_or(true, |made| made.hash() != sources.table.hash()) {
        return older_table(sources);
    }
    if sources.federation.health.as_ref() == Some(&question.to) {
        return "peers probe it to see whether they get through, and all of them may".to_owned();
    }
    let Some(grant) = peer.and_then(|peer| grant_of(sources, question, peer)) else {
        return older_table(sources);
    };
    match &grant.access {
        Access::Allowed { callers: Callers::Only(patterns), .. } => {
            let patterns: Vec<_> =
                patterns.iter().map(|p| format!("{}/{}", p.namespace, p.service_account)).collect();
            format!("{grant}, for the callers (namespace/service account) {}", patterns.join(", "))
        }
        _ => grant.to_string(),
    }
}

pub(super) fn not_announced(report: &PeerReport) -> String {
    format!(
        "peer {} does not offer it to us: it is not labelled there, or not granted to us. {}",
        report.peer.name,
        exchange(report, "Private")
    )
}

/// How the last exchange of a document went.
pub(super) fn exchange(report: &PeerReport, document: &str) -> String {
    let found = report
        .conditions
        .iter()
        .find(|condition| format!("{:?}", condition.kind).starts_with(document));
    match found {
        Some(condition) if condition.message.is_empty() => {
            format!("{document} metadata: {}", condition.reason)
        }
        Some(condition) => {
            format!("{document} metadata: {}: {}", condition.reason, condition.message)
        }
        None => String::new(),
    }
}
