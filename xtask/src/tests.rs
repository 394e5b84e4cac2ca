//! What runs the project: its tests, its demo, its benches.

use crate::{cargo, envoy, fedgate, run, wasm};
use anyhow::{Context, Result};
use std::process::Command;

/// The tests of the whole workspace, and one of the end-to-end tests; the others are [`end_to_end`].
///
/// # Errors
/// When something cannot be built or fetched, or a test fails.
pub fn workspace(more: &[String]) -> Result<()> {
    prepare(&["fedgate"])?;
    step("running the tests");
    run(cargo().args(["test", "--workspace"]).args(more))
}

/// The tests on real Envoys.
///
/// # Errors
/// When something cannot be built or fetched, or a test fails.
pub fn end_to_end(more: &[String]) -> Result<()> {
    prepare(&["fedgate"])?;
    step("running the end-to-end tests");
    let features = ["--features", "fedgate-e2e/real-envoy"];
    run(cargo().args(["test", "--workspace", "--test", "smoke", "--test", "real_envoy"]).args(features).args(more))
}

/// The benches.
///
/// # Errors
/// When something cannot be built, or a bench fails.
pub fn bench(more: &[String]) -> Result<()> {
    step("building the filter");
    wasm::build()?;
    step("running the benches");
    run(cargo().args(["bench", "--package", "fedgate-benches"]).args(more))
}

/// The demo. Returns only when it could not be started: the demo takes this process's place, so that Ctrl-C and the
/// exit status are its own.
///
/// # Errors
/// When something cannot be built, fetched or started.
pub fn demo(more: &[String]) -> Result<()> {
    prepare(&["fedgate", "demo"])?;
    become_command(Command::new(fedgate::binary("demo")).args(more))
}

/// Fetches and builds all that a run needs, and says so: the first time takes minutes.
fn prepare(binaries: &[&str]) -> Result<()> {
    step("looking for Envoy");
    envoy::path()?;
    step("building the filter");
    wasm::build()?;
    step("building the controller");
    fedgate::build_binaries(binaries)
}

fn step(what: &str) {
    eprintln!("xtask: {what}");
}

#[cfg(unix)]
fn become_command(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let shown = format!("{command:?}");
    Err(command.exec()).with_context(|| format!("cannot start {shown}"))
}

#[cfg(not(unix))]
fn become_command(command: &mut Command) -> Result<()> {
    run(command)
}
