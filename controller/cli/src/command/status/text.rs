//! The status as text.

use super::seen_by;
use crate::command::validate::severity;
use crate::terminal::layout::{Cell, block, paragraph};
use crate::terminal::{Style, Terminal};
use fedgate_core::Mode;
use fedgate_engine::federated::FederatedServiceStatus;
use fedgate_engine::readiness::Readiness;
use fedgate_engine::status::{ExportStatus, ImportStatus, PeerStatus, Status};
use fedgate_federation::federate::{Condition, ConditionStatus};
use fedgate_process::words::{NAMED_PEERS, counted, peers};
use jiff::Timestamp;

/// The whole status. `wide` adds columns.
pub(super) fn text(status: &Status, now: Timestamp, terminal: Terminal, wide: bool) -> String {
    let mut out = head(status, terminal);
    let most = if wide { usize::MAX } else { NAMED_PEERS };
    for (heading, rows) in blocks(status, now, wide, most) {
        out += &block(heading, &rows, terminal);
    }
    out
}

fn head(status: &Status, terminal: Terminal) -> String {
    let (cluster, table) = (&status.cluster, &status.table);
    let name = &cluster.trust_domain;
    let title = paragraph(
        "",
        &format!("{name}  cluster {}", cluster.cluster_uuid),
        Style::Heading,
        terminal,
    );
    let outdated =
        if table.outdated { ", OUTDATED: not the one that the objects make" } else { "" };
    let loaded = loaded(table.loaded.as_ref());
    let is_bad = table.outdated || loaded.contains("NOT IN FORCE");
    let generation = format!(
        "generation {}, {}, {} bytes{outdated}{loaded}",
        table.generation,
        counted(table.exports as usize, "export"),
        table.bytes
    );
    let style = if is_bad { Style::Bad } else { Style::Plain };
    title
        + &paragraph("  gateway   ", &cluster.gateways.join(", "), Style::Plain, terminal)
        + &told_others(status, terminal)
        + &paragraph("  table     ", &generation, style, terminal)
        + &ready_peers(&status.peers, terminal)
}

/// How many peers are ready, if there are too many to see it in the list.
fn ready_peers(peers: &[PeerStatus], terminal: Terminal) -> String {
    const AT_A_GLANCE: usize = 10;
    let (all, ready) = (peers.len(), peers.iter().filter(|peer| peer.ready).count());
    if all <= AT_A_GLANCE {
        return String::new();
    }
    let style = if ready == all { Style::Good } else { Style::Bad };
    paragraph("  peers     ", &format!("{ready} of {all} ready"), style, terminal)
}

/// The peers that are told other addresses.
fn told_others(status: &Status, terminal: Terminal) -> String {
    const SHOWN: usize = 10;
    let others: Vec<_> = status.peers.iter().filter(|peer| peer.told_others).collect();
    let line = |peer: &&PeerStatus| format!("{}, told to {}", peer.told.join(", "), peer.name);
    let more = others.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("others, told to {}", counted(more, "more peer")));
    let lines = others.iter().take(SHOWN).map(line).chain(more);
    lines.map(|line| paragraph("  gateway   ", &line, Style::Plain, terminal)).collect()
}

/// The blocks with their rows, each with at most `most` names of peers. The block about what peers
/// see is missing if none says so.
pub(super) fn blocks(
    status: &Status,
    now: Timestamp,
    wide: bool,
    most: usize,
) -> Vec<(&'static str, Vec<Vec<Cell>>)> {
    let known = status.peers.iter().map(|known| {
        let more = wide.then(|| of_peer(known)).into_iter().flatten();
        with_more(peer(known, now), more)
    });
    let seen: Vec<_> = status.peers.iter().filter_map(seen_by::row).collect();
    let named = |names: &[String]| peers(names, most, status.peers.len());
    let exports = status.exports.iter().map(|export| self::export(export, wide, named));
    let imports = status.imports.iter().map(|import| self::import(import, now, wide));
    let findings = status.findings.iter().map(|finding| {
        let (word, style) = severity(finding.severity);
        vec![Cell::new(style, word), finding.to_string().into()]
    });
    let mut blocks = vec![("peers", known.collect())];
    if !seen.is_empty() {
        blocks.push(("seen by peers", seen));
    }
    blocks.push(("exports", exports.collect()));
    blocks.push(("imports", imports.collect()));
    let federated: Vec<_> = status.federated_services.iter().map(self::federated).collect();
    if !federated.is_empty() {
        blocks.push(("federated services", federated));
    }
    blocks.push(("findings", findings.collect()));
    blocks
}

/// Columns before the last one, which may be long.
fn with_more(mut row: Vec<Cell>, more: impl Iterator<Item = Cell>) -> Vec<Cell> {
    let last = row.pop();
    row.into_iter().chain(more).chain(last).collect()
}

