//! Reports a decision: filter state for access logs, and a log line.

use crate::host::{Host, Level};
use fedgate_core::{Decision, Outcome, ServiceName};

/// What is written down about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) reason: &'static str,
    pub(crate) peer: Option<&'a str>,
    /// `None` if the server name does not name a service. No other untrusted text is ever written
    /// down.
    pub(crate) service: Option<&'a ServiceName>,
    /// The table's generation; `None` without a table.
    pub(crate) generation: Option<u64>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(
        decision: &Decision<'a>,
        service: Option<&'a ServiceName>,
        generation: Option<u64>,
    ) -> Self {
        let Decision { outcome, reason, peer } = decision;
        let peer = peer.map(|peer| peer.name);
        Self { outcome: *outcome, reason: reason.word(), peer, service, generation }
    }
}

/// The reason word for an allowed connection whose cluster the proxy did not accept.
pub(crate) const NO_ROUTE: &str = "no_route";

/// Reports on the connection that the host acts for. `outcome` is the word for the log line.
pub(crate) fn report(host: &impl Host, outcome: &str, record: &Record<'_>) {
    let service = record.service.map(ServiceName::text);
    let generation = record.generation.map(|generation| generation.to_string());
    let fields = [
        ("wasm.fedgate.outcome", Some(record.outcome.word())),
        ("wasm.fedgate.reason", Some(record.reason)),
        ("wasm.fedgate.peer", record.peer),
        ("wasm.fedgate.service", service.as_deref()),
        ("wasm.fedgate.generation", generation.as_deref()),
    ];
    for (key, value) in fields {
        // Filter state only helps readers of access logs. If the proxy does not accept it, the
        // decision is carried out all the same.
        let _ = value.map(|value| host.set_filter_state(key, value.as_bytes()));
    }
    if host.logs(Level::Debug) {
        let (reason, service) = (record.reason, service.as_deref().unwrap_or("-"));
        let (peer, generation) = (record.peer.unwrap_or("-"), generation.as_deref().unwrap_or("-"));
        host.log(
            Level::Debug,
            &format!(
                "connection {outcome}: reason={reason} service={service} peer={peer} generation={generation}"
            ),
        );
    }
}
