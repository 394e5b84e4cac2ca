//! Code shared by the project's commands and tests: how to find or build the filter module, an
//! Envoy and a Kubernetes API server.

pub mod alerts;
pub mod bench;
pub mod check;
pub mod chromium;
pub mod conformance;
pub mod coredns;
pub mod dashboards;
#[cfg(unix)]
pub mod dist;
pub mod envoy;
pub mod fedgate;
pub mod fuzz;
pub mod generate;
mod go;
pub mod helm;
pub mod image;
#[cfg(target_os = "linux")]
mod inotify;
pub mod istio;
pub mod kubernetes;
pub mod machine;
mod manifests;
pub mod mcs;
pub mod native;
pub mod network;
mod once;
pub mod ports;
pub mod previous;
pub mod programs;
pub mod prometheus;
pub mod pty;
pub mod recipes;
pub mod releases;
mod results;
#[cfg(unix)]
pub mod shells;
pub mod site;
pub mod spiffe;
pub mod tests;
pub mod wasm;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The folder for downloads and builds that are kept, by pinned version.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The file set by an environment variable, or `None` if the variable is not set. `what` describes
/// the file in errors.
fn pointed_at(variable: &str, what: &str) -> Result<Option<PathBuf>> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
        bail!(
            "{variable}={}: no such file; set it to the path of {what}, or unset it",
            path.display()
        );
    }
    Ok(path)
}

/// Runs a command and waits until it exits.
///
/// # Errors
/// When it cannot be started or its exit status is not 0. The message contains the command.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("this command failed with {status}: {shown}");
    }
    Ok(())
}
