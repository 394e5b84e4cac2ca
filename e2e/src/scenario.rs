//! How a test runs: a folder of its own, a time limit, and on failure the logs.

use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use std::time::Duration;

/// More than any test takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(420);

/// Runs the body of a test. On failure it panics with the error and the end of each log, and the folder stays.
///
/// # Panics
/// When the body fails or takes too long.
#[track_caller]
pub fn scenario(name: &str, body: impl AsyncFnOnce(&RunFolder) -> Result<()>) {
    long_scenario(name, LIMIT, body);
}

/// The same for a measurement, which takes its time.
///
/// # Panics
/// When the body fails or takes longer than `limit`.
#[track_caller]
pub fn long_scenario(name: &str, limit: Duration, body: impl AsyncFnOnce(&RunFolder) -> Result<()>) {
    let outcome = RunFolder::new(name).and_then(|mut run| {
        let result = block_on(async { tokio::time::timeout(limit, body(&run)).await.context("it took too long")? });
        result.inspect_err(|_| run.keep()).with_context(|| format!("{}{name} failed", run.log_tails(15)))
    });
    if let Err(error) = outcome {
        // The chain without a backtrace: where the test called is said by the panic itself.
        panic!("{error:#}");
    }
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
