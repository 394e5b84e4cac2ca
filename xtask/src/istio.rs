//! A pinned Istio from its Go module: CustomResourceDefinitions, istiod, istio-agent and istioctl.

use crate::go::{CLUSTER, Module, Program};
use crate::once::made_once;
use crate::{helm, tools};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

const MODULE: &str = "istio.io/istio";
const CRDS: &str = "manifests/charts/base/files/crd-all.gen.yaml";
const CHART: &str = "manifests/charts/istio-control/istio-discovery";
const BOOTSTRAP: &str = "tools/packaging/common/envoy_bootstrap.json";

/// The path of istiod. Builds it first if necessary.
///
/// # Errors
/// When `PILOT_DISCOVERY` does not name a file, or istiod cannot be built; the message says what to
/// do.
pub fn istiod() -> Result<PathBuf> {
    program(
        "pilot-discovery",
        "pilot/cmd",
        "PILOT_DISCOVERY",
        "about 2 minutes after kube-apiserver",
    )
}

/// The path of istio-agent. Builds it first if necessary.
///
/// # Errors
/// When `PILOT_AGENT` does not name a file, or istio-agent cannot be built; the message says what
/// to do.
pub fn agent() -> Result<PathBuf> {
    program("pilot-agent", "pilot/cmd", "PILOT_AGENT", "about a minute")
}

/// The path of istioctl. Builds it first if necessary.
///
/// # Errors
/// When `ISTIOCTL` does not name a file, or istioctl cannot be built; the message says what to do.
pub fn istioctl() -> Result<PathBuf> {
    program("istioctl", "istioctl/cmd", "ISTIOCTL", "about a minute")
}

fn program(name: &str, parent: &str, variable: &str, takes: &str) -> Result<PathBuf> {
    let package = format!("{MODULE}/{parent}/{name}");
    Module::new(CLUSTER).program(&Program {
        name,
        package: &package,
        stamps: Vec::new(),
        tags: "",
        variable,
        takes,
    })
}

/// The path of a YAML file with all of Istio's CustomResourceDefinitions. Fetches it first if
/// necessary.
///
/// # Errors
/// When Go is missing or the module cannot be downloaded.
pub fn crds() -> Result<PathBuf> {
    file("istio-crds", "yaml", CRDS)
}

/// The path of the template of Envoy's bootstrap, which istio-agent fills in. Fetches it first if
/// necessary.
///
/// # Errors
/// When Go is missing or the module cannot be downloaded.
pub fn bootstrap() -> Result<PathBuf> {
    file("istio-bootstrap", "json", BOOTSTRAP)
}

/// The path of the ConfigMap with istiod's injection template, rendered from Istio's chart. Renders
/// it first if necessary.
///
/// # Errors
/// When the module cannot be downloaded, or helm cannot be built.
pub fn injection() -> Result<PathBuf> {
    let module = Module::new(CLUSTER);
    let file = tools().join(format!("istio-injection-{}.yaml", module.version_of(MODULE)?));
    made_once("istio-injection", &file, |partial| {
        let mut helm = Command::new(helm::helm()?);
        helm.arg("template").arg("istiod").arg(module.files_of(MODULE)?.join(CHART));
        helm.args(["--namespace", "istio-system", "--kube-version", "1.33.0"]);
        helm.args(["--show-only", "templates/istiod-injector-configmap.yaml"]);
        let output = helm.output().with_context(|| format!("cannot start {helm:?}"))?;
        ensure!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(std::fs::write(partial, output.stdout)?)
    })?;
    Ok(file)
}

/// A file of Istio's module, by its path in the module.
fn file(name: &str, extension: &str, path: &str) -> Result<PathBuf> {
    let module = Module::new(CLUSTER);
    let version = module.version_of(MODULE)?;
    let file = tools().join(format!("{name}-{version}.{extension}"));
    made_once(name, &file, |partial| {
        eprintln!(
            "xtask: fetching {name} {version}, the first time only (Istio's sources: 12 MB, unpacked 58 MB)"
        );
        let source = module.files_of(MODULE)?.join(path);
        let text =
            std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(std::fs::write(partial, text)?)
    })?;
    Ok(file)
}
