//! Checks that every message is free of terms from Rust and its libraries, and clear about what is
//! wrong. Shared by the tests of both crates.

/// Forbidden in messages: names of Rust's types, its debug output, terms of the libraries that read
/// YAML and JSON, and phrases that an operator cannot act on.
const FORBIDDEN: [&str; 42] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "usize",
    "f64",
    "Option",
    "Some(",
    "None",
    "Err(",
    "Ok(",
    "{ ",
    "struct ",
    "enum ",
    "untagged",
    "variant",
    "serde",
    "os error",
    "panicked",
    "backtrace",
    "deserialize",
    "DuplicateKeyPolicy",
    "budget",
    "invalid type:",
    "invalid value:",
    "invalid number",
    "missing field",
    "a sequence",
    "a map",
    "scalar",
    "Unexpected",
    "unit value",
    "EOF",
    "column",
    "leave the field out",
    "what it should be",
    "mended",
    "raise limits",
    "OtherError",
    "stack",
];

/// A message about a mistake in an input contains one of these.
const SAYS_WHAT_IS_WRONG: [&str; 12] = [
    "expected",
    "invalid value '",
    "there is no",
    "must ",
    "cannot",
    " not ",
    "already",
    "is in force",
    "set either",
    " no ",
    "alias of every cluster",
    "damaged",
];

/// Returns what is wrong with a message; empty for a good one.
pub(crate) fn problems(message: &str) -> Vec<String> {
    let mut problems: Vec<_> = FORBIDDEN
        .iter()
        .filter(|word| has_word(message, word))
        .map(|word| format!("it has {word:?}"))
        .collect();
    if has_rust_path(message) {
        problems.push("it has a path of Rust".to_owned());
    }
    if ["errors", "warnings", "bytes", "ports"]
        .iter()
        .any(|word| has_word(message, &format!("1 {word}")))
    {
        problems.push("one of something is in the plural".to_owned());
    }
    if message.contains("expected expected")
        || message.contains("found found")
        || message.contains("; ;")
    {
        problems.push("it stammers".to_owned());
    }
    if message.len() < 30 {
        problems.push("it is too short to help".to_owned());
    }
    problems
}

/// Returns what is wrong with a message about a mistake in an input: the same as for any message,
/// or that it does not name the mistake.
pub(crate) fn problems_of_mistake(message: &str) -> Vec<String> {
    let says = SAYS_WHAT_IS_WRONG.iter().any(|word| message.contains(word));
    let silent = (!says).then(|| "it does not say what is wrong".to_owned());
    problems(message).into_iter().chain(silent).collect()
}

/// Fails with a list of all bad messages.
#[track_caller]
pub(crate) fn assert_readable<T: AsRef<str>>(messages: &[T], problems: fn(&str) -> Vec<String>) {
    let bad = messages.iter().map(AsRef::as_ref).filter_map(|message| match problems(message) {
        none if none.is_empty() => None,
        problems => Some(format!("{}: {message}", problems.join(", "))),
    });
    let bad: Vec<_> = bad.collect();
    assert!(bad.is_empty(), "{} messages are bad:\n{}", bad.len(), bad.join("\n"));
}

fn is_letter(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

/// Returns true if a text contains a word, not only as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let begins = word.starts_with(char::is_alphanumeric);
    let ends = word.ends_with(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        let before = begins && is_letter(text[..at].chars().next_back());
        let after = ends && is_letter(text[at + word.len()..].chars().next());
        !before && !after
    })
}

/// Returns true if a text contains something like `std::io::Error`. An IPv6 address does not count:
/// the part before its colons is hexadecimal or empty.
fn has_rust_path(text: &str) -> bool {
    text.match_indices("::").any(|(at, _)| {
        let before = text[..at]
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        !before.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[test]
fn bad_messages_are_detected() {
    let bad = [
        "invalid type: string \"x\", expected u32 in a field of this kind",
        "cannot open it: No such file or directory (os error 2)",
        "expected a source: core::num::ParseIntError in the settings",
        "expected Peer { name: beta }, found something else in this place",
        "1 errors, and 1 warnings must be looked at in this place",
        "something is the matter with the object beta of this cluster",
        "short",
    ];
    assert!(bad.iter().all(|message| !problems_of_mistake(message).is_empty()));
    let good = "expected an address such as 127.0.0.1:15443, [::1]:15443 or [fd00::1]:15443, found 7 of 11 errors";
    assert_readable(&[good], problems_of_mistake);
}
