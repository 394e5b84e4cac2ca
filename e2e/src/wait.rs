//! Waits for a condition, never for a fixed time.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::Instant;

/// How long something may take that no test makes a claim about. It is longer than a busy machine may
/// stall, and than the longest pause of a controller whose peer has failed, which is a minute.
pub const SOON: Duration = Duration::from_secs(120);

/// How often the condition is checked.
const PACE: Duration = Duration::from_millis(20);

/// Calls `look` until it finds something, and returns that. An error of `look` counts as 'not yet'.
///
/// # Errors
/// When `deadline` has passed; the message says what was waited for, and has the last error if
/// there was one.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut before = None;
    loop {
        let last = match tokio::time::timeout_at(start + deadline, look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            // The deadline passed during a call of `look`. The error of the call before says more.
            Err(_) => before.take().or_else(|| Some(anyhow::anyhow!("no answer"))),
        };
        if start.elapsed() >= deadline {
            let last = last.map(|error| format!("; the last error: {error:#}")).unwrap_or_default();
            bail!("waited {deadline:?} in vain for {what}{last}");
        }
        before = last;
        tokio::time::sleep(PACE).await;
    }
}

/// Waits until `look` returns true.
///
/// # Errors
/// Same as [`until`].
pub async fn until_true(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    until(what, deadline, async || Ok(look().await?.then_some(()))).await
}

/// Checks that a condition stays true for some time.
///
/// # Errors
/// When it does not; the message says what was expected.
pub async fn stays(
    what: &str,
    time: Duration,
    mut look: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        if !look().await? {
            bail!("expected that {what} for {time:?}, it lasted {:?}", start.elapsed());
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}
