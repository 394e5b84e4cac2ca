//! Errors in YAML text, in the words of people who write it, with the line of the file.

use super::{DEPTH, Limits, MOST_ALIASES};
use fedgate_federation::shown;
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;
use std::net::Ipv6Addr;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct YamlError {
    /// The line, counted from 1; 0 if no particular line is wrong.
    pub(crate) line: u64,
    /// What is wrong.
    pub(crate) message: String,
}

/// The error of a document that begins after `lines_before` lines of its file.
pub(super) fn yaml_error(
    error: &Error,
    text: &str,
    lines_before: u64,
    limits: &Limits,
) -> YamlError {
    let error = error.without_snippet();
    let line = error.location().map(|location| location.line());
    let row = line.and_then(|line| text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?));
    let message = row.and_then(by_row).map_or_else(|| by_error(error, limits), str::to_owned);
    YamlError { line: line.map_or(0, |line| line + lines_before), message }
}

/// Frequent mistakes that a parser would describe misleadingly.
fn by_row(row: &str) -> Option<&'static str> {
    let begin = row.trim_start();
    let indentation = &row[..row.len() - begin.len()];
    if ["<<<<<<<", ">>>>>>>"].iter().any(|marker| row.starts_with(marker))
        || row.trim_end() == "======="
    {
        return Some("expected YAML, found a marker of a merge conflict; resolve the conflict");
    }
    if begin.contains("{{") {
        return Some(
            "expected YAML, found a template (\"{{\"); render it first, with helm template for example",
        );
    }
    if indentation.contains('\t') {
        return Some("expected spaces in front, found a tab; indent with spaces");
    }
    if row.contains('\0') {
        return Some("expected text, found a NUL character; save the file as UTF-8");
    }
    if has_bare_ipv6(row) {
        return Some(
            "expected a text, found an IPv6 address in brackets, which begin a list; put it in quotes",
        );
    }
    None
}

/// Whether a value is an address such as `[::1]:15443` without quotes.
fn has_bare_ipv6(row: &str) -> bool {
    let mut before = "";
    row.split('[').any(|part| {
        let is_value = before.trim_end().ends_with([':', '-', ',']) || before.is_empty();
        before = part;
        let address = part.split_once("]:").map(|(address, _)| address);
        is_value && address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    })
}

fn by_error(error: &Error, limits: &Limits) -> String {
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(|key| format!(" {:?}", shown(key))).unwrap_or_default();
            format!("expected each field once, found{key} a second time; remove one of the two")
        }
        Error::Budget { breach, .. } => by_limit(breach, limits),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("expected at most {} values, found more by aliases (*NAME); write them out", limits.nodes)
        }
        Error::UnknownAnchor { .. } => {
            "expected an alias (*NAME) of an anchor (&NAME) above it, found one without; put a text that begins with '*' in quotes".into()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "expected an alias (*NAME) outside of its anchor (&NAME), found one in it; write the value out".into()
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } | Error::MergeKeyNotAllowed { .. } => {
            "expected fields to merge behind '<<', found something else; give an alias (*NAME) of fields".into()
        }
        Error::MultipleDocuments { .. } => "expected one document, found another; put a line --- between them".into(),
        Error::AliasError { error, .. } => by_error(error, limits),
        Error::Eof { .. } => "expected a value, found the end of the file; complete it".into(),
        Error::InvalidUtf8Input => "expected UTF-8, found other bytes; save the file as UTF-8".into(),
        Error::NonFiniteFloat { .. } => "expected a finite number, found another; put it in quotes if it is a text".into(),
        Error::ExternalMessage { msg, .. } => by_parser(msg),
        Error::Message { msg, .. } => format!("expected YAML: {}", shown(msg)),
        _ => "expected a plain text, number, list or fields, found a YAML feature that is not used here, such as a tag (!NAME); write it plainly".into(),
    }
}

fn by_limit(breach: &BudgetBreach, limits: &Limits) -> String {
    let (what, most) = match breach {
        BudgetBreach::Depth { .. } => ("levels of nesting", DEPTH),
        BudgetBreach::Aliases { .. } => ("aliases (*NAME)", MOST_ALIASES),
        BudgetBreach::Anchors { .. } => ("anchors (&NAME)", MOST_ALIASES),
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => {
            ("values in a document", limits.nodes)
        }
        BudgetBreach::Documents { .. } => {
            return "expected one document, found another; put a line --- between them".into();
        }
        _ => return "expected a smaller document; split it".into(),
    };
    format!("expected at most {most} {what}, found more; split it, or write it more plainly")
}

/// Parts of the parser's messages, and what each means. The first match counts.
const PARSER: [(&str, &str); 19] = [
    ("unclosed bracket", "expected ']' or '}', found the end; close the bracket"),
    ("flow sequence", "expected ',' or ']' in a list; close the bracket"),
    (
        "flow mapping",
        "expected ',' or '}' in fields; close the brace, or put a text that begins with '{' in quotes",
    ),
    (
        "did not find expected key",
        "expected a field at the indentation of the one above; check the indentation, and quotes around texts",
    ),
    ("'-' indicator", "expected '-' at the indentation of the entry above; check the indentation"),
    ("simple key", "expected ':' behind a field's name; add it, or check the indentation"),
    ("indentation", "expected another indentation; indent as the lines around it"),
    ("':'", "expected no ': ' within a text; put the text in quotes, or check the indentation"),
    (
        "mapping values are not allowed",
        "expected no ': ' within a text; put the text in quotes, or check the indentation",
    ),
    (
        "quoted scalar",
        "expected the closing quote or a valid escape sequence in a quoted text; fix the text",
    ),
    ("quote", "expected the closing quote of a text; add it"),
    ("unexpected eof", "expected more, found the end of the file; complete it"),
    ("document end marker", "expected nothing behind '...'; put it on a line of its own"),
    (
        "<document start>",
        "expected a field or the end of the document; check the indentation, or put a line --- between documents",
    ),
    ("directive", "expected a directive such as %YAML 1.2; fix or remove it"),
    ("tag", "expected no tag (!NAME); remove it, or put a text that begins with '!' in quotes"),
    (
        "anchor or alias",
        "expected a name behind '&' or '*'; put a text that begins with one of them in quotes",
    ),
    (
        "block scalar",
        "expected a line break behind '|' or '>'; put a text that begins with one of them in quotes",
    ),
    ("character", "expected a text that begins with a letter or a digit; put it in quotes"),
];

fn by_parser(message: &str) -> String {
    let message = message.to_lowercase();
    let meant = PARSER.iter().find(|(part, _)| message.contains(part));
    meant
        .map_or("expected YAML; check indentation, quotes and brackets here", |(_, meant)| meant)
        .to_owned()
}
