//! Runs a test: with its own folder, a time limit, and the logs on failure.

use crate::run_folder::RunFolder;
use anyhow::{Context, Result, anyhow};
use std::time::Duration;

/// Longer than any test takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(420);

/// Runs the body of a test. On failure, panics with the error, then the end of each log, and keeps
/// the folder.
///
/// # Panics
/// When the body fails or takes too long.
#[track_caller]
pub fn scenario(name: &str, body: impl AsyncFnOnce(&RunFolder) -> Result<()>) {
    long_scenario(name, LIMIT, body);
}

/// Like [`scenario`], for measurements, which take longer.
///
/// # Panics
/// When the body fails or takes longer than `limit`.
#[track_caller]
pub fn long_scenario(
    name: &str,
    limit: Duration,
    body: impl AsyncFnOnce(&RunFolder) -> Result<()>,
) {
    let outcome = RunFolder::new(name).and_then(|mut run| {
        let result = block_on(async {
            tokio::time::timeout(limit, body(&run)).await.context("it took too long")?
        });
        result.map_err(|error| {
            run.keep();
            // The cause comes first, because nobody finds it behind the logs.
            anyhow!("{name} failed: {error:#}\n{}", run.log_tails(15))
        })
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
