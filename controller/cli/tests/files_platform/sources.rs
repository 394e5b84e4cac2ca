//! Every text in the sources that may reach a person: log lines, hints of `fedgate check`,
//! conditions, Events, errors. New texts are included automatically.

use crate::readable::{assert_readable, problems};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose texts operators see.
const SOURCES: [&str; 3] = ["controller", "federation/src", "core/src"];
/// Files that only tests use.
const FOR_TESTS: [&str; 4] = ["tests", "fake", "loopback.rs", "sample.rs"];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = Vec::new();
    SOURCES.iter().for_each(|folder| collect(&root.join(folder), &mut files));
    files.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    files
        .iter()
        .map(|path| (name(path), without_tests(&fs::read_to_string(path).unwrap())))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if FOR_TESTS.contains(&name) || name.trim_end_matches(".rs").ends_with("tests") {
            continue;
        }
        match path.is_dir() {
            true => collect(&path, files),
            false if name.ends_with(".rs") => files.push(path),
            false => {}
        }
    }
}

/// Test modules are at the end of their files.
fn without_tests(source: &str) -> String {
    source.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// A string literal, and the part of its statement before it.
struct Literal<'a> {
    before: &'a str,
    text: String,
}

/// The string literals of a source file, except in comments.
fn literals(source: &str) -> Vec<Literal<'_>> {
    let bytes = source.as_bytes();
    let (mut found, mut at, mut statement) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let rest = &source[at..];
        at += match bytes[at] {
            b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            b'\'' if rest[1..].starts_with('\\') => 2 + rest[2..].find('\'').unwrap() + 1,
            // A character literal; any other single quote begins a lifetime.
            b'\'' => match rest[1..].chars().next() {
                Some(c) if rest[1 + c.len_utf8()..].starts_with('\'') => 2 + c.len_utf8(),
                _ => 1,
            },
            b'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => {
                let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
                let begin = rest.find('"').unwrap() + 1;
                let length = rest[begin..].find(end).unwrap();
                found.push(Literal {
                    before: &source[statement..at],
                    text: rest[begin..begin + length].to_owned(),
                });
                begin + length + end.len()
            }
            b'"' => {
                let length = quoted(&rest[1..]);
                found.push(Literal {
                    before: &source[statement..at],
                    text: unescaped(&rest[1..1 + length]),
                });
                length + 2
            }
            b';' | b'{' | b'}' => {
                statement = at + 1;
                1
            }
            _ => rest.chars().next().unwrap().len_utf8(),
        };
    }
    found
}

/// The length of a quoted text up to its closing quote.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    end.unwrap()
}

fn unescaped(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines
        .fold(first, |text, line| text + line.trim_start())
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

/// Returns true if a text is a sentence, not a name, path or format.
fn is_sentence(text: &str) -> bool {
    let words = text
        .split(' ')
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase() || c == ','))
        .count();
    words >= 4
}

fn is_log_line(literal: &Literal<'_>) -> bool {
    ["warn!(", "error!("].iter().any(|log| literal.before.contains(log))
        && literal.text.contains(' ')
}

/// Here a sequence is the number of a peer's document, not a list.
const OTHER_MEANINGS: [&str; 1] = ["expected a sequence, since the known document has"];

#[test]
fn every_message_in_the_sources_is_readable() {
    let mut sentences = Vec::new();
    for (file, source) in sources() {
        let texts = literals(&source).into_iter().map(|literal| literal.text);
        let messages = texts.filter(|text| {
            is_sentence(text) && !OTHER_MEANINGS.iter().any(|other| text.contains(other))
        });
        sentences.extend(messages.map(|text| format!("{file}: {text}")));
    }
    assert!(sentences.len() > 300, "only {} sentences were found", sentences.len());
    assert_readable(&sentences, problems);
}

/// The list of all warnings and errors that are logged. A new line shows up here among the others.
#[test]
fn every_log_message_is_listed_and_shows_no_type() {
    let mut lines = Vec::new();
    for (file, source) in sources() {
        let literals = literals(&source);
        let count =
            ["warn!(", "error!("].iter().map(|log| source.matches(log).count()).sum::<usize>();
        let here: Vec<_> = literals
            .iter()
            .filter(|literal| is_log_line(literal))
            .map(|literal| literal.text.clone())
            .collect();
        let values = ["\"{finding}\"", "\"{failure}\""]
            .iter()
            .map(|value| source.matches(value).count())
            .sum::<usize>();
        assert!(
            here.len() + values >= count,
            "{file}: {count} lines are logged, and these were found: {here:#?}"
        );
        lines.extend(here.into_iter().map(|text| format!("{file}: {text}")));
    }
    let shows_type: Vec<_> =
        lines.iter().filter(|line| line.contains(":?}") || line.contains("{:?}")).collect();
    assert!(shows_type.is_empty(), "{shows_type:#?}");
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn string_literals_are_found() {
    let source = r##"// "a comment"
        fn f<'a>(c: char) { let x = '"'; warn!(a, "one \"two\" \
            three"); g(r#"raw "text""#); let y = '\''; }"##;
    let found: Vec<_> =
        literals(source).into_iter().map(|literal| (is_log_line(&literal), literal.text)).collect();
    assert_eq!(found, [(true, "one \"two\" three".to_owned()), (false, "raw \"text\"".to_owned())]);
}
