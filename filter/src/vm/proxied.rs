//! The life cycle's host, made of the host calls of a VM.

use super::host::{ContextId, Host, Property};
use super::{identity, route};
use crate::host::{self, Identity, Level, MetricKind, Status};

/// A VM's proxy as the host of its connections.
#[derive(Debug)]
pub(crate) struct Proxied<H>(pub(crate) H);

impl<H: Host> host::Host for Proxied<H> {
    fn act_for(&self, connection: ContextId) -> bool {
        self.0.act_for(connection)
    }

    fn server_name(&self) -> Option<Vec<u8>> {
        self.0.property(Property::ServerName)
    }

    fn is_passed_through(&self) -> bool {
        self.0.property(Property::PassedThrough).is_some_and(|value| !value.is_empty())
    }

    fn identity(&self) -> Option<Identity> {
        identity::read(&self.0)
    }

    fn set_filter_state(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        self.0.set_property(name, value)
    }

    fn set_cluster(&self, cluster: &str) -> Result<(), Status> {
        route::set_cluster(&self.0, cluster)
    }

    fn resume(&self) -> Result<(), Status> {
        self.0.resume_downstream()
    }

    /// proxy-wasm takes no reason; the filter state has it.
    fn close(&self, _reason: &str) -> Result<(), Status> {
        self.0.close_downstream()
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32> {
        self.0.define_metric(kind, name)
    }

    fn increment_metric(&self, metric: u32, by: u64) {
        self.0.increment_metric(metric, by);
    }

    fn record_metric(&self, metric: u32, value: u64) {
        self.0.record_metric(metric, value);
    }

    fn logs(&self, level: Level) -> bool {
        self.0.logs(level)
    }

    fn log(&self, level: Level, line: &str) {
        self.0.log(level, line);
    }
}
