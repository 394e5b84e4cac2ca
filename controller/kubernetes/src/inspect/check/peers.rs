//! Checks each peer, by its conditions, which show what the controller found when it asked the
//! peer.

use super::report::{Check, CheckOutcome, Section, rounded};
use crate::inspect::snapshot::Snapshot;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType, PeerReport};
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::Peer;
use jiff::Timestamp;

mod hint;

/// A section for each `IstioFederation`, including those that are not peers.
pub(super) fn sections(snapshot: &Snapshot, now: Timestamp) -> Vec<Section> {
    let federation = &snapshot.in_force.federation;
    let peers = federation
        .peers
        .iter()
        .map(|report| peer(report, snapshot.knowledge.get(&report.peer.name), now));
    let others = federation.non_peers.iter().map(|(name, condition)| Section {
        name: format!("peer {name}"),
        checks: vec![other(condition)],
    });
    peers.chain(others).collect()
}

const ACCEPTED: &str = "its IstioFederation is accepted";

/// An object that is not a peer. One that describes this cluster is fine.
fn other(condition: &Condition) -> Check {
    match condition.reason.as_str() {
        "ThisCluster" => Check::skipped(
            "accepted",
            ACCEPTED,
            "it describes this cluster itself, so it is not a peer",
        ),
        _ => Check::failed(
            "accepted",
            ACCEPTED,
            describe(condition),
            "fix the object; `kubectl explain istiofederation.spec` helps",
        ),
    }
}

fn peer(report: &PeerReport, knowledge: Option<&PeerKnowledge>, now: Timestamp) -> Section {
    let mut checks = Vec::new();
    for condition in &report.conditions {
        // The second request is not judged while the first one fails, because it fails for the same
        // reason.
        let waits = condition.kind == ConditionType::PrivateMetadataExchangeReady
            && condition.status != ConditionStatus::True
            && checks.last().is_some_and(|check: &Check| check.outcome == CheckOutcome::Failed);
        match waits {
            true => checks.push(Check::skipped(
                "private-metadata",
                PRIVATE,
                "the public metadata is needed first",
            )),
            false => checks.extend(line(condition, report, knowledge, now)),
        }
    }
    Section { name: format!("peer {} ({})", report.peer.name, report.peer.trust_domain), checks }
}

const PRIVATE: &str = "it knows this cluster, and its private metadata is valid";

fn line(
    condition: &Condition,
    report: &PeerReport,
    knowledge: Option<&PeerKnowledge>,
    now: Timestamp,
) -> Option<Check> {
    let peer = &report.peer;
    let (public, private) = (report.public_confirmed, report.private_confirmed);
    Some(match condition.kind {
        ConditionType::Accepted => {
            good("accepted", ACCEPTED, condition, "", hint::refused(condition))
        }
        ConditionType::PublicMetadataExchangeReady => {
            let title = "its endpoint answers with valid public metadata";
            let since = knowledge
                .and_then(|known| known.public_exchange.as_ref())
                .map(|exchange| exchange.since);
            exchange("public-metadata", title, condition, (public, since, now), peer)
        }
        ConditionType::PrivateMetadataExchangeReady => {
            let since = knowledge
                .and_then(|known| known.private_exchange.as_ref())
                .map(|exchange| exchange.since);
            exchange("private-metadata", PRIVATE, condition, (private, since, now), peer)
        }
        ConditionType::DataplaneConnectionReady => dataplane(condition),
        ConditionType::RootsValid => roots_valid(condition),
        ConditionType::RootsAcknowledged => acknowledged(condition),
        ConditionType::Stale => stale(condition),
        ConditionType::Held => bad(
            "metadata-believed",
            "what it says is believed",
            condition,
            hint::held(report.held_trust.is_some()),
        ),
        ConditionType::NamesRefused => {
            bad("names", "all names that it offers are its own", condition, hint::NAMES)
        }
        ConditionType::RowsDropped => {
            bad("rows", "everything that it offers can be used", condition, hint::ROWS)
        }
        // These are the same for all peers; the section about the gateway checks the table.
        ConditionType::TableTooLarge | ConditionType::TableLoaded => return None,
        ConditionType::NetworkOverlap => {
            bad("network", "its addresses do not overlap ours", condition, hint::NETWORK)
        }
        ConditionType::ClocksDiffer => {
            bad("peer-clock", "its clock agrees with ours", condition, hint::CLOCKS)
        }
        ConditionType::FarSideDiffers => far_side(condition, report),
    })
}

