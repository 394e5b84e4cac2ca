//! Istio's custom resource definitions, of a pinned version, out of its Go module.

use crate::go::Module;
use crate::once::made_once;
use crate::tools;
use anyhow::{Context, Result};
use std::path::PathBuf;

const MODULE: &str = "istio.io/istio";
const CRDS: &str = "manifests/charts/base/files/crd-all.gen.yaml";

/// The path of a YAML file with all of Istio's definitions, which is fetched first when there is none.
///
/// # Errors
/// When Go is missing or the module cannot be downloaded.
pub fn crds() -> Result<PathBuf> {
    let module = Module::new("istio");
    let version = module.version_of(MODULE)?;
    let file = tools().join(format!("istio-crds-{version}.yaml"));
    made_once("istio-crds", &file, |partial| {
        eprintln!("fetching Istio's definitions {version}, once (12 MB, unpacked 58 MB)");
        let source = module.files_of(MODULE)?.join(CRDS);
        let text = std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(std::fs::write(partial, text)?)
    })?;
    Ok(file)
}
