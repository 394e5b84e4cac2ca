//! The definitions of the Multi-Cluster Services API, from its pinned Go module.

use crate::go::Module;
use crate::once::made_once;
use crate::tools;
use anyhow::{Context, Result};
use std::path::PathBuf;

const MODULE: &str = "sigs.k8s.io/mcs-api";

/// The path of a YAML file that defines `ServiceExport` and `ServiceImport`. Fetches it first if
/// necessary.
///
/// # Errors
/// When Go is missing or the module cannot be downloaded.
pub fn crds() -> Result<PathBuf> {
    let module = Module::new("mcs");
    let file = tools().join(format!("mcs-crds-{}.yaml", module.version_of(MODULE)?));
    made_once("mcs-crds", &file, |partial| {
        let folder = module.files_of(MODULE)?.join("config/crd");
        let mut definitions = Vec::new();
        for plural in ["serviceexports", "serviceimports"] {
            let source = folder.join(format!("multicluster.x-k8s.io_{plural}.yaml"));
            let text = std::fs::read_to_string(&source)
                .with_context(|| format!("cannot read {}", source.display()))?;
            definitions.push(text);
        }
        Ok(std::fs::write(partial, definitions.join("---\n"))?)
    })?;
    Ok(file)
}
