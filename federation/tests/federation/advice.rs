//! Checks that every finding says what to do, not only what is wrong. Shared by the tests of both
//! crates.

use crate::readable::problems;

/// Words that begin a piece of advice, or say that nothing has to be done.
const ADVICE: [&str; 58] = [
    "find", "stop", "switch", "tell", "accept", "add", "allow", "append", "apply", "ask", "change",
    "check", "choose", "compare", "complete", "convert", "correct", "create", "decode", "delete",
    "end", "export", "fix", "free", "give", "have", "install", "keep", "let", "list", "look",
    "make", "move", "name", "publish", "put", "raise", "remove", "rename", "renew", "renumber",
    "replace", "restart", "resolve", "restore", "run", "save", "see", "set", "shorten", "show",
    "split", "spread", "start", "take", "unset", "use", "write",
];
/// Phrases that do the same.
const ADVISES: [&str; 11] = [
    "did you mean",
    "is tried again",
    "trying again",
    "has to",
    "should",
    "by itself",
    "resolves itself",
    "nothing has to be done",
    "must publish",
    "must give",
    "until this is corrected",
];

/// Returns what is wrong with a finding: the same as for any message, or that it does not say what
/// to do.
pub(crate) fn problems_of_finding(message: &str) -> Vec<String> {
    let begins = |word: &str| {
        let before = [";", ",", ":", " and", " or", " then", " so", " all peers"];
        before.iter().any(|before| message.contains(&format!("{before} {word} ")))
    };
    let advises =
        ADVICE.into_iter().any(begins) || ADVISES.iter().any(|phrase| message.contains(phrase));
    let silent = (!advises).then(|| "it does not say what to do".to_owned());
    problems(message).into_iter().chain(silent).collect()
}

#[test]
fn missing_advice_is_detected() {
    for good in [
        "the certificate of the gateway has expired; renew it",
        "expected a port from 1 to 65535, found 0; until this is corrected the Service is not exported",
        "there is no such field, so it is not used; did you mean \"trustDomain\"?",
    ] {
        assert!(problems_of_finding(good).is_empty(), "{good}: {:?}", problems_of_finding(good));
    }
    for bad in [
        "the certificate of the gateway has expired",
        "expected renewed certificates, found old ones in the file",
    ] {
        assert_eq!(problems_of_finding(bad), ["it does not say what to do"], "{bad}");
    }
}
