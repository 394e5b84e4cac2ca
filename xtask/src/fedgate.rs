//! The controller's binary, `fedgate`. Every command that runs it builds it first.

use crate::{cargo, run, target};
use anyhow::Result;
use std::path::PathBuf;

/// Builds `fedgate` if it is out of date, and returns its path.
///
/// # Errors
/// When it does not compile.
pub fn build() -> Result<PathBuf> {
    build_binaries(&["fedgate"])?;
    Ok(binary("fedgate"))
}

/// Measurements set this environment variable to get the optimized program.
pub const OPTIMIZED: &str = "FEDGATE_OPTIMIZED";

fn is_optimized() -> bool {
    std::env::var_os(OPTIMIZED).is_some()
}

/// Builds the named binaries of this workspace.
///
/// With `--workspace` the dependencies have the same features as in `cargo test --workspace`. With
/// `--package` cargo would compile half of them again.
///
/// # Errors
/// When they do not compile.
pub fn build_binaries(names: &[&str]) -> Result<()> {
    let names = names.iter().flat_map(|name| ["--bin", name]);
    let profile: &[&str] = if is_optimized() { &["--release"] } else { &[] };
    run(cargo().args(["build", "--quiet", "--workspace"]).args(profile).args(names))
}

/// Builds the optimized `fedgate`, for measurements.
///
/// # Errors
/// When it does not compile.
pub fn build_optimized() -> Result<()> {
    run(cargo().args(["build", "--quiet", "--workspace", "--release", "--bin", "fedgate"]))
}

/// The path of a binary in cargo's target folder.
pub fn binary(name: &str) -> PathBuf {
    let profile = if is_optimized() { "release" } else { "debug" };
    target().join(profile).join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
