//! System errors and values in plain words. Operators read what is wrong, without a library's or
//! the kernel's codes.

use std::io::{Error, ErrorKind};
use std::time::Duration;

/// Why something could not be read, written or listed.
pub fn io(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::AlreadyExists => "it is there already".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::NotADirectory => "a part of its path is not a folder".to_owned(),
        ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        ErrorKind::AddrInUse => "another program uses this address".to_owned(),
        ErrorKind::AddrNotAvailable => "this machine does not have this address".to_owned(),
        ErrorKind::BrokenPipe => "the reader has gone away".to_owned(),
        ErrorKind::TimedOut => "it took too long".to_owned(),
        _ => without_number(&error.to_string()),
    }
}

/// A count of things: `1 error`, `2 errors`.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// How many peers a row for people names. Lists for programs have all.
pub const NAMED_PEERS: usize = 10;

/// The peers of a row, at most `most` by name, out of `all` that there are.
pub fn peers(names: &[String], most: usize, all: usize) -> String {
    let more = names.len().saturating_sub(most);
    match names.get(..most) {
        Some(_) if more > 0 && names.len() == all => format!("all {all} peers"),
        Some(first) if more > 0 => {
            format!("{} and {}", first.join(", "), counted(more, "more peer"))
        }
        _ => names.join(", "),
    }
}

/// An error and its causes, outermost first.
pub fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error and its causes in one line, outermost first.
pub fn chain(error: &anyhow::Error) -> String {
    let word = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<Error>() {
        Some(error) => io(error),
        None => cause.to_string(),
    };
    causes(error.as_ref()).map(word).collect::<Vec<_>>().join(": ")
}

/// Removes the error number that Rust adds: `Too many levels of symbolic links (os error 40)`.
fn without_number(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// A duration in short form, such as `1m30s`.
pub fn spell(span: Duration) -> String {
    match jiff::SignedDuration::try_from(span) {
        Ok(span) => format!("{span:#}").replace(' ', ""),
        Err(_) => format!("{}s", span.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_come_outermost_first() {
        let inner = Error::other("inner");
        let outer = anyhow::Error::new(inner).context("middle").context("outer");
        assert_eq!(chain(&outer), "outer: middle: inner");
        assert_eq!(causes(outer.as_ref()).last().unwrap().to_string(), "inner");
    }

    #[test]
    fn system_errors_are_described_in_plain_words() {
        let read = |path: &str| io(&std::fs::read(path).unwrap_err());
        assert_eq!(read("/does/not/exist"), "there is no such file or folder");
        assert_eq!(read("/"), "it is a folder");
        assert_eq!(read("/dev/null/x"), "a part of its path is not a folder");
        assert_eq!(io(&Error::from_raw_os_error(40)), "too many levels of symbolic links");
    }

    #[test]
    fn long_lists_of_peers_are_cut() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(peers(&names, 4, 4), "a, b, c, d");
        assert_eq!(peers(&names, 3, 4), "all 4 peers");
        assert_eq!(peers(&names, 3, 9), "a, b, c and 1 more peer");
        assert_eq!(peers(&names, 2, 9), "a, b and 2 more peers");
        assert_eq!(peers(&names[..1], 2, 1), "a");
    }
}
