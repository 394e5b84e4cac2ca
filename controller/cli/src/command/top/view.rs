//! The report as text, with rates if there is an earlier one.

use super::report::{Peer, Report, Service};
use crate::terminal::layout::{Cell, block, paragraph};
use crate::terminal::{Style, Terminal};
use std::time::Duration;

/// An earlier report, and how long ago it was.
type Before<'a> = Option<(&'a Report, Duration)>;

pub(super) fn text(report: &Report, before: Before<'_>, terminal: Terminal) -> String {
    let mut out = gateway(report, before, terminal);
    for envoy in report.envoys.iter().filter(|envoy| envoy.error.is_some()) {
        let why = envoy.error.as_deref().unwrap_or_default();
        out += &paragraph("", &format!("{}: {why}", envoy.name), Style::Bad, terminal);
    }
    let refusals = report.refusals.iter().map(|refusal| {
        let then = before.and_then(|(report, _)| {
            let same = |other: &&super::report::Refusal| {
                (&other.reason, &other.outcome) == (&refusal.reason, &refusal.outcome)
            };
            report.refusals.iter().find(same).map(|refusal| refusal.connections)
        });
        let count = count(refusal.connections, then, before);
        vec![Cell::new(Style::Bad, &refusal.reason), refusal.outcome.as_str().into(), count.into()]
    });
    out += &block("refusals", &refusals.collect::<Vec<_>>(), terminal);
    out += &block("peers", &peers(report, before), terminal);
    let old = |of: fn(&Report) -> Option<&[Service]>| before.and_then(|(report, _)| of(report));
    out += &match &report.exports {
        Some(exports) => {
            let rows = services(exports, old(|report| report.exports.as_deref()), before);
            block("exports", &rows, terminal)
        }
        None => "\nexports: the gateway's proxies do not count by service; see the reference\n"
            .to_owned(),
    };
    if let Some(imports) = &report.imports {
        let rows = services(imports, old(|report| report.imports.as_deref()), before);
        out += &block("imports", &rows, terminal);
    }
    if !report.federated_services.is_empty() {
        let then = old(|report| Some(&report.federated_services));
        let rows = services(&report.federated_services, then, before);
        out += &block("federated services", &rows, terminal);
    }
    out
}

fn gateway(report: &Report, before: Before<'_>, terminal: Terminal) -> String {
    let now = &report.gateway;
    let then = before.map(|(report, _)| &report.gateway);
    let number = |of: fn(&super::report::Gateway) -> u64| count(of(now), then.map(of), before);
    let open = now.open.map(|open| format!("{open} open, ")).unwrap_or_default();
    let text = format!(
        "{open}{} allowed, {} audited, {} refused, {} undecided, {} revoked",
        number(|of| of.allowed),
        number(|of| of.audited),
        number(|of| of.refused),
        number(|of| of.undecided),
        number(|of| of.revoked),
    );
    paragraph("connections  ", &text, Style::Plain, terminal)
}

fn peers(report: &Report, before: Before<'_>) -> Vec<Vec<Cell>> {
    let row = |peer: &Peer| {
        let then = before
            .and_then(|(report, _)| report.peers.iter().find(|other| other.name == peer.name));
        let number = |of: fn(&Peer) -> u64| count(of(peer), then.map(of), before);
        let refused = if peer.refused > 0 { Style::Bad } else { Style::Plain };
        let mut row: Vec<Cell> = vec![
            peer.name.as_str().into(),
            format!("{} allowed", number(|of| of.allowed)).into(),
            format!("{} audited", number(|of| of.audited)).into(),
            Cell::new(refused, &format!("{} refused", number(|of| of.refused))),
        ];
        if report.imports.is_some() {
            let bytes = |of: fn(&Peer) -> u64| bytes(of(peer), then.map(of), before);
            row.push(
                format!(
                    "{} {} to it, {} failed, {} sent, {} received",
                    number(|of| of.calls),
                    words(peer.calls, "call"),
                    number(|of| of.failures),
                    bytes(|of| of.sent),
                    bytes(|of| of.received)
                )
                .into(),
            );
        }
        row
    };
    report.peers.iter().map(row).collect()
}

