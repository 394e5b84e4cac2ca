//! Reading a stranger's JSON objects.

use crate::finding::shown;
use serde::Deserialize;

/// Reads a JSON object. serde's derived structs also take an array with the fields in their order; that is nobody's protocol,
/// so it is refused here.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("expected a JSON object".to_owned());
    }
    // The parser's own words may quote the stranger's text.
    serde_json::from_slice(text).map_err(|error| shown(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        a: u8,
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(read_object(b" {\"a\": 1, \"b\": 2} "), Ok(Row { a: 1 }));
        for bad in ["[1]", "", "1", "null", "{\"a\": 1} x", "{\"a\": 1, \"a\": 1}"] {
            assert!(read_object::<Row>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
