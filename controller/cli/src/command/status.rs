mod seen_by;

use super::ask::ask;
use super::target::{Platform, Target};
use super::{ExitStatus, Output};
use anyhow::Result;
use clap::Args;
use fedgate_engine::status::{MUST_HOLD, PeerStatus, Status};
use fedgate_federation::Severity;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::knowledge::SERVER_ONLY;
use jiff::Timestamp;
use std::fmt::Write;

#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl StatusCommand {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let status: Status = match self.target.platform() {
            Platform::Files(folder) => ask(&folder, "/status", &[])?,
            Platform::Kubernetes(cluster) => cluster.snapshot()?.status(),
        };
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
            Output::Text => print!("{}", text(&status, Timestamp::now())),
        }
        let well = status.peers.iter().all(|peer| peer.ready)
            && status.findings.iter().all(|finding| finding.severity != Severity::Error)
            && status
                .table
                .loaded
                .as_ref()
                .is_none_or(|loaded| loaded.status != ConditionStatus::False);
        Ok(if well { ExitStatus::Success } else { ExitStatus::Finding })
    }
}

fn text(status: &Status, now: Timestamp) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, status, now);
    out
}

fn write(out: &mut String, status: &Status, now: Timestamp) -> std::fmt::Result {
    let table = &status.table;
    writeln!(out, "{}  cluster {}", status.cluster.trust_domain, status.cluster.cluster_uuid)?;
    writeln!(out, "  gateway   {}", status.cluster.gateways.join(", "))?;
    let outdated =
        if table.outdated { ", OUTDATED: not the one that the objects make" } else { "" };
    writeln!(
        out,
        "  table     generation {}, {} exports, {} bytes{outdated}{}",
        table.generation,
        table.exports,
        table.bytes,
        loaded(table.loaded.as_ref())
    )?;
    rows(out, "peers", status.peers.iter().map(|known| peer(known, now)))?;
    let seen: Vec<_> = status.peers.iter().filter_map(seen_by::row).collect();
    if !seen.is_empty() {
        rows(out, "seen by peers", seen.into_iter())?;
    }
    rows(
        out,
        "exports",
        status.exports.iter().map(|export| {
            let to = if export.granted_to.is_empty() {
                "nobody".to_owned()
            } else {
                export.granted_to.join(", ")
            };
            vec![export.service.to_string(), format!("granted to {to}")]
        }),
    )?;
    rows(
        out,
        "imports",
        status.imports.iter().map(|import| {
            let location = match import.address {
                _ if import.in_mesh => "in the mesh".to_owned(),
                Some(address) => format!("at {address}"),
                None => "at no port: none is left".to_owned(),
            };
            vec![
                import.service.to_string(),
                import.protocol.clone(),
                location,
                format!("from {}{}", import.peer, confirmed(import.confirmed, now)),
            ]
        }),
    )?;
    rows(
        out,
        "findings",
        status.findings.iter().map(|finding| {
            vec![format!("{:?}", finding.severity).to_lowercase(), finding.to_string()]
        }),
    )
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

fn peer(peer: &PeerStatus, now: Timestamp) -> Vec<String> {
    let state = if peer.ready { "ready".to_owned() + &gateways(peer) } else { why(peer) };
    let counts = format!(
        "{} exports to it, {} imports{}",
        peer.granted_exports,
        peer.imports,
        confirmed(peer.public_confirmed.min(peer.private_confirmed), now)
    );
    vec![peer.name.clone(), peer.trust_domain.clone(), counts, state]
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

/// Which gateways of a ready peer failed the last probe. On Kubernetes the message [`SERVER_ONLY`]
/// is the same for every peer, so only the condition shows it.
fn gateways(peer: &PeerStatus) -> String {
    let is_probe =
        |condition: &&Condition| condition.kind == ConditionType::DataplaneConnectionReady;
    match peer.conditions.iter().find(is_probe).map(|probe| probe.message.as_str()) {
        None | Some("" | SERVER_ONLY) => String::new(),
        Some(message) => format!("; gateways: {message}"),
    }
}

/// Why a peer is not ready: the first condition that fails, else the obstacle, else the first
/// condition that is not yet known.
fn why(peer: &PeerStatus) -> String {
    let bad = |condition: &&Condition| match condition.kind {
        ConditionType::Stale => condition.status == ConditionStatus::True,
        kind => MUST_HOLD.contains(&kind) && condition.status != ConditionStatus::True,
    };
    let failed = peer
        .conditions
        .iter()
        .filter(bad)
        .find(|condition| condition.status != ConditionStatus::Unknown);
    let describe = |condition: &Condition| match condition.message.as_str() {
        "" => format!("{:?} {}", condition.kind, condition.reason),
        message => format!("{:?} {}: {message}", condition.kind, condition.reason),
    };
    match (failed, &peer.obstacle, peer.conditions.iter().find(bad)) {
        (Some(failed), ..) => format!("NOT READY: {}", describe(failed)),
        (None, Some(obstacle), _) => format!("NOT READY: {obstacle}"),
        (None, None, Some(unknown)) => format!("not ready yet: {}", describe(unknown)),
        (None, None, None) => "NOT READY".to_owned(),
    }
}

/// A block with a heading and aligned columns. The last column is not padded.
fn rows(
    out: &mut String,
    heading: &str,
    rows: impl Iterator<Item = Vec<String>>,
) -> std::fmt::Result {
    let rows: Vec<_> = rows.collect();
    writeln!(out, "\n{heading} ({})", rows.len())?;
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "  {cell:width$}")?;
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_core::Mode;

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
            far_side: None,
            conditions: probe.map(condition).into_iter().collect(),
        }
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
            peer(&PeerStatus { ready, ..beta(Some(probe)) }, NOW).pop().unwrap()
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
        assert_eq!(peer(&blocked, NOW).pop().unwrap(), "NOT READY: the egress Envoy does not run");
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
            peer(&PeerStatus { public_confirmed, private_confirmed, ..beta(None) }, NOW).remove(2)
        };
        let counts = "1 exports to it, 2 imports";
        assert_eq!(row(ago(3), ago(90)), format!("{counts}, confirmed 90s ago"));
        assert_eq!(row(ago(90), ago(3)), format!("{counts}, confirmed 90s ago"));
        assert_eq!(row(ago(90), None), format!("{counts}, never confirmed"));
    }
}
