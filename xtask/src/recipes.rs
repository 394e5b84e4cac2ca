//! CustomResourceDefinitions of the products for which `docs/cookbook.md` has manifests, from their
//! Go modules.

use crate::once::made_once;
use crate::tools;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file of a released Go module.
struct Definition {
    /// The module and its version, as Go's tools name them.
    module: &'static str,
    /// Go's hash of the module, as in a `go.sum`.
    hash: &'static str,
    /// The file in the module.
    file: &'static str,
}

const DEFINITIONS: [Definition; 3] = [
    Definition {
        module: "github.com/argoproj/argo-cd/v3@v3.4.0",
        hash: "h1:yZwfaOIzE/aQTA52mOfeZQbribmyxKYvMgirQja4eX0=",
        file: "manifests/crds/application-crd.yaml",
    },
    Definition {
        module: "github.com/cert-manager/cert-manager@v1.21.2",
        hash: "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        file: "deploy/crds/cert-manager.io_certificates.yaml",
    },
    Definition {
        module: "github.com/fluxcd/helm-controller@v1.6.0",
        hash: "h1:jlS5X11SG26gspubB5aLrdVSCm0q0tA4ULsY+vwSkL0=",
        file: "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",
    },
];

/// The paths of the definitions. Fetches them first if necessary.
///
/// # Errors
/// When Go is missing, a module cannot be downloaded, or it is not the pinned one.
pub fn definitions() -> Result<Vec<PathBuf>> {
    DEFINITIONS.iter().map(definition).collect()
}

fn definition(Definition { module, hash, file }: &Definition) -> Result<PathBuf> {
    let name = Path::new(file).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let (_, version) = module.rsplit_once('@').context("a module has a version")?;
    let kept = tools().join(format!("{name}-{version}.yaml"));
    made_once(name, &kept, |partial| {
        eprintln!("xtask: fetching {name} of {module}, the first time only");
        let found = download(module)?;
        ensure!(
            found["Sum"] == *hash,
            "{module}: expected the hash {hash}, found {}; the release was changed after it was pinned",
            found["Sum"]
        );
        let folder = found["Dir"].as_str().context("go reported no folder")?;
        let source = Path::new(folder).join(file);
        let text =
            std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(std::fs::write(partial, text)?)
    })?;
    Ok(kept)
}

/// Downloads a module. Returns what Go reports about it.
fn download(module: &str) -> Result<Value> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run `go`; install Go 1.26 or later (https://go.dev/doc/install)")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "cannot download {module}: {printed}");
    serde_json::from_str(&printed).with_context(|| format!("go printed no JSON: {printed}"))
}
