//! Benches of the hot path, and the comparison of gateways on a real Envoy.

use crate::{cargo, envoy, fedgate, native, root, run, target, tests, wasm};
use anyhow::Result;
use std::process::Command;

/// The criterion benches of the hot path and of `federate`.
///
/// # Errors
/// When something cannot be built, or a bench fails.
pub fn hot_path(more: &[String]) -> Result<()> {
    tests::step("building the filter");
    wasm::build()?;
    tests::step("running the benches");
    run(cargo().args(["bench", "--package", "fedgate-benches"]).args(more))
}

/// The benches of the filter in a short form: each only until its time is roughly known, and in a
/// debug build, which the tests have made already. The times mean nothing, but the answers are
/// asserted all the same.
///
/// # Errors
/// When something cannot be built, or a bench fails.
pub fn hot_path_in_short() -> Result<()> {
    tests::step("building the filter");
    wasm::build()?;
    tests::step("running the benches in a debug build, for their answers only");
    run(cargo()
        .args(["bench", "--workspace", "--profile", "dev"])
        .args(["--bench", "decision", "--bench", "connection"])
        .args(["--", "--quick", "--noplot"]))
}

/// Measures what authorization costs a gateway on a real Envoy: fedgate beside its alternatives.
///
/// # Errors
/// When something cannot be built, fetched or started, or an answer is wrong.
pub fn on_envoy(more: &[String]) -> Result<()> {
    const PROGRAM: &str = "envoy_bench";
    #[cfg(target_os = "linux")]
    crate::inotify::check()?;
    let envoy = envoy::path()?;
    tests::step("building the filter, for wasm and as a dynamic module");
    let (wasm, native) = (wasm::build()?, native::build()?);
    tests::step("building the clients");
    fedgate::build_binaries(&[PROGRAM])?;
    let folder = target().join("envoy-bench");
    tests::step("measuring; the figures need a machine that does nothing else");
    let mut command = Command::new(fedgate::binary(PROGRAM));
    command.arg("--envoy").arg(envoy).arg("--wasm").arg(wasm).arg("--native").arg(native);
    command.arg("--folder").arg(folder).arg("--docs").arg(root().join("docs"));
    tests::become_command(command.args(more))
}
