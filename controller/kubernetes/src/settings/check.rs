//! Which settings contradict each other.

use super::{CLUSTER_SET, ControllerSettings, Delivery};
use fedgate_envoy::FilterKind;
use fedgate_exchange::settings::LimitTooShort;

impl ControllerSettings {
    /// Checks settings against each other.
    ///
    /// # Errors
    /// Names the settings that contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Err(LimitTooShort { staleness_limit, stale_after }) = self.intervals().check() {
            anyhow::bail!(
                "--staleness-limit ({staleness_limit}) must be at least --stale-after ({stale_after})"
            );
        }
        if let Err(error) = self.peer_access().proxy.check() {
            anyhow::bail!("--proxy: {error}");
        }
        anyhow::ensure!(
            self.namespaces.delivery == Delivery::WasmPlugin
                || !is_elsewhere(self.gateway.filter_module.as_ref()),
            "--filter-module is {:?}: expected a file of the gateway's container (file:///…), unless --delivery is WasmPlugin",
            self.gateway.filter_module.as_deref().unwrap_or_default()
        );
        let ours = self.network.pod_cidrs.iter().chain(&self.network.service_cidrs);
        if let Some((range, taken)) = self.import_addresses.and_then(|range| {
            ours.copied().find(|taken| range.overlaps(taken)).map(|taken| (range, taken))
        }) {
            anyhow::bail!(
                "--import-addresses ({range}) overlaps {taken}, which has addresses of Pods or Services; choose a range that nothing in \
                 this cluster uses"
            );
        }
        anyhow::ensure!(
            !self.mcs_imports || self.federated.suffix.as_str() == CLUSTER_SET,
            "--federated-suffix is {}: expected {CLUSTER_SET} with --mcs-imports, because a ServiceImport stands for a name that ends in it",
            self.federated.suffix
        );
        anyhow::ensure!(
            self.gateway.named_callers == 0
                || self.namespaces.delivery.filter() == FilterKind::ProxyWasm,
            "--named-callers is {}: expected 0 with --delivery DynamicModule, because Envoy takes new counters of the native filter only with a new table",
            self.gateway.named_callers
        );
        self.tracing()
            .map(drop)
            .map_err(|error| anyhow::anyhow!("--tracing-otlp-endpoint: {error}"))
    }
}

fn is_elsewhere(module: Option<&String>) -> bool {
    module.is_some_and(|url| !url.starts_with("file://"))
}
