//! Parsing untrusted JSON objects, with messages that say what was found instead.

use crate::finding::shown;
use serde::Deserialize;

/// Why a text is not the expected object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// Line and column, from 1; `None` if the error is about the text as a whole.
    position: Option<(usize, usize)>,
    message: String,
}

impl JsonError {
    fn whole(message: impl Into<String>) -> Self {
        Self { position: None, message: message.into() }
    }

    /// Turns an error about `part` into the same error with its position in `whole`, of which `part`
    /// is a slice.
    pub(crate) fn within(self, whole: &[u8], part: &[u8]) -> Self {
        let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
        let before = offset.and_then(|offset| whole.get(..offset));
        let Some((before, (line, column))) = before.zip(self.position) else { return self };
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let last = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let column = if line == 1 { last + column } else { column };
        Self { position: Some((lines + line, column)), ..self }
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads a JSON object. serde's derived structs also accept an array of the fields in their order.
/// No protocol uses that, so it is refused.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, JsonError> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(JsonError::whole(format!("expected a JSON object, found {}", describe(text))));
    }
    if text.get(1) == Some(&0) {
        return Err(JsonError::whole(
            "expected a JSON object in UTF-8, found UTF-16 text; save it as UTF-8",
        ));
    }
    serde_json::from_slice(text).map_err(|error| {
        let position = (error.line() > 0).then(|| (error.line(), error.column()));
        JsonError { position, message: describe_error(&error) }
    })
}

/// Describes a text that is not a JSON object.
fn describe(text: &[u8]) -> String {
    let start = text.trim_ascii();
    match start {
        [] => "nothing: the body is empty".to_owned(),
        [0xef, 0xbb, 0xbf, ..] => {
            "a byte order mark (BOM) at the beginning; save it as UTF-8 without one".to_owned()
        }
        [0, 0, ..] => "NUL bytes; write the file again".to_owned(),
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, ..] | [_, 0, ..] => {
            "UTF-16 text; save it as UTF-8".to_owned()
        }
        [0x1f, 0x8b, ..] => "data that is compressed with gzip".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "data that is compressed with zstd".to_owned(),
        [b'<', ..] => markup(start),
        [b'[', ..] => "a JSON list".to_owned(),
        [b'"', ..] => "a JSON string".to_owned(),
        [b'-', b'-', ..] => "PEM".to_owned(),
        [b'-' | b'0'..=b'9', ..] => "a number".to_owned(),
        b"true" | b"false" => "true or false".to_owned(),
        b"null" => "null".to_owned(),
        _ => match std::str::from_utf8(start) {
            Ok(text) => format!("text that begins with {:?}", shown(first_line(text))),
            Err(_) => "bytes that are not UTF-8 text".to_owned(),
        },
    }
}

/// Describes an HTML page, such as a proxy or a login sends. Its title is the best description.
fn markup(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lower = text.to_ascii_lowercase();
    let kind = match lower.contains("<html") || lower.starts_with("<!doctype html") {
        true => "an HTML page",
        false => "a text that begins with '<', as HTML and XML do",
    };
    // The offsets are the same in both texts, because only ASCII letters are folded.
    let title = lower.find("<title>").map(|at| at + "<title>".len()).and_then(|from| {
        let to = from + lower.get(from..)?.find("</title>")?;
        text.get(from..to).map(str::trim).filter(|title| !title.is_empty())
    });
    match title {
        Some(title) => format!("{kind} with the title {:?}", shown(title)),
        None => kind.to_owned(),
    }
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.char_indices().nth(40).map_or(line, |(end, _)| line.get(..end).unwrap_or(line))
}

/// Rewrites the parser's message in terms of JSON. The original uses terms of Rust and the names of
/// our types.
fn describe_error(error: &serde_json::Error) -> String {
    // The parser's message may quote the untrusted text.
    let text = shown(&error.to_string()).to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    if error.is_eof() {
        return "the text ends in the middle of the object".to_owned();
    }
    if let Some(field) = between(text, "missing field `", "`") {
        return format!("expected a field {field}, found none");
    }
    if let Some(field) = between(text, "duplicate field `", "`") {
        return format!("the field {field} is there twice");
    }
    for wrong in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) =
            text.strip_prefix(wrong).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("expected {}, found {}", json_kind(expected), json_kind(found));
        }
    }
    match text {
        "trailing characters" => "there is something after the object".to_owned(),
        "expected value" => "expected a JSON value".to_owned(),
        "recursion limit exceeded" => "lists and objects are nested too deep".to_owned(),
        "key must be a string" => "expected a field's name in double quotes".to_owned(),
        "trailing comma" => "there is a comma with nothing behind it".to_owned(),
        text if text.starts_with("control character") => {
            "expected no control character in a text; write it as \\u and its number".to_owned()
        }
        text if text.starts_with("invalid unicode code point") => {
            "expected UTF-8, found other bytes".to_owned()
        }
        other => other.to_owned(),
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.strip_prefix(before)?.split(after).next()
}

