//! The life cycle's host, made of the host calls of a VM.

use super::host::{ContextId, Host, MetricKind, Property};
use super::{identity, route};
use crate::host::{self, Identity, Level, Status};
use std::cell::Cell;

/// The prefix of the filter state that a plugin may set. The proxy adds it.
const PREFIX: &str = "wasm.";

/// A VM's proxy as the host of its connections.
#[derive(Debug)]
pub(crate) struct Proxied<H> {
    pub(crate) proxy: H,
    /// Whether the proxy prints lines about single connections, as of the last look.
    prints_connections: Cell<bool>,
}

impl<H: Host> Proxied<H> {
    pub(crate) fn new(proxy: H) -> Self {
        Self { proxy, prints_connections: Cell::default() }
    }

    /// Asks the proxy for its log level, so that connections need not.
    pub(crate) fn look_at_log_level(&self) {
        self.prints_connections.set(self.proxy.logs(Level::Debug));
    }
}

impl<H: Host> host::Host for Proxied<H> {
    fn act_for(&self, connection: ContextId) -> bool {
        self.proxy.act_for(connection)
    }

    fn server_name(&self) -> Option<Vec<u8>> {
        self.proxy.property(Property::ServerName)
    }

    fn is_passed_through(&self) -> bool {
        self.proxy.property(Property::PassedThrough).is_some_and(|value| !value.is_empty())
    }

    fn identity(&self) -> Option<Identity> {
        identity::read(&self.proxy)
    }

    fn set_filter_state(&self, key: &str, value: &[u8]) -> Result<(), Status> {
        self.proxy.set_property(key.strip_prefix(PREFIX).unwrap_or(key), value)
    }

    fn set_cluster(&self, cluster: &str) -> Result<(), Status> {
        route::set_cluster(&self.proxy, cluster)
    }

    fn resume(&self) -> Result<(), Status> {
        self.proxy.resume_downstream()
    }

    /// proxy-wasm takes no reason; the filter state has it.
    fn close(&self, _reason: &str) -> Result<(), Status> {
        self.proxy.close_downstream()
    }

    fn define_counter(&self, name: &str) -> Option<u32> {
        self.proxy.define_metric(MetricKind::Counter, name)
    }

    fn increment(&self, counter: u32, by: u64) {
        self.proxy.increment_metric(counter, by);
    }

    fn logs(&self, level: Level) -> bool {
        match level {
            Level::Debug => self.prints_connections.get(),
            _ => self.proxy.logs(level),
        }
    }

    fn log(&self, level: Level, line: &str) {
        self.proxy.log(level, line);
    }
}
