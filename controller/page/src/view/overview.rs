//! The state of the federation at one glance.

use super::peers::{PeerRow, by_urgency, row};
use crate::counters::Traffic;
use crate::feed::Look;
use crate::traffic::Totals;
use fedgate_engine::status::{ClusterStatus, TableStatus};
use fedgate_federation::Severity;
use jiff::Timestamp;
use serde::Serialize;

/// How many peers the picture shows one by one.
const MOST_NODES: usize = 12;
/// How many findings are shown.
const MOST_FINDINGS: usize = 100;

/// What the page shows first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    now: Timestamp,
    platform: &'static str,
    version: &'static str,
    cluster: ClusterStatus,
    table: TableStatus,
    counts: Numbers,
    /// This cluster's own certificates and roots, the first to end first.
    certificates: Vec<Certificate>,
    /// The peers of the picture, those that need an operator first.
    picture: Vec<PeerRow>,
    /// The ready peers and the others that are not in the picture.
    more: [usize; 2],
    findings: Vec<FindingRow>,
    traffic: Known<Totals>,
    /// The time of the latest refused connection in the access log.
    last_refusal: Option<Timestamp>,
    calls: Known<Traffic>,
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    peers: usize,
    ready: usize,
    held: usize,
    audited: usize,
    exports: usize,
    imports: usize,
    errors: usize,
    warnings: usize,
    findings: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    role: &'static str,
    name: String,
    not_after: Timestamp,
}

/// A finding, in words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingRow {
    severity: Severity,
    reason: &'static str,
    object: String,
    text: String,
}

/// Something that may not be known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known<T> {
    is: Option<T>,
    /// Why not, and what to do.
    why: Option<String>,
}

impl<T> Known<T> {
    pub(super) fn of(known: Result<T, &String>) -> Self {
        match known {
            Ok(is) => Self { is: Some(is), why: None },
            Err(why) => Self { is: None, why: Some(why.clone()) },
        }
    }
}

impl FindingRow {
    pub(super) fn of(finding: &fedgate_federation::Finding) -> Self {
        Self {
            severity: finding.severity,
            reason: finding.reason.word(),
            object: finding.object.to_string(),
            text: finding.to_string(),
        }
    }
}

/// The overview at a time.
pub(crate) fn overview(look: &Look, now: Timestamp) -> Overview {
    let status = &look.status;
    let peers = by_urgency(look);
    let (shown, rest) = peers.split_at(peers.len().min(MOST_NODES));
    let ready = rest.iter().filter(|peer| peer.ready).count();
    let findings = status.findings.iter().take(MOST_FINDINGS).map(FindingRow::of);
    Overview {
        now,
        platform: look.around.platform,
        version: env!("CARGO_PKG_VERSION"),
        cluster: status.cluster.clone(),
        table: status.table.clone(),
        counts: numbers(look),
        certificates: certificates(look),
        picture: shown.iter().map(|peer| row(look, peer)).collect(),
        more: [ready, rest.len() - ready],
        findings: findings.collect(),
        traffic: Known::of(look.around.traffic.as_ref().map(|traffic| traffic.totals)),
        last_refusal: last_refusal(look),
        calls: Known::of(look.around.calls.as_ref().map(|calls| calls.all)),
        trouble: look.around.trouble.clone(),
    }
}

fn last_refusal(look: &Look) -> Option<Timestamp> {
    let latest = look.around.refusals.iter().flatten();
    latest.filter(|one| one.outcome == "refused").filter_map(|one| one.at).max()
}

fn numbers(look: &Look) -> Numbers {
    let status = &look.status;
    let of =
        |severity| status.findings.iter().filter(|finding| finding.severity == severity).count();
    Numbers {
        peers: status.peers.len(),
        ready: status.peers.iter().filter(|peer| peer.ready).count(),
        held: status.peers.iter().filter(|peer| peer.held_trust.is_some()).count(),
        audited: status.peers.iter().filter(|peer| peer.mode == fedgate_core::Mode::Audit).count(),
        exports: status.exports.len(),
        imports: status.imports.len(),
        errors: of(Severity::Error),
        warnings: of(Severity::Warning),
        findings: status.findings.len(),
    }
}

fn certificates(look: &Look) -> Vec<Certificate> {
    let validities = &look.in_force.local.credentials.validities;
    let mut all: Vec<_> = validities
        .iter()
        .map(|validity| Certificate {
            role: validity.role.word(),
            name: validity.name.clone(),
            not_after: validity.not_after,
        })
        .collect();
    all.sort_by(|a, b| (a.not_after, &a.name).cmp(&(b.not_after, &b.name)));
    all
}