/// What `--output wide` adds about a peer.
fn of_peer(peer: &PeerStatus) -> Vec<Cell> {
    let uuid = peer.cluster_uuid.as_deref().unwrap_or("no UUID");
    let roots = fedgate_process::words::counted(peer.roots.len(), "root");
    [peer.metadata_endpoint.as_str(), uuid, &roots].map(Cell::from).to_vec()
}

fn export(export: &ExportStatus, wide: bool, named: impl Fn(&[String]) -> String) -> Vec<Cell> {
    let audited = match export.audited.is_empty() {
        true => String::new(),
        false => format!("; audited for {}", named(&export.audited)),
    };
    let to = match export.granted_to.is_empty() {
        true => Cell::new(Style::Warning, &format!("granted to nobody{audited}")),
        false => format!("granted to {}{audited}", named(&export.granted_to)).into(),
    };
    let more = wide.then(|| Cell::from(export.sni.as_str()));
    with_more(vec![export.service.to_string().into(), to], more.into_iter())
}

fn import(import: &ImportStatus, now: Timestamp, wide: bool) -> Vec<Cell> {
    let location = match import.address {
        _ if import.in_mesh => "in the mesh".into(),
        Some(address) => format!("at {address}").into(),
        None => Cell::new(Style::Bad, "at no port: none is left"),
    };
    let more = wide.then(|| format!("by {}", import.gateways.join(", ")).into());
    let row = vec![
        import.service.to_string().into(),
        import.protocol.as_str().into(),
        location,
        format!("from {}{}", import.peer, confirmed(import.confirmed, now)).into(),
    ];
    with_more(row, more.into_iter())
}

/// A name, the members that take its calls, and those that come first but are passed over.
fn federated(name: &FederatedServiceStatus) -> Vec<Cell> {
    let location = match name.address {
        _ if name.in_mesh => "in the mesh".into(),
        Some(address) => format!("at {address}").into(),
        None => Cell::new(Style::Bad, "at no port: none is left"),
    };
    let taken = name.takers();
    let passed_over: Vec<_> = name
        .passed_over()
        .map(|member| format!("{} passed over: {}", name.place_of(member), member.state))
        .collect();
    let (style, taken) = match (&name.obstacle, taken.is_empty(), name.ready) {
        (Some(obstacle), ..) => (Style::Bad, format!("NOT READY: {obstacle}")),
        (None, true, _) => (Style::Bad, "NOT READY: no member takes calls".to_owned()),
        (None, false, true) => (Style::Good, format!("calls go to {}", taken.join(", "))),
        (None, false, false) => {
            (Style::Warning, format!("calls go to {}, not proven yet", taken.join(", ")))
        }
    };
    let state = std::iter::once(taken).chain(passed_over).collect::<Vec<_>>().join("; ");
    vec![
        name.service.to_string().into(),
        name.protocol.as_str().into(),
        location,
        Cell::new(style, &state),
    ]
}

/// Whether the gateway has the table, if that is known.
fn loaded(condition: Option<&Condition>) -> String {
    match condition.map(|loaded| (loaded.status, loaded)) {
        None => String::new(),
        Some((ConditionStatus::True, _)) => ", in force in every gateway Pod".to_owned(),
        Some((ConditionStatus::False, loaded)) => {
            format!(", NOT IN FORCE {}: {}", loaded.reason, loaded.message)
        }
        Some((ConditionStatus::Unknown, loaded)) => {
            format!(", in force as far as known; {}", loaded.message)
        }
    }
}

fn peer(peer: &PeerStatus, now: Timestamp) -> Vec<Cell> {
    let state = state(peer);
    let audit = if peer.mode == Mode::Audit { " (audit mode)" } else { "" };
    let counts = format!(
        "{} to it{audit}, {}{}",
        counted(peer.granted_exports, "export"),
        counted(peer.imports, "import"),
        confirmed(peer.public_confirmed.min(peer.private_confirmed), now)
    );
    vec![peer.name.as_str().into(), peer.trust_domain.as_str().into(), counts.into(), state]
}

/// Whether a peer is ready, and why not.
pub(super) fn state(peer: &PeerStatus) -> Cell {
    let (readiness, text) = peer.readiness();
    let style = match readiness {
        Readiness::Ready => Style::Good,
        Readiness::NotYet => Style::Warning,
        Readiness::NotReady => Style::Bad,
    };
    Cell::new(style, &text)
}

