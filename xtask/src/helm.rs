//! Helm of a pinned version, for the tests of the chart and for the manifests that are rendered from it.

use crate::go::{Module, Program};
use anyhow::Result;
use std::path::PathBuf;

/// The path of helm, which is built first when there is none.
///
/// # Errors
/// When `HELM` points at nothing, or it cannot be built; the message says what to do.
pub fn helm() -> Result<PathBuf> {
    let package = "helm.sh/helm/v3/cmd/helm";
    let takes = "about a minute and a half";
    Module::new("helm").program(&Program { name: "helm", package, stamps: Vec::new(), variable: "HELM", takes })
}
