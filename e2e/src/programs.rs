//! The programs under test, built once in each run, so that nobody tests yesterday's.

use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

type Built = LazyLock<Result<PathBuf>>;

/// The controller and the command line.
///
/// # Errors
/// When it does not compile.
pub fn fedgate() -> Result<&'static Path> {
    static FEDGATE: Built = LazyLock::new(xtask::fedgate::build);
    path(&FEDGATE)
}

/// The gateway filter.
///
/// # Errors
/// When it does not compile.
pub fn filter() -> Result<&'static Path> {
    static FILTER: Built = LazyLock::new(xtask::wasm::build);
    path(&FILTER)
}

/// Envoy.
///
/// # Errors
/// When it cannot be fetched.
pub fn envoy() -> Result<&'static Path> {
    static ENVOY: Built = LazyLock::new(xtask::envoy::path);
    path(&ENVOY)
}

fn path(built: &'static Built) -> Result<&'static Path> {
    built.as_deref().map_err(|error| anyhow!("{error:#}"))
}
