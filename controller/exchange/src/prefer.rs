//! The preference `wait` (RFC 7240, section 4.3): how long a client is ready to wait for an answer.
//!
//! A client that knows a document asks for it with `Prefer: wait=50`, and is answered when the
//! document changes, or after 50 seconds. A server that knows the preference says so by
//! `Preference-Applied`; any other one answers at once.

use axum::http::{HeaderName, HeaderValue};
use fedgate_federation::header::wait as read_wait;
use std::time::Duration;

/// The request header.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The response header.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Reads the preference `wait` from the values of one of the two headers. `None` if there is none
/// that is a number of seconds. The first one counts (RFC 7240, section 2).
pub fn wait<'v>(values: impl IntoIterator<Item = &'v HeaderValue>) -> Option<Duration> {
    read_wait(values.into_iter().map(HeaderValue::as_bytes))
}

/// Writes the preference, in whole seconds.
pub(crate) fn waiting(time: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("wait={}", time.as_secs()))
        .unwrap_or(HeaderValue::from_static("wait=0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::header::MAX_PREFERENCES;

    fn read(values: &[&str]) -> Option<u64> {
        let values: Vec<_> =
            values.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
        wait(&values).map(|time| time.as_secs())
    }

    #[test]
    fn the_first_wait_counts_in_any_of_its_spellings() {
        for (values, seconds) in [
            (&["wait=50"][..], 50),
            (&["WAIT = 50"], 50),
            (&["wait=\"7\""], 7),
            (&["respond-async, wait=10;x=1 , handling=lenient"], 10),
            (&["return=minimal", "wait=3, wait=9", "wait=1"], 3),
            (&["wait=0"], 0),
        ] {
            assert_eq!(read(values), Some(seconds), "{values:?}");
        }
        assert_eq!(read(&[waiting(Duration::from_millis(50_900)).to_str().unwrap()]), Some(50));
    }

    #[test]
    fn anything_else_is_no_wait() {
        let long = format!("{}wait=1", " ".repeat(MAX_PREFERENCES));
        for values in [
            &[][..],
            &[""],
            &["wait"],
            &["wait="],
            &["wait=-1"],
            &["wait=+1"],
            &["wait=1.5"],
            &["wait=soon, wait=5"],
            &["waiting=5"],
            &["x;wait=5"],
            &["wait=99999999999999999999999"],
            &[&long],
        ] {
            assert_eq!(read(values), None, "{values:?}");
        }
    }
}
