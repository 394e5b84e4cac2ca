//! The native filter module. Like the wasm one, it is built before anything loads it.

use crate::{cargo, run, target};
use anyhow::Result;
use std::path::PathBuf;

/// The environment variable with which the end-to-end tests on Envoy choose the filter: `proxy-wasm`,
/// the default, or `native`.
pub const CHOICE: &str = "FEDGATE_E2E_FILTER";

/// Builds the native filter module if it is out of date, and returns its path.
///
/// It has its own target folder, so that a test under cargo never waits for the lock of the cargo
/// that runs it.
///
/// # Errors
/// When it does not compile.
pub fn build() -> Result<PathBuf> {
    let folder = target().join("filter-native");
    run(cargo()
        .args(["build", "--quiet", "--package", "fedgate-filter-native", "--lib"])
        .args(["--profile", "native"])
        .arg("--target-dir")
        .arg(&folder)
        // Flags for the tests (sanitizers, coverage) must not affect the module.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join("native/libfedgate_filter_native.so"))
}
