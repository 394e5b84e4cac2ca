//! The files being written: a program has changed them and not closed them yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long an open file must stay unchanged before it is read as it is. `kubectl get > FILE`
/// empties the file seconds before it writes. A program that holds a file open longer may never
/// close it.
const REST: Duration = Duration::from_secs(30);

/// Files, and when each was last changed.
#[derive(Debug, Default)]
pub(super) struct Writing(BTreeMap<PathBuf, Instant>);

impl Writing {
    /// Records that a file was changed.
    pub(super) fn began(&mut self, file: &Path) {
        self.0.insert(file.to_owned(), Instant::now());
    }

    /// Records that a file was closed, replaced or removed.
    pub(super) fn ended(&mut self, file: &Path) {
        self.0.remove(file);
    }

    /// The files being written.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// When the first of them will have rested long enough.
    pub(super) fn rests(&mut self) -> Option<Instant> {
        self.0.values().min().map(|changed| *changed + REST)
    }

    /// Treats files that have rested long enough as finished.
    pub(super) fn forget_rested(&mut self, now: Instant) {
        self.0.retain(|_, changed| *changed + REST > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_being_written_until_closed_or_unchanged_for_a_while() {
        let (a, b) = (Path::new("a"), Path::new("b"));
        let mut writing = Writing::default();
        writing.began(a);
        writing.began(b);
        writing.ended(b);
        assert_eq!(writing.files(), [a.to_owned()].into());
        tokio::time::advance(REST / 2).await;
        writing.began(a);
        tokio::time::advance(REST / 2).await;
        writing.forget_rested(Instant::now());
        assert_eq!(writing.rests(), Some(Instant::now() + REST / 2));
        tokio::time::advance(REST / 2).await;
        writing.forget_rested(Instant::now());
        assert!(writing.files().is_empty() && writing.rests().is_none());
    }
}
