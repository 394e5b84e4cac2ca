//! The metrics of the Kubernetes platform, in addition to those of both platforms.

use crate::api::kind::Kind;
use crate::loaded::counts::Counts;
use fedgate_federation::{Finding, Severity};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Instant;

/// The upper bounds of the histogram buckets for the duration of a pass, in seconds.
const PASS_SECONDS: [f64; 8] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// All metrics of this platform; clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    leader: Gauge,
    writes: Family<WriteLabels, Counter>,
    failed_writes: Family<KindLabels, Counter>,
    passes: Histogram,
    findings: Family<FindingsLabels, Gauge>,
    gateway_pods: Family<StateLabels, Gauge>,
    gateway_generation: Gauge,
}

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Verb {
    /// The object did not exist.
    Create,
    /// The object differed from what is wanted.
    Apply,
    /// The object is no longer wanted.
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingsLabels {
    severity: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            leader: Gauge::default(),
            writes: Family::default(),
            failed_writes: Family::default(),
            passes: Histogram::new(PASS_SECONDS),
            findings: Family::default(),
            gateway_pods: Family::default(),
            gateway_generation: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("leader", "1 when this replica leads", self.leader.clone());
        registry.register("writes", "Objects written, by kind and verb", self.writes.clone());
        registry.register(
            "failed_writes",
            "Writes that the API server refused, by kind",
            self.failed_writes.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "Duration of a pass over all objects",
            self.passes.clone(),
        );
        let findings = "Findings about writes, such as conflicts and failures, by severity";
        registry.register("write_findings", findings, self.findings.clone());
        let pods = "Ready Pods of the gateway, by whether they have the newest table (Loaded, Behind, Unknown)";
        registry.register("gateway_pods", pods, self.gateway_pods.clone());
        let lowest = "The lowest generation of the tables that the gateway's Pods use";
        registry.register("gateway_table_generation", lowest, self.gateway_generation.clone());
    }

    /// Shows whether this replica leads.
    pub(crate) fn show_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Counts a write.
    pub(crate) fn write(&self, kind: Kind, verb: Verb) {
        self.writes.get_or_create(&WriteLabels { kind: kind.name(), verb }).inc();
    }

    /// Counts a failed write.
    pub(crate) fn failed_write(&self, kind: Kind) {
        self.failed_writes.get_or_create(&KindLabels { kind: kind.name() }).inc();
    }

    /// Measures a pass until the returned value is dropped.
    pub(crate) fn pass(&self) -> impl Drop + use<> {
        PassTimer { began: Instant::now(), passes: self.passes.clone() }
    }

    /// Shows which tables the gateway's Pods have.
    pub(super) fn show_gateway(&self, counts: &Counts) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in
            [("Loaded", counts.loaded), ("Behind", counts.behind), ("Unknown", counts.unknown)]
        {
            self.gateway_pods.get_or_create(&StateLabels { state }).set(number(count));
        }
        self.gateway_generation.set(i64::try_from(counts.lowest).unwrap_or(i64::MAX));
    }

    /// Shows the number of findings of the last pass.
    pub(crate) fn show_findings(&self, findings: &[Finding]) {
        for (severity, word) in
            [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "info")]
        {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.findings.get_or_create(&FindingsLabels { severity: word }).set(count);
        }
    }
}

struct PassTimer {
    began: Instant,
    passes: Histogram,
}

impl Drop for PassTimer {
    fn drop(&mut self) {
        self.passes.observe(self.began.elapsed().as_secs_f64());
    }
}
