//! The programs under test. Each run builds them once, so that no test uses an old build.

use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

type Built = LazyLock<Result<PathBuf>>;

/// The controller and the command line.
///
/// # Errors
/// When it does not compile.
pub fn fedgate() -> Result<&'static Path> {
    static FEDGATE: Built = LazyLock::new(xtask::fedgate::build);
    path(&FEDGATE)
}

/// The gateway filter.
///
/// # Errors
/// When it does not compile.
pub fn filter() -> Result<&'static Path> {
    static FILTER: Built = LazyLock::new(xtask::wasm::build);
    path(&FILTER)
}

/// The same filter as a dynamic module of Envoy.
///
/// # Errors
/// When it does not compile.
pub fn native_filter() -> Result<&'static Path> {
    static NATIVE_FILTER: Built = LazyLock::new(xtask::native::under_test);
    path(&NATIVE_FILTER)
}

/// The controller of the previous build, an earlier commit.
///
/// # Errors
/// When the history lacks it, or it does not compile.
pub fn previous_fedgate() -> Result<&'static Path> {
    static PREVIOUS_FEDGATE: Built = LazyLock::new(xtask::previous::fedgate);
    path(&PREVIOUS_FEDGATE)
}

/// The gateway filter of the previous build, as a proxy-wasm plugin.
///
/// # Errors
/// When the history lacks it, or it does not compile.
pub fn previous_filter() -> Result<&'static Path> {
    static PREVIOUS_FILTER: Built = LazyLock::new(xtask::previous::filter);
    path(&PREVIOUS_FILTER)
}

/// The controller of the commit that has [`previous_native_filter`].
///
/// # Errors
/// When the history lacks it, or it does not compile.
pub fn previous_native_fedgate() -> Result<&'static Path> {
    static PREVIOUS_NATIVE: Built = LazyLock::new(xtask::previous::native_fedgate);
    path(&PREVIOUS_NATIVE)
}

/// The native filter of an earlier commit.
///
/// # Errors
/// When the history lacks it, or it does not compile.
pub fn previous_native_filter() -> Result<&'static Path> {
    static PREVIOUS_NATIVE: Built = LazyLock::new(xtask::previous::native_filter);
    path(&PREVIOUS_NATIVE)
}

/// The dynamic module that panics when a test asks it to.
///
/// # Errors
/// When it does not compile.
pub fn panicking_filter() -> Result<&'static Path> {
    static PANICKING_FILTER: Built = LazyLock::new(xtask::native::build_panicking);
    path(&PANICKING_FILTER)
}

/// Envoy.
///
/// # Errors
/// When it cannot be fetched.
pub fn envoy() -> Result<&'static Path> {
    static ENVOY: Built = LazyLock::new(xtask::envoy::path);
    path(&ENVOY)
}

/// The major and minor number of the Envoy of this run, for what differs between releases.
///
/// # Errors
/// When it cannot be fetched or started.
pub fn envoy_release() -> Result<(u32, u32)> {
    let output = Command::new(envoy()?).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    release_in(&text).with_context(|| format!("expected a version of Envoy, found {text:?}"))
}

/// Finds the release in `/usr/bin/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn release_in(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("version: ")?;
    let mut numbers = version.split('/').nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A Kubernetes API server.
///
/// # Errors
/// When it cannot be built.
pub fn api_server() -> Result<&'static Path> {
    static API_SERVER: Built = LazyLock::new(xtask::kubernetes::api_server);
    path(&API_SERVER)
}

/// etcd, the API server's store.
///
/// # Errors
/// When it cannot be built.
pub fn etcd() -> Result<&'static Path> {
    static ETCD: Built = LazyLock::new(xtask::kubernetes::etcd);
    path(&ETCD)
}

/// kubectl.
///
/// # Errors
/// When it cannot be built.
pub fn kubectl() -> Result<&'static Path> {
    static KUBECTL: Built = LazyLock::new(xtask::kubernetes::kubectl);
    path(&KUBECTL)
}

/// A YAML file with Istio's custom resource definitions.
///
/// # Errors
/// When it cannot be fetched.
pub fn istio_crds() -> Result<&'static Path> {
    static ISTIO_CRDS: Built = LazyLock::new(xtask::istio::crds);
    path(&ISTIO_CRDS)
}

/// A YAML file with the definitions of the Multi-Cluster Services API.
///
/// # Errors
/// When it cannot be fetched.
pub fn mcs_crds() -> Result<&'static Path> {
    static MCS_CRDS: Built = LazyLock::new(xtask::mcs::crds);
    path(&MCS_CRDS)
}

/// istiod.
///
/// # Errors
/// When it cannot be built.
pub fn istiod() -> Result<&'static Path> {
    static ISTIOD: Built = LazyLock::new(xtask::istio::istiod);
    path(&ISTIOD)
}

/// istio-agent, which starts an Envoy and gets its certificates.
///
/// # Errors
/// When it cannot be built.
pub fn istio_agent() -> Result<&'static Path> {
    static AGENT: Built = LazyLock::new(xtask::istio::agent);
    path(&AGENT)
}

/// istioctl.
///
/// # Errors
/// When it cannot be built.
pub fn istioctl() -> Result<&'static Path> {
    static ISTIOCTL: Built = LazyLock::new(xtask::istio::istioctl);
    path(&ISTIOCTL)
}

/// CoreDNS.
///
/// # Errors
/// When it cannot be built.
pub fn coredns() -> Result<&'static Path> {
    static COREDNS: Built = LazyLock::new(xtask::coredns::coredns);
    path(&COREDNS)
}

/// helm.
///
/// # Errors
/// When it cannot be built.
pub fn helm() -> Result<&'static Path> {
    static HELM: Built = LazyLock::new(xtask::helm::helm);
    path(&HELM)
}

/// The template of Envoy's bootstrap for istio-agent.
///
/// # Errors
/// When it cannot be fetched.
pub fn istio_bootstrap() -> Result<&'static Path> {
    static BOOTSTRAP: Built = LazyLock::new(xtask::istio::bootstrap);
    path(&BOOTSTRAP)
}

/// The ConfigMap with istiod's template for proxy injection.
///
/// # Errors
/// When it cannot be rendered.
pub fn istio_injection() -> Result<&'static Path> {
    static ISTIO_INJECTION: Built = LazyLock::new(xtask::istio::injection);
    path(&ISTIO_INJECTION)
}

/// Prometheus.
///
/// # Errors
/// When it cannot be built.
pub fn prometheus() -> Result<&'static Path> {
    static PROMETHEUS: Built = LazyLock::new(xtask::prometheus::prometheus);
    path(&PROMETHEUS)
}

fn path(built: &'static Built) -> Result<&'static Path> {
    built.as_deref().map_err(|error| anyhow!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::release_in;

    #[test]
    fn the_release_of_an_envoy_is_found() {
        let text = "\n/opt/a/envoy  version: 3909deb/1.37.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(release_in(text), Some((1, 37)));
        assert_eq!(release_in("/opt/a/1.37.0/envoy: not found"), None);
    }
}
