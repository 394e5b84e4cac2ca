//! Reports a decision: filter state for access logs, counters, and a log line.

use crate::connection::service_of;
use crate::host::{Host, Level};
use crate::metrics::{Event, Metrics};
use fedgate_core::{Decision, Outcome, Reason};

/// A decision that does not borrow from the table that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Reason,
    pub(crate) peer: Option<Box<str>>,
    /// The table's generation; `None` without a table.
    pub(crate) generation: Option<u64>,
    /// True if this ends a connection that had passed.
    pub(crate) revokes: bool,
}

impl Record {
    pub(crate) fn new(decision: &Decision<'_>, generation: u64) -> Self {
        let Decision { outcome, reason, peer } = decision;
        let peer = peer.map(|peer| peer.name.into());
        Self {
            outcome: *outcome,
            reason: *reason,
            peer,
            generation: Some(generation),
            revokes: false,
        }
    }

    pub(crate) fn refused(reason: Reason, generation: Option<u64>) -> Self {
        Self { outcome: Outcome::Refused, reason, peer: None, generation, revokes: false }
    }

    pub(crate) fn revoking(self) -> Self {
        Self { revokes: true, ..self }
    }
}

/// Reports a decision on the connection that the host acts for.
pub(crate) fn report(host: &impl Host, metrics: &Metrics, record: &Record, server_name: &str) {
    let service = service_of(server_name);
    write_filter_state(host, record, record.reason.word(), service.as_deref());
    match record.revokes {
        true => metrics.happened(host, Event::Revoked),
        false => metrics.decided(host, record.outcome, record.reason, record.peer.as_deref()),
    }
    if host.logs(Level::Debug) {
        host.log(Level::Debug, &line(record, record.reason.word(), service.as_deref()));
    }
}

/// The reason word for an allowed connection whose cluster the proxy did not accept.
pub(crate) const NO_ROUTE: &str = "no_route";

/// Reports an allowed connection that is closed because the proxy did not accept its cluster.
pub(crate) fn report_route_failure(
    host: &impl Host,
    metrics: &Metrics,
    record: &Record,
    server_name: &str,
) {
    let record = Record { outcome: Outcome::Refused, ..record.clone() };
    write_filter_state(host, &record, NO_ROUTE, service_of(server_name).as_deref());
    metrics.happened(host, Event::RouteFailed);
}

/// Filter state only helps readers of access logs. If the proxy does not accept it, the decision is
/// carried out all the same.
fn write_filter_state(host: &impl Host, record: &Record, reason: &str, service: Option<&str>) {
    let write = |name, value: &str| {
        let _ = host.set_filter_state(name, value.as_bytes());
    };
    write("fedgate.outcome", record.outcome.word());
    write("fedgate.reason", reason);
    if let Some(peer) = &record.peer {
        write("fedgate.peer", peer);
    }
    if let Some(service) = service {
        write("fedgate.service", service);
    }
    if let Some(generation) = record.generation {
        write("fedgate.generation", &generation.to_string());
    }
}

fn line(record: &Record, reason: &str, service: Option<&str>) -> String {
    let outcome = if record.revokes { "revoked" } else { record.outcome.word() };
    let peer = record.peer.as_deref().unwrap_or("-");
    let generation =
        record.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string());
    let service = service.unwrap_or("-");
    format!(
        "connection {outcome}: reason={reason} service={service} peer={peer} generation={generation}"
    )
}
