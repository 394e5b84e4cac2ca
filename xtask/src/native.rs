//! The native filter module. Like the wasm one, it is built before anything loads it.

use crate::wasm::build_command;
use crate::{run, target};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable with which the end-to-end tests on Envoy choose the filter:
/// `proxy-wasm`, the default, or `native`.
pub const CHOICE: &str = "FEDGATE_E2E_FILTER";

/// The environment variable that gives those tests another build of the native filter.
const MODULE: &str = "FEDGATE_E2E_NATIVE_MODULE";

/// The native filter module that the end-to-end tests load.
///
/// # Errors
/// When it does not compile.
pub fn under_test() -> Result<PathBuf> {
    std::env::var_os(MODULE).map_or_else(build, |module| Ok(module.into()))
}

/// Has the end-to-end tests that a command runs load this module.
pub(crate) fn test_with<'a>(command: &'a mut Command, module: &Path) -> &'a mut Command {
    command.env(CHOICE, "native").env(MODULE, module)
}

/// Builds the native filter module if it is out of date, and returns its path.
///
/// It has its own target folder, so that a test under cargo never waits for the lock of the cargo
/// that runs it.
///
/// # Errors
/// When it does not compile.
pub fn build() -> Result<PathBuf> {
    build_into("filter-native", &[])
}

/// Builds the same module, except that it panics when a test asks it to.
///
/// # Errors
/// When it does not compile.
pub fn build_panicking() -> Result<PathBuf> {
    build_into("filter-native-panicking", &["--features", "provoked-panics"])
}

fn build_into(folder: &str, more: &[&str]) -> Result<PathBuf> {
    let folder = target().join(folder);
    run(build_command("fedgate-filter-native", "native", &folder).args(more))?;
    Ok(folder.join("native/libfedgate_filter_native.so"))
}
