//! Everything about one peer.

use super::overview::FindingRow;
use super::peers::{PeerRow, roots, row};
use super::words::is_well;
use crate::feed::Look;
use fedgate_engine::history::Change;
use fedgate_engine::status::PeerStatus;
use fedgate_federation::federate::{Condition, FarSide, PeerReport, Turn};
use fedgate_federation::knowledge::HeldTrust;
use jiff::Timestamp;
use serde::Serialize;

/// How many findings and changes of one peer are shown.
const MOST: usize = 50;

/// One peer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerDetail {
    row: PeerRow,
    now: Timestamp,
    cluster_uuid: Option<String>,
    metadata_endpoint: String,
    source: Option<String>,
    documents: [Document; 2],
    /// What keeps it from being ready, the first cause first.
    missing: Vec<MissingRow>,
    roots: Vec<RootRow>,
    /// Roots that it publishes and that are not used.
    unused_roots: Vec<String>,
    held: Option<HeldRow>,
    gateways: Vec<GatewayRow>,
    /// The addresses of our gateways that it is told.
    told: Vec<String>,
    conditions: Vec<ConditionRow>,
    findings: Vec<FindingRow>,
    notices: Vec<NoticeRow>,
    changes: Vec<Change>,
    view: Option<ViewRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: &'static str,
    confirmed: Option<Timestamp>,
    stale: Option<Timestamp>,
    expires: Option<Timestamp>,
    then: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MissingRow {
    turn: Option<Turn>,
    what: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RootRow {
    fingerprint: String,
    subject: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldRow {
    since: Timestamp,
    change: String,
    why: String,
    /// The command that approves it. `None` if only a pin can.
    command: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayRow {
    announced: String,
    locality: Option<String>,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionRow {
    #[serde(flatten)]
    condition: Condition,
    /// Whether it is as it should be; `None` if that is not known.
    well: Option<bool>,
    /// Since when, if the page's history goes back that far.
    since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NoticeRow {
    since: Timestamp,
    last: Option<Timestamp>,
    reason: &'static str,
    message: String,
}

/// What it says it sees of this cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ViewRow {
    current: bool,
    has_document: bool,
    fetch: Option<Outcome>,
    probe: Option<Outcome>,
    gateways: Vec<String>,
    clock_ahead: Option<i64>,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    reason: &'static str,
    since: Timestamp,
}

#[derive(Debug, Serialize)]
struct Difference {
    turn: Turn,
    since: Option<Timestamp>,
    text: String,
}

/// A peer by its name.
pub(crate) fn peer(look: &Look, name: &str, now: Timestamp) -> Option<PeerDetail> {
    let reports = &look.in_force.federation.peers;
    let at = look.status.peers.iter().position(|peer| peer.name == name)?;
    let status = look.status.peers.get(at)?;
    let report = reports.iter().find(|report| report.peer.name.as_str() == name)?;
    let changes = look.around.changes.iter().filter(|change| change.is_about_peer(name));
    let changes: Vec<_> = changes.take(MOST).cloned().collect();
    Some(PeerDetail {
        row: row(look, status),
        now,
        cluster_uuid: status.cluster_uuid.clone(),
        metadata_endpoint: status.metadata_endpoint.clone(),
        source: status.source.clone(),
        documents: documents(status, report),
        missing: status
            .missing()
            .into_iter()
            .map(|missing| MissingRow { turn: missing.turn, what: missing.what })
            .collect(),
        roots: root_rows(look, status),
        unused_roots: unused_roots(look, status),
        held: status.held_trust.as_ref().map(|held| held_row(name, held)),
        gateways: gateways(look, report),
        told: status.told.clone(),
        conditions: conditions(status, &changes),
        findings: findings(look, name),
        notices: notices(report),
        changes,
        view: status.far_side.as_ref().map(|side| view(name, side)),
    })
}

fn documents(status: &PeerStatus, report: &PeerReport) -> [Document; 2] {
    let times = &report.times;
    let document = |name, confirmed: Option<Timestamp>| {
        let after = |age| confirmed.and_then(|then| then.checked_add(age).ok());
        Document {
            name,
            confirmed,
            stale: after(times.stale_after),
            expires: after(times.staleness_limit),
            then: format!("{:?}", status.at_expiry),
        }
    };
    [
        document("public.json", status.public_confirmed),
        document("federation.json", status.private_confirmed),
    ]
}

fn root_rows(look: &Look, status: &PeerStatus) -> Vec<RootRow> {
    let row = |root: &fedgate_federation::bundle::Root| RootRow {
        fingerprint: root.fingerprint().to_string(),
        subject: root.subject().to_owned(),
        not_before: root.not_before(),
        not_after: root.not_after(),
    };
    roots(look, status).iter().map(row).collect()
}

fn unused_roots(look: &Look, status: &PeerStatus) -> Vec<String> {
    let used: Vec<_> =
        roots(look, status).iter().map(|root| root.fingerprint().to_string()).collect();
    status.roots.iter().filter(|root| !used.contains(root)).cloned().collect()
}

fn held_row(name: &str, held: &HeldTrust) -> HeldRow {
    HeldRow {
        since: held.since,
        change: held.change.clone(),
        why: held.why.clone(),
        command: held.approvable.then(|| format!("fedgate peer approve {name} --id {}", held.id)),
    }
}

fn gateways(look: &Look, report: &PeerReport) -> Vec<GatewayRow> {
    let target = look.in_force.federation.probe_targets.get(&report.peer.name);
    let gateways = target.map(|target| target.gateways.iter()).into_iter().flatten();
    gateways
        .map(|gateway| GatewayRow {
            announced: gateway.announced.to_string(),
            locality: gateway.locality.as_ref().map(ToString::to_string),
            addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

fn conditions(status: &PeerStatus, changes: &[Change]) -> Vec<ConditionRow> {
    let row = |condition: &Condition| {
        let name = format!("{:?} ", condition.kind);
        let last = changes.iter().find(|change| change.text.starts_with(&name));
        ConditionRow {
            condition: condition.clone(),
            well: is_well(condition),
            since: last.map(|change| change.at),
        }
    };
    status.conditions.iter().map(row).collect()
}

fn findings(look: &Look, name: &str) -> Vec<FindingRow> {
    let is_about = |finding: &&fedgate_federation::Finding| {
        finding.object.kind == "IstioFederation" && finding.object.name == name
    };
    look.status.findings.iter().filter(is_about).take(MOST).map(FindingRow::of).collect()
}

fn notices(report: &PeerReport) -> Vec<NoticeRow> {
    let row = |notice: &fedgate_federation::knowledge::Notice| NoticeRow {
        since: notice.since,
        last: notice.last,
        reason: notice.reason.word(),
        message: notice.message.clone(),
    };
    report.notices.iter().rev().map(row).collect()
}

fn view(name: &str, side: &FarSide) -> ViewRow {
    let view = &side.view;
    ViewRow {
        current: side.current,
        has_document: view.sequence.is_some(),
        fetch: view
            .fetch
            .as_ref()
            .map(|fetch| Outcome { reason: fetch.reason.word(), since: fetch.since }),
        probe: view
            .probe
            .as_ref()
            .map(|probe| Outcome { reason: probe.reason.word(), since: probe.since }),
        gateways: view.gateways.iter().map(ToString::to_string).collect(),
        clock_ahead: view.clock_ahead,
        differences: side
            .mismatches
            .iter()
            .map(|one| Difference {
                turn: one.turn,
                since: one.since,
                text: format!("{}: {}", one.whose_turn(name), one.message),
            })
            .collect(),
    }
}
