//! Several documents in one file, each for itself: a broken one must not take the others with it.

use super::{Limits, YamlError};

/// The text of one document and the line on which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text, the line with `---` included.
    pub text: &'a str,
    /// The line of the file on which it begins, counted from 1.
    pub line: u64,
}

/// Splits a file at its lines `---`. YAML 1.2 (section 9.1.2) allows them nowhere else at the beginning of a line, not
/// even in a block scalar, so no parser is needed to find them.
///
/// # Errors
/// [`YamlError`] when the file has more bytes or documents than the limits allow.
pub fn documents<'a>(text: &'a str, limits: &Limits) -> Result<Vec<Document<'a>>, YamlError> {
    if text.len() > limits.bytes {
        return Err(too_much("bytes", text.len(), limits.bytes));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut begin, mut begin_line, mut place) = (0, 1, 0);
    for (line, row) in (1..).zip(text.split_inclusive('\n')) {
        if line > 1 && is_marker(row) {
            found.push(Document { text: &text[begin..place], line: begin_line });
            (begin, begin_line) = (place, line);
        }
        place += row.len();
    }
    found.push(Document { text: &text[begin..], line: begin_line });
    match found.len() <= limits.documents {
        true => Ok(found),
        false => Err(too_much("documents", found.len(), limits.documents)),
    }
}

fn is_marker(row: &str) -> bool {
    row.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn too_much(what: &str, found: usize, most: usize) -> YamlError {
    let message =
        format!("the file has {found} {what}, at most {most} are read; split it, or raise limits in fedgate.yaml");
    YamlError { line: 0, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_markers_and_counts_lines() {
        let text = "a: 1\n---\nb: |\n  ---\n  x\n--- # c\nc: 1\n---x\n";
        let found: Vec<_> = documents(text, &Limits::default()).unwrap().iter().map(|d| (d.line, d.text)).collect();
        assert_eq!(found, [(1, "a: 1\n"), (2, "---\nb: |\n  ---\n  x\n"), (6, "--- # c\nc: 1\n---x\n")]);
        assert_eq!(documents("---\na: 1", &Limits::default()).unwrap().len(), 1);
        assert_eq!(documents("a\r\n---\r\nb", &Limits::default()).unwrap().len(), 2);
    }

    #[test]
    fn refuses_too_much_of_anything() {
        let limits = Limits { bytes: 100, documents: 2, nodes: 10 };
        assert!(documents("a\n---\nb\n---\nc", &limits).unwrap_err().message.contains("3 documents, at most 2"));
        assert!(documents(&"a".repeat(101), &limits).unwrap_err().message.contains("101 bytes, at most 100"));
    }
}
