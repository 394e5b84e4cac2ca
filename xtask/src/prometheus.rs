//! A pinned Prometheus, for the tests of alerts and dashboards. It has a module of its own: with the
//! versions that istiod and Helm need, it does not compile.

use crate::go::{Module, Program};
use anyhow::Result;
use std::path::PathBuf;

/// The path of promtool, which checks and tests rules. Builds it first if necessary.
///
/// # Errors
/// When `PROMTOOL` does not name a file, or promtool cannot be built; the message says what to do.
pub fn promtool() -> Result<PathBuf> {
    program("promtool", "PROMTOOL", "about a minute")
}

/// The path of Prometheus. Builds it first if necessary.
///
/// # Errors
/// When `PROMETHEUS` does not name a file, or Prometheus cannot be built; the message says what to
/// do.
pub fn prometheus() -> Result<PathBuf> {
    program("prometheus", "PROMETHEUS", "about half a minute after promtool")
}

fn program(name: &str, variable: &str, takes: &str) -> Result<PathBuf> {
    Module::new("prometheus").program(&Program {
        name,
        package: &format!("github.com/prometheus/prometheus/cmd/{name}"),
        stamps: Vec::new(),
        // Targets are listed in files. Their discovery in clouds is most of the code.
        tags: "remove_all_sd",
        variable,
        takes,
    })
}
