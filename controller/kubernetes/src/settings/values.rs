//! Values of flags.

use fedgate_envoy::AddressRange;
use fedgate_exchange::settings::Intervals;
use jiff::SignedDuration;
use std::time::Duration;

/// Sidecars do not catch what goes to loopback addresses.
pub(super) fn mesh_range(text: &str) -> Result<AddressRange, String> {
    let range = AddressRange::parse(text)?;
    (!range.is_loopback()).then_some(range).ok_or_else(|| {
        format!("expected a range that no Pod has, such as 240.96.0.0/16, found {text:?}: sidecars do not catch calls to loopback")
    })
}

/// An interval of polls.
pub(super) fn poll(text: &str) -> Result<Duration, String> {
    let poll = duration(text)?;
    (poll >= Intervals::SHORTEST_POLL)
        .then_some(poll)
        .ok_or_else(|| format!("expected 1s or more, found {text:?}"))
}

/// A duration in whole seconds, as TCP and Envoy count.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    (time.as_secs() >= 1 && time.subsec_nanos() == 0)
        .then_some(time)
        .ok_or_else(|| format!("expected whole seconds such as 30s, found {text:?}"))
}

/// A duration from 100 ms to 30 days.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as 500ms, 30s, 5m or 24h, found {text:?}");
    let duration: SignedDuration = text.parse().map_err(|_| expected())?;
    let duration = Duration::try_from(duration).map_err(|_| expected())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 3600);
    range
        .contains(&duration)
        .then_some(duration)
        .ok_or_else(|| format!("{}, from 100ms to 30 days", expected()))
}