/// How long ago something was confirmed.
fn confirmed(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return ", never confirmed".to_owned() };
    let seconds = now.duration_since(then).as_secs().max(0);
    let age = match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    };
    format!(", confirmed {age} ago")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::federate::ConditionType;
    use fedgate_federation::knowledge::SERVER_ONLY;

    fn beta(probe: Option<(ConditionStatus, &str, &str)>) -> PeerStatus {
        let condition = |(status, reason, message): (_, &str, &str)| Condition {
            kind: ConditionType::DataplaneConnectionReady,
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        PeerStatus {
            name: "beta".to_owned(),
            source: None,
            trust_domain: "beta.example".to_owned(),
            metadata_endpoint: String::new(),
            cluster_uuid: None,
            mode: Mode::Enforce,
            ready: true,
            obstacle: None,
            roots: Vec::new(),
            held_trust: None,
            public_confirmed: None,
            private_confirmed: None,
            stale_after_seconds: 300,
            staleness_limit_seconds: 86_400,
            at_expiry: Default::default(),
            granted_exports: 1,
            imports: 2,
            told: Vec::new(),
            told_others: false,
            far_side: None,
            conditions: probe.map(condition).into_iter().collect(),
        }
    }

    #[test]
    fn many_peers_are_counted_at_the_top() {
        let mut peers: Vec<_> = (0..11).map(|_| beta(None)).collect();
        assert_eq!(ready_peers(&peers, Terminal::PIPE), "  peers     11 of 11 ready\n");
        peers[3].ready = false;
        assert_eq!(ready_peers(&peers, Terminal::PIPE), "  peers     10 of 11 ready\n");
        assert_eq!(ready_peers(&peers[..10], Terminal::PIPE), "", "they fit on the screen");
    }

    #[test]
    fn a_table_missing_at_a_gateway_is_reported() {
        let describe = |status, message: &str| {
            let (reason, message) = ("Behind".to_owned(), message.to_owned());
            loaded(Some(&Condition { kind: ConditionType::TableLoaded, status, reason, message }))
        };
        assert_eq!(loaded(None), "");
        assert_eq!(describe(ConditionStatus::True, ""), ", in force in every gateway Pod");
        assert_eq!(
            describe(ConditionStatus::False, "a stays at 3"),
            ", NOT IN FORCE Behind: a stays at 3"
        );
        assert!(
            describe(ConditionStatus::Unknown, "a: refused")
                .ends_with("as far as known; a: refused")
        );
    }

    #[test]
    fn a_peers_row_gives_its_reason_and_failing_gateways() {
        let state = |ready: bool, probe| {
            peer(&PeerStatus { ready, ..beta(Some(probe)) }, NOW).pop().unwrap().text
        };
        let row = |status, reason, message| {
            state(status == ConditionStatus::True, (status, reason, message))
        };
        assert_eq!(row(ConditionStatus::True, "Succeeded", ""), "ready");
        assert_eq!(row(ConditionStatus::True, "Succeeded", SERVER_ONLY), "ready");
        let refused = "192.0.2.1:15443: connection refused";
        assert_eq!(
            row(ConditionStatus::True, "Succeeded", refused),
            format!("ready; gateways: {refused}")
        );
        let failed = format!("NOT READY: DataplaneConnectionReady ProbeFailed: {refused}");
        assert_eq!(row(ConditionStatus::False, "ProbeFailed", refused), failed);
        let pending = "not ready yet: DataplaneConnectionReady Pending: not probed yet";
        assert_eq!(row(ConditionStatus::Unknown, "Pending", "not probed yet"), pending);
        let well = Some((ConditionStatus::True, "Succeeded", ""));
        let blocked = PeerStatus {
            ready: false,
            obstacle: Some("the egress Envoy does not run".to_owned()),
            ..beta(well)
        };
        assert_eq!(
            peer(&blocked, NOW).pop().unwrap().text,
            "NOT READY: the egress Envoy does not run"
        );
    }
    const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

    #[test]
    fn ages_are_shown_of_the_older_document() {
        let ago = |seconds: i64| Some(Timestamp::from_second(NOW.as_second() - seconds).unwrap());
        let age = |seconds| confirmed(ago(seconds), NOW);
        let shown = [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(age);
        let expected = ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"];
        assert_eq!(shown, expected.map(|age| format!(", confirmed {age} ago")));
        let row = |public_confirmed, private_confirmed| {
            peer(&PeerStatus { public_confirmed, private_confirmed, ..beta(None) }, NOW)
                .remove(2)
                .text
        };
        let counts = "1 export to it, 2 imports";
        assert_eq!(row(ago(3), ago(90)), format!("{counts}, confirmed 90s ago"));
        assert_eq!(row(ago(90), ago(3)), format!("{counts}, confirmed 90s ago"));
        assert_eq!(row(ago(90), None), format!("{counts}, never confirmed"));
    }

    #[test]
    fn an_export_to_many_peers_names_some_of_them() {
        let export = ExportStatus {
            service: "web.shop.svc.alpha.example:80".parse().unwrap(),
            sni: String::new(),
            granted_to: (0..12).map(|number| format!("p{number}")).collect(),
            audited: vec!["q".to_owned()],
        };
        let row = |most| {
            let named = |names: &[String]| peers(names, most, 13);
            self::export(&export, false, named).pop().unwrap().text
        };
        assert_eq!(row(2), "granted to p0, p1 and 10 more peers; audited for q");
        assert!(row(usize::MAX).contains("p10, p11; audited"));
    }
}
