//! The controller's binary, `fedgate`, built by whoever runs it.

use crate::{cargo, run, target};
use anyhow::Result;
use std::path::PathBuf;

/// Builds `fedgate`, or finds that it is up to date, and returns where it is.
///
/// # Errors
/// When it does not compile.
pub fn build() -> Result<PathBuf> {
    build_binaries(&["fedgate"])?;
    Ok(binary("fedgate"))
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
    run(cargo().args(["build", "--quiet", "--workspace"]).args(names))
}

/// Where cargo puts a binary of the development profile.
pub fn binary(name: &str) -> PathBuf {
    target().join("debug").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