fn json_kind(word: &str) -> String {
    match word {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "map" | "a map" => "an object".to_owned(),
        "sequence" | "a sequence" => "a list".to_owned(),
        "null" | "unit" | "unit value" | "Option value" => "null".to_owned(),
        "a borrowed string" | "string" | "str" => "a string".to_owned(),
        word if word.starts_with("struct ") => "an object".to_owned(),
        word => {
            let numbers = ["integer `", "floating point `", "boolean `"];
            let number = numbers.iter().find_map(|kind| between(word, kind, "`"));
            number.unwrap_or(word).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        a: u16,
    }

    fn error(text: impl AsRef<[u8]>) -> String {
        read_object::<Row>(text.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn only_an_object_is_read() {
        assert_eq!(read_object(b" {\"a\": 1, \"b\": 2} "), Ok(Row { a: 1 }));
        for bad in ["[1]", "", "1", "null", "{\"a\": 1} x", "{\"a\": 1, \"a\": 1}"] {
            assert!(read_object::<Row>(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_that_is_not_an_object_is_described() {
        let html = "<!DOCTYPE html>\n<html><head><TITLE> 502 Bad\u{1b}Gateway </title>";
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, expected) in [
            (b"".as_slice(), "expected a JSON object, found nothing: the body is empty"),
            (b" \n", "expected a JSON object, found nothing: the body is empty"),
            (
                b"\xef\xbb\xbf{\"a\":1}",
                "expected a JSON object, found a byte order mark (BOM) at the beginning; save it as UTF-8 without one",
            ),
            (b"\xff\xfe{\0", "expected a JSON object, found UTF-16 text; save it as UTF-8"),
            (
                utf16.as_slice(),
                "expected a JSON object in UTF-8, found UTF-16 text; save it as UTF-8",
            ),
            (b"\0{\0}", "expected a JSON object, found UTF-16 text; save it as UTF-8"),
            (
                html.as_bytes(),
                "expected a JSON object, found an HTML page with the title \"502 Bad\\u{1b}Gateway\"",
            ),
            (b"<html><body>login", "expected a JSON object, found an HTML page"),
            (
                b"<?xml version='1.0'?><Error/>",
                "expected a JSON object, found a text that begins with '<', as HTML and XML do",
            ),
            (b"\x1f\x8b\x08\0", "expected a JSON object, found data that is compressed with gzip"),
            (b"[1]", "expected a JSON object, found a JSON list"),
            (b"\"x\"", "expected a JSON object, found a JSON string"),
            (b"7", "expected a JSON object, found a number"),
            (b"null", "expected a JSON object, found null"),
            (
                b"upstream connect error\nx",
                "expected a JSON object, found text that begins with \"upstream connect error\"",
            ),
            (b"\xc3\x28\xff", "expected a JSON object, found bytes that are not UTF-8 text"),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn an_error_has_a_position_and_avoids_the_parsers_terms() {
        for (text, expected) in [
            (
                "{\n \"a\": 70000}",
                "line 2, column 11: expected a whole number that is not negative, found 70000",
            ),
            (
                "{\"a\": \"x\"}",
                "line 1, column 9: expected a whole number that is not negative, found string \"x\"",
            ),
            (
                "{\"a\": {}}",
                "line 1, column 6: expected a whole number that is not negative, found an object",
            ),
            (
                "{\"a\": [1]}",
                "line 1, column 6: expected a whole number that is not negative, found a list",
            ),
            (
                "{\"a\": null}",
                "line 1, column 10: expected a whole number that is not negative, found null",
            ),
            ("{}", "line 1, column 2: expected a field a, found none"),
            ("{\"a\":1,\"a\":1}", "line 1, column 10: the field a is there twice"),
            ("{\"a\":1", "line 1, column 6: the text ends in the middle of the object"),
            ("{\"a\":1} x", "line 1, column 9: there is something after the object"),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn a_position_in_a_part_is_reported_in_the_whole() {
        let whole = b"{\"rows\": [\n  {\"a\": 1},\n  {\"a\":\n -1}\n]}";
        let part = whole.get(25..35).unwrap();
        let error = read_object::<Row>(part).unwrap_err();
        assert_eq!(
            error.clone().within(whole, part).to_string().split(':').next(),
            Some("line 4, column 3")
        );
        // An error about another text keeps its own position.
        assert_eq!(error.clone().within(b"{}", part), error);
    }
}
