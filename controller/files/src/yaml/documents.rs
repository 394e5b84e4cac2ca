//! Splits a file into its documents, so that a broken one does not affect the others.

use super::{Limits, YamlError};

/// The text of one document and the line on which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// Its text, including the line `---`.
    pub(crate) text: &'a str,
    /// The line of the file on which it begins, counted from 1.
    pub(crate) line: u64,
}

/// Splits a file before lines `---` and after lines `...`. YAML 1.2 (section 9.1.2) allows these
/// nowhere else at the beginning of a line, not even in a block scalar, so no parser is needed.
/// Directives (`%YAML 1.2`) and comments before a line `---` belong to the document that it begins.
///
/// # Errors
/// [`YamlError`] when the file exceeds the limits on bytes or documents.
pub(crate) fn documents<'a>(
    text: &'a str,
    limits: &Limits,
) -> Result<Vec<Document<'a>>, YamlError> {
    if text.len() > limits.bytes {
        let message = format!(
            "expected at most {} bytes, found {}; split the file",
            limits.bytes,
            text.len()
        );
        return Err(YamlError { line: 0, message });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut begin, mut begin_line, mut position, mut has_content) = (0, 1, 0, false);
    for (line, row) in (1..).zip(text.split_inclusive('\n')) {
        if is_marker(row, "---") && has_content {
            found.push(Document { text: &text[begin..position], line: begin_line });
            (begin, begin_line) = (position, line);
        }
        position += row.len();
        has_content = match is_marker(row, "...") {
            true => {
                found.push(Document { text: &text[begin..position], line: begin_line });
                (begin, begin_line) = (position, line + 1);
                false
            }
            false => has_content || is_content(row),
        };
    }
    found.push(Document { text: &text[begin..], line: begin_line });
    match found.len() <= limits.documents {
        true => Ok(found),
        false => {
            let message = format!(
                "expected at most {} documents, found {}; split the file",
                limits.documents,
                found.len()
            );
            Err(YamlError { line: 0, message })
        }
    }
}

/// Returns false for directives, comments and empty lines, which may precede a document.
fn is_content(row: &str) -> bool {
    !row.starts_with('%') && !row.trim_start().starts_with('#') && !row.trim().is_empty()
}

fn is_marker(row: &str, marker: &str) -> bool {
    row.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(u64, &str)> {
        documents(text, &Limits::default())
            .unwrap()
            .iter()
            .map(|document| (document.line, document.text))
            .collect()
    }

    #[test]
    fn splits_at_markers_and_counts_lines() {
        let text = "a: 1\n---\nb: |\n  ---\n  x\n--- # c\nc: 1\n---x\n";
        assert_eq!(
            split(text),
            [(1, "a: 1\n"), (2, "---\nb: |\n  ---\n  x\n"), (6, "--- # c\nc: 1\n---x\n")]
        );
        assert_eq!(split("---\na: 1").len(), 1);
        assert_eq!(split("a\r\n---\r\nb").len(), 2);
        assert_eq!(split("---\n---\na"), [(1, "---\n"), (2, "---\na")]);
    }

    #[test]
    fn directives_and_comments_belong_to_the_document_after_them() {
        assert_eq!(split("%YAML 1.2\n---\na: 1\n"), [(1, "%YAML 1.2\n---\na: 1\n")]);
        assert_eq!(split("# c\n\n%TAG ! x\n---\na: 1\n").len(), 1);
        assert_eq!(
            split("a: 1\n...\n%YAML 1.2\n---\nb: 1\n"),
            [(1, "a: 1\n...\n"), (3, "%YAML 1.2\n---\nb: 1\n")]
        );
    }

    #[test]
    fn documents_are_limited_in_size_and_number() {
        let limits = Limits { bytes: 100, documents: 2, nodes: 10 };
        assert!(
            documents("a\n---\nb\n---\nc", &limits)
                .unwrap_err()
                .message
                .contains("at most 2 documents, found 3")
        );
        assert!(
            documents(&"a".repeat(101), &limits)
                .unwrap_err()
                .message
                .contains("at most 100 bytes, found 101")
        );
    }
}
