use fedgate_federation::header;
use fedgate_federation::shown;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The entity tag of a document of ours.
const TAG: &[u8] = b"\"44136fa3\"";

/// A value of `Authorization`: it ends with its token, and only the token that is signed here is
/// accepted.
pub fn authorization(data: &[u8]) {
    let Some(token) = header::bearer(data) else { return };
    let text = std::str::from_utf8(data).expect("what was read");
    assert!(text.trim_end_matches(' ').ends_with(token) && token.trim_matches(' ') == token);
    assert!(text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")));
    crate::token(token.as_bytes());
}

/// A value of `If-None-Match`: it holds a tag only if that is in it, and always after it was added.
pub fn if_none_match(data: &[u8]) {
    if header::holds_tag(data, TAG) {
        assert!(data.contains(&b'*') || data.windows(TAG.len()).any(|part| part == TAG));
    }
    assert!(header::holds_tag(&[data, b",", TAG].concat(), TAG));
    assert!(header::holds_tag(&[b"W/", TAG, b" , ", data].concat(), TAG));
}

/// A value of `ETag`: an accepted one is unchanged, short, and can be sent in a header.
pub fn entity_tag(data: &[u8]) {
    let Some(tag) = header::entity_tag(data) else { return };
    assert_eq!(tag.as_bytes(), data);
    assert!(tag.len() <= header::MAX_ENTITY_TAG);
    assert!(tag.chars().all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic()));
}

/// A value of `Date`: an accepted one is the same time when it is written and read again.
pub fn date(data: &[u8]) {
    let Some(time) = header::date(data) else { return };
    if let Ok(text) = DateTimePrinter::new().timestamp_to_rfc9110_string(&time) {
        assert_eq!(header::date(text.as_bytes()), Some(time), "{text}");
    }
}

/// A text that a message quotes: it is short, and moves no cursor.
pub fn quoted(data: &[u8]) {
    let text = shown(&String::from_utf8_lossy(data)).to_string();
    assert!(text.len() <= 100 * "\\u{10ffff}".len() + '…'.len_utf8());
    assert!(
        !text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}')),
        "{text}"
    );
}

/// A value of `Prefer`: a number of seconds in it counts, and a later one does not.
pub fn prefer(data: &[u8]) {
    let Some(time) = header::wait([data]) else { return };
    let again = format!("wait={}", time.as_secs());
    assert_eq!(header::wait([again.as_bytes()]), Some(time));
    assert_eq!(header::wait([data, b"wait=7"]), Some(time));
    assert!(data.to_ascii_lowercase().windows(4).any(|part| part == b"wait"));
}

/// Header of the PROXY protocol: what is accepted is as long as its own fields say.
pub fn proxy_header(data: &[u8]) {
    use fedgate_federation::proxy_header::{
        FIXED, LONGEST_LINE, START, Version, source, variable_part, version,
    };
    let Ok(_) = source(data) else { return };
    let start = data.get(..START).expect("a header has a start");
    match version(start) {
        Ok(Version::One) => {
            assert!(data.len() <= LONGEST_LINE && data.ends_with(b"\r\n"));
            assert_eq!(data.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
        // A longer one is accepted here, and not read from a connection.
        Ok(Version::Two) => {
            let rest = variable_part(&data[..FIXED]);
            assert!(rest.is_err() || rest == Ok(data.len() - FIXED));
        }
        Err(_) => panic!("a header of no version"),
    }
}