fn describe(condition: &Condition) -> String {
    match condition.message.as_str() {
        "" => condition.reason.clone(),
        message => format!("{}: {message}", condition.reason),
    }
}

/// A condition that should be True.
fn good(name: &'static str, title: &str, condition: &Condition, detail: &str, hint: &str) -> Check {
    match condition.status {
        ConditionStatus::True => Check::ok(name, title, detail),
        ConditionStatus::False => Check::failed(name, title, describe(condition), hint),
        ConditionStatus::Unknown => Check::warning(name, title, describe(condition), hint),
    }
}

/// A condition that should be False, but is only a warning if it is True.
fn bad(name: &'static str, title: &str, condition: &Condition, hint: &str) -> Check {
    match condition.status {
        ConditionStatus::True => Check::warning(name, title, describe(condition), hint),
        _ => Check::ok(name, title, ""),
    }
}

fn exchange(
    name: &'static str,
    title: &str,
    condition: &Condition,
    (confirmed, since, now): (Option<Timestamp>, Option<Timestamp>, Timestamp),
    peer: &Peer,
) -> Check {
    let ago = |then: Timestamp| rounded(now.duration_since(then));
    let confirmed =
        confirmed.map(|then| format!("confirmed {} ago", ago(then))).unwrap_or_default();
    let mut check = good(name, title, condition, &confirmed, &hint::exchange(condition, peer));
    if let (CheckOutcome::Failed, Some(since)) = (check.outcome, since) {
        check.detail += &format!(" (for {})", ago(since));
    }
    check
}

fn stale(condition: &Condition) -> Check {
    const TITLE: &str = "its metadata was confirmed recently";
    match (condition.status, condition.reason.as_str()) {
        (ConditionStatus::True, "Expired") => {
            Check::failed("fresh", TITLE, describe(condition), hint::EXPIRED)
        }
        (ConditionStatus::True, _) => {
            Check::warning("fresh", TITLE, describe(condition), hint::STALE)
        }
        _ => Check::ok("fresh", TITLE, ""),
    }
}

/// Nothing is known before the first probe.
fn dataplane(condition: &Condition) -> Check {
    const TITLE: &str = "a gateway of it accepts connections and proves its identity";
    match condition.status {
        ConditionStatus::Unknown => Check::skipped("peer-gateway", TITLE, describe(condition)),
        _ => good("peer-gateway", TITLE, condition, &condition.message, hint::GATEWAY),
    }
}

/// The peer may have another valid root, so this alone breaks no call.
fn roots_valid(condition: &Condition) -> Check {
    const TITLE: &str = "its roots are valid now";
    match condition.status {
        ConditionStatus::Unknown => Check::skipped("peer-roots", TITLE, describe(condition)),
        ConditionStatus::False => {
            Check::warning("peer-roots", TITLE, describe(condition), hint::roots(condition))
        }
        ConditionStatus::True => Check::ok("peer-roots", TITLE, ""),
    }
}

/// A peer that does not acknowledge, such as a DKP cluster, is fine.
fn acknowledged(condition: &Condition) -> Check {
    const TITLE: &str = "it uses our current roots";
    match condition.status {
        ConditionStatus::Unknown => {
            Check::skipped("roots-acknowledged", TITLE, describe(condition))
        }
        ConditionStatus::False => {
            Check::warning("roots-acknowledged", TITLE, describe(condition), hint::ACKNOWLEDGED)
        }
        ConditionStatus::True => Check::ok("roots-acknowledged", TITLE, ""),
    }
}

/// What the peer says it sees of us. A mismatch that may still pass is only a detail.
fn far_side(condition: &Condition, report: &PeerReport) -> Check {
    const TITLE: &str = "it sees this cluster as it is";
    match condition.status {
        ConditionStatus::Unknown => Check::skipped("far-side", TITLE, describe(condition)),
        ConditionStatus::True => {
            Check::warning("far-side", TITLE, describe(condition), hint::FAR_SIDE)
        }
        ConditionStatus::False => {
            let passing = report.far_side.iter().flat_map(|side| &side.mismatches);
            let passing: Vec<_> = passing.map(|mismatch| mismatch.message.as_str()).collect();
            Check::ok("far-side", TITLE, passing.join("; "))
        }
    }
}
