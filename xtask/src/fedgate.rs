//! The controller's binary, `fedgate`. Whoever runs it builds it.

use crate::{cargo, run, target};
use anyhow::Result;
use std::path::PathBuf;

/// Builds `fedgate` if it is not up to date, and returns its path.
///
/// # Errors
/// When it does not compile.
pub fn build() -> Result<PathBuf> {
    build_binaries(&["fedgate"])?;
    Ok(binary("fedgate"))
}

/// The variable by which a measurement asks for the optimized program.
pub const OPTIMIZED: &str = "FEDGATE_OPTIMIZED";

fn is_optimized() -> bool {
    std::env::var_os(OPTIMIZED).is_some()
}

/// Builds binaries of this workspace by name.
///
/// With `--workspace` cargo gives the dependencies the same features as `cargo test --workspace` does; with
/// `--package` it would compile half of them a second time.
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

/// The path where cargo puts a binary.
pub fn binary(name: &str) -> PathBuf {
    let profile = if is_optimized() { "release" } else { "debug" };
    target().join(profile).join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
