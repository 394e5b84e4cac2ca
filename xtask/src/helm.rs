//! A pinned Helm, for the chart's tests and for the manifests rendered from the chart.

use crate::go::{CLUSTER, Module, Program};
use anyhow::Result;
use std::path::PathBuf;

/// The path of helm. Builds it first if necessary.
///
/// # Errors
/// When `HELM` does not name a file, or helm cannot be built; the message says what to do.
pub fn helm() -> Result<PathBuf> {
    let package = "helm.sh/helm/v3/cmd/helm";
    let takes = "about a minute and a half";
    Module::new(CLUSTER).program(&Program {
        name: "helm",
        package,
        stamps: Vec::new(),
        tags: "",
        variable: "HELM",
        takes,
    })
}