fn services(all: &[Service], old: Option<&[Service]>, before: Before<'_>) -> Vec<Vec<Cell>> {
    let row = |service: &Service| {
        let then = old.and_then(|old| old.iter().find(|other| other.service == service.service));
        let connections = count(service.connections, then.map(|then| then.connections), before);
        let failed = match service.failures {
            0 => Cell::default(),
            failures => Cell::new(Style::Bad, &format!("{failures} failed")),
        };
        vec![
            service.service.as_str().into(),
            format!("{} open", service.open).into(),
            format!("{connections} {}", words(service.connections, "connection")).into(),
            failed,
            format!(
                "{} to it, {} from it",
                bytes(service.to_service, then.map(|then| then.to_service), before),
                bytes(service.from_service, then.map(|then| then.from_service), before)
            )
            .into(),
        ]
    };
    all.iter().map(row).collect()
}

/// The word for things of this number.
fn words(count: u64, thing: &str) -> String {
    format!("{thing}{}", if count == 1 { "" } else { "s" })
}

/// A count, and how many there were in a second. A counter that went down is of another process.
fn count(now: u64, then: Option<u64>, before: Before<'_>) -> String {
    match rate(now, then, before) {
        Some(rate) if rate >= 0.05 => format!("{now} ({rate:.1}/s)"),
        _ => now.to_string(),
    }
}

fn bytes(now: u64, then: Option<u64>, before: Before<'_>) -> String {
    match rate(now, then, before) {
        Some(rate) if rate >= 1.0 => format!("{} ({}/s)", size(now), size(rate as u64)),
        _ => size(now),
    }
}

fn rate(now: u64, then: Option<u64>, before: Before<'_>) -> Option<f64> {
    let seconds = before.map(|(_, ago)| ago.as_secs_f64()).filter(|seconds| *seconds > 0.0)?;
    Some(now.checked_sub(then.unwrap_or(0))? as f64 / seconds)
}

/// Bytes in binary units.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Gateway;
    use super::*;

    fn report(allowed: u64, sent: u64) -> Report {
        let web = Service {
            service: "web.shop.svc.beta.example:80".to_owned(),
            peer: Some("beta".to_owned()),
            open: 1,
            connections: allowed,
            failures: 0,
            to_service: sent,
            from_service: 10,
        };
        Report {
            at: jiff::Timestamp::UNIX_EPOCH,
            envoys: Vec::new(),
            gateway: Gateway { open: Some(1), allowed, ..Gateway::default() },
            refusals: Vec::new(),
            peers: vec![Peer { name: "beta".to_owned(), allowed, sent, ..Peer::default() }],
            exports: Some(vec![web.clone()]),
            imports: Some(vec![web]),
            federated_services: Vec::new(),
        }
    }

    #[test]
    fn a_report_shows_rates_beside_an_earlier_one() {
        let now = report(30, 4_096);
        let plain = text(&now, None, Terminal::PIPE);
        assert!(
            plain.starts_with("connections  1 open, 30 allowed, 0 audited, 0 refused"),
            "{plain}"
        );
        assert!(plain.contains("1 open  30 connections    4.0 KiB to it, 10 B from it"), "{plain}");
        let then = report(10, 0);
        let rates = text(&now, Some((&then, Duration::from_secs(2))), Terminal::PIPE);
        assert!(
            rates.contains("30 (10.0/s) allowed") && rates.contains("4.0 KiB (2.0 KiB/s) sent"),
            "{rates}"
        );
        // A restarted Envoy counts from zero.
        let restarted = text(&then, Some((&now, Duration::from_secs(2))), Terminal::PIPE);
        assert!(restarted.contains("10 allowed") && !restarted.contains("/s"), "{restarted}");
    }

    #[test]
    fn a_gateway_that_does_not_count_by_service_is_said_to() {
        let report = Report { exports: None, imports: None, ..report(1, 1) };
        let shown = text(&report, None, Terminal::PIPE);
        assert!(shown.contains("exports: the gateway's proxies do not count"), "{shown}");
        assert!(!shown.contains("imports") && !shown.contains("calls to it"), "{shown}");
    }

    #[test]
    fn one_of_a_kind_is_not_many() {
        let mut one = report(1, 0);
        one.peers[0].calls = 1;
        let shown = text(&one, None, Terminal::PIPE);
        assert!(shown.contains("1 call to it") && shown.contains("1 connection "), "{shown}");
    }

    #[test]
    fn sizes_have_binary_units() {
        let sizes = [0, 1_023, 1_024, 1_536, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }
}
