//! What the project's commands and its tests share: where to find the filter module, an Envoy and a Kubernetes API server.

pub mod check;
pub mod envoy;
pub mod fedgate;
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
pub mod network;
mod once;
pub mod programs;
pub mod tests;
pub mod wasm;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where things that were fetched are kept, by their pinned versions.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The file that an environment variable names, or `None` if the variable is not set. `what` describes the file in errors.
fn pointed_at(variable: &str, what: &str) -> Result<Option<PathBuf>> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
        bail!("{variable}={}: no such file; set it to the path of {what}, or unset it", path.display());
    }
    Ok(path)
}

/// Runs a command to its end.
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
