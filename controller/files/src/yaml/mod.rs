//! YAML with line numbers, for `fedgate.yaml` and manifests.
//!
//! The library parses straight into types and stops at the first error. People who write a file
//! want all errors, each with its line. So text is first read into a small tree ([`Node`]) in which
//! every value knows its line. [`Section`] takes settings from it one by one and collects problems.
//! [`Node::read`] turns a whole document into a Kubernetes type; its error has line and field.
//!
//! Nothing here trusts the text: bytes, documents, nodes, depth and growth through aliases are
//! limited ([`Limits`]).

mod documents;
mod error;
mod node;
mod section;
mod typed;

pub(crate) use documents::{Document, documents};
pub(crate) use error::YamlError;
pub(crate) use node::{Entry, Node, Value};
pub use section::Problem;
pub(crate) use section::{Problems, Section, boolean, duration, explained, parsed, text};
pub(crate) use typed::TypeError;

use error::yaml_error;
use serde_saphyr::{Budget, DuplicateKeyPolicy, Options};

/// How much text is read. Text beyond a limit is refused, never read in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes in a file.
    pub(crate) bytes: usize,
    /// Documents in a file.
    pub(crate) documents: usize,
    /// Values in one document, including those that aliases repeat.
    pub(crate) nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, documents: 20_000, nodes: 50_000 }
    }
}

/// Maximum depth of nested values. Kubernetes objects need about ten levels.
const DEPTH: usize = 32;
/// Maximum number of aliases in a document, and of anchors.
const MOST_ALIASES: usize = 1_000;

/// Parses one document; `None` if it has nothing but comments.
///
/// # Errors
/// [`YamlError`] when it is not YAML, or exceeds the limits.
pub(crate) fn parse(document: Document<'_>, limits: &Limits) -> Result<Option<Node>, YamlError> {
    let parsed =
        serde_saphyr::from_str_with_options::<Option<Node>>(document.text, options(limits));
    let lines_before = document.line - 1;
    match parsed {
        Ok(node) => Ok(node.map(|mut node| {
            node.shift(lines_before);
            node
        })),
        Err(error) => Err(yaml_error(&error, document.text, lines_before, limits)),
    }
}

fn options(limits: &Limits) -> Options {
    serde_saphyr::options! {
        budget: budget(limits),
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits.nodes,
            max_replay_stack_depth: DEPTH,
            max_alias_expansions_per_anchor: 1_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

fn budget(limits: &Limits) -> Option<Budget> {
    serde_saphyr::budget! {
        max_reader_input_bytes: Some(limits.bytes),
        max_events: limits.nodes * 2,
        max_nodes: limits.nodes,
        max_depth: DEPTH,
        max_documents: 1,
        max_aliases: MOST_ALIASES,
        max_anchors: MOST_ALIASES,
        max_merge_keys: 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Option<Node>, YamlError> {
        parse(Document { text, line: 1 }, &Limits::default())
    }

    #[test]
    fn every_value_knows_its_line() {
        let node = parse_text("# one\na: 1\nb:\n  - x\n  - y: z\nc:\nd: 'no'\n").unwrap().unwrap();
        let line = |path: &[&str]| node.get(path).unwrap().line;
        assert_eq!(line(&["a"]), 2);
        assert_eq!(line(&["b", "0"]), 4);
        assert_eq!(line(&["b", "1", "y"]), 5);
        assert_eq!(line(&["c"]), 6);
        assert_eq!(node.get(&["d"]).unwrap().value, Value::String("no".into()));
    }

    #[test]
    fn lines_count_from_the_beginning_of_the_file() {
        let node =
            parse(Document { text: "---\na: 1\n", line: 10 }, &Limits::default()).unwrap().unwrap();
        assert_eq!(node.get(&["a"]).unwrap().line, 11);
        let error = parse(Document { text: "---\na: [1\nb: 2\n", line: 10 }, &Limits::default())
            .unwrap_err();
        assert!((11..=12).contains(&error.line), "{error:?}");
        assert!(!error.message.contains("line"), "{error}");
    }

    #[test]
    fn strings_like_numbers_or_booleans_stay_strings() {
        let node = parse_text("a: yes\nb: 0755\nc: 1_000\nd: true\ne: 7\nf: ~\n").unwrap().unwrap();
        let value = |key: &str| node.get(&[key]).unwrap().value.clone();
        assert_eq!(value("a"), Value::String("yes".into()));
        assert_eq!(value("b"), Value::String("0755".into()));
        assert_eq!(value("c"), Value::String("1_000".into()));
        assert_eq!(value("d"), Value::Bool(true));
        assert_eq!(value("e"), Value::Number(7.into()));
        assert_eq!(value("f"), Value::Null);
    }

    #[test]
    fn comments_alone_are_no_document() {
        for text in ["", "# x\n", "---\n", "---\n# x\n", "\n\n"] {
            assert_eq!(parse_text(text).unwrap(), None, "{text:?}");
        }
    }

    #[test]
    fn alias_expansion_is_limited() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let row = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{row}]\n");
        }
        let error = parse_text(&text).unwrap_err();
        assert!(error.line > 1, "{error:?}");
    }

    #[test]
    fn depth_nodes_and_duplicate_keys_are_limited() {
        assert!(parse_text(&("[".repeat(200) + &"]".repeat(200))).is_err());
        assert!(parse_text(&format!("[{}]", "1, ".repeat(60_000))).is_err());
        let error = parse_text("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.line, 3, "{error:?}");
    }
}
