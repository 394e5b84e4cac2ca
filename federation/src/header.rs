//! Values of HTTP header fields, as strangers send them. Which fields a request or an answer has is
//! the business of `fedgate-exchange`.

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use std::time::Duration;

/// The longest entity tag that is kept. With a longer one, the document is fetched in full each
/// time.
pub const MAX_ENTITY_TAG: usize = 256;

/// The most bytes of a value of `Prefer` that are read.
pub const MAX_PREFERENCES: usize = 256;

/// Returns the token in a value of `Authorization` (RFC 6750, section 2.1).
pub fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = visible(authorization)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

/// Returns true if a client that sent this `If-None-Match` has the document with this entity tag
/// (RFC 9110, section 13.1.2, weak comparison). The tag must have no comma.
pub fn holds_tag(if_none_match: &[u8], tag: &[u8]) -> bool {
    let tags = if_none_match.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    tags.map(|sent| sent.strip_prefix(b"W/").unwrap_or(sent))
        .any(|sent| sent == b"*" || sent == tag)
}

/// Returns the entity tag in a value of `ETag`, if it can be kept and sent back.
pub fn entity_tag(etag: &[u8]) -> Option<&str> {
    visible(etag).filter(|etag| etag.len() <= MAX_ENTITY_TAG)
}

/// Returns the time in a value of `Date` (RFC 9110, section 6.6.1).
pub fn date(date: &[u8]) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date).ok()
}

/// Returns the preference `wait` in the values of `Prefer` or `Preference-Applied` (RFC 7240, section
/// 4.3). `None` if there is none that is a number of seconds. The first one counts (section 2).
pub fn wait<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Duration> {
    let short = values.into_iter().filter(|value| value.len() <= MAX_PREFERENCES);
    short.filter_map(visible).flat_map(|text| text.split(',')).find_map(wait_of)?
}

/// The outer `None` if this is another preference.
fn wait_of(preference: &str) -> Option<Option<Duration>> {
    // What follows a semicolon are parameters, of which `wait` has none.
    let preference = preference.split(';').next()?;
    let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    Some(value.parse().ok().filter(|_| is_number).map(Duration::from_secs))
}

/// The text of a value that consists of visible ASCII characters, spaces and tabs.
fn visible(value: &[u8]) -> Option<&str> {
    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    str::from_utf8(value).ok().filter(|_| value.iter().all(is_visible))
}
