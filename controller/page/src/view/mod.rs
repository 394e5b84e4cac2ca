//! The view model: what the page shows, as values. Pure: everything follows from one look and the
//! question. The page only draws it.
//!
//! Answers have a bounded size. Lists are cut to the rows that are visible, with the number of all.

mod exports;
mod federated;
mod imports;
mod matrix;
mod overview;
mod peer;
mod peers;
mod refusals;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use exports::{audit, export, exports};
pub(crate) use federated::federated;
pub(crate) use imports::imports;
pub(crate) use matrix::matrix;
pub(crate) use overview::overview;
pub(crate) use peer::peer;
pub(crate) use peers::peers;
pub(crate) use refusals::refusals;

use crate::feed::Look;
use fedgate_engine::history::Change;
use serde::{Deserialize, Serialize};

/// The most rows of one answer.
const MOST_ROWS: usize = 200;
/// The longest text that is searched for, in bytes. No name is longer.
const LONGEST_SEARCH: usize = 300;

/// Which rows of a list are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Query {
    /// Only rows that contain all words of this text.
    pub(crate) search: String,
    /// Only rows of this state: a word that depends on the list. Empty for all.
    pub(crate) state: String,
    /// The first row.
    pub(crate) offset: usize,
    /// How many rows, at most [`MOST_ROWS`].
    pub(crate) limit: usize,
    /// The same for the columns of a matrix.
    pub(crate) peers: String,
    pub(crate) column: usize,
    pub(crate) columns: usize,
}

/// Some rows of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rows<T> {
    /// How many there are before the search.
    all: usize,
    /// How many fit the search.
    found: usize,
    /// The first row's number.
    offset: usize,
    rows: Vec<T>,
}

/// The words of a search, in lower case.
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Self {
        let end = text.floor_char_boundary(LONGEST_SEARCH);
        Self(text[..end].to_lowercase().split_whitespace().map(str::to_owned).collect())
    }

    /// Returns true if each word is in one of the texts. The texts are names, in lower case.
    fn are_in(&self, texts: &[&str]) -> bool {
        self.0.iter().all(|word| texts.iter().any(|text| text.contains(word.as_str())))
    }
}

/// The rows of a list that a query asks for.
fn cut<T, R>(all: usize, found: &[T], query: &Query, row: impl Fn(&T) -> R) -> Rows<R> {
    let offset = query.offset.min(found.len());
    let limit = query.limit.clamp(1, MOST_ROWS);
    let rows = found[offset..].iter().take(limit).map(row).collect();
    Rows { all, found: found.len(), offset, rows }
}

/// What happened, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changes {
    #[serde(flatten)]
    rows: Rows<Change>,
    /// Why changes may be missing.
    trouble: Option<String>,
}

pub(crate) fn changes(look: &Look, query: &Query) -> Changes {
    let words = Words::of(&query.search);
    let all = &look.around.changes;
    let is_found = |change: &&Change| {
        (query.state.is_empty() || change.kind.word() == query.state) && change.has_words(&words.0)
    };
    let found: Vec<_> = all.iter().filter(is_found).collect();
    let rows = cut(all.len(), &found, query, |change| (*change).clone());
    Changes { rows, trouble: look.around.unknown_changes.clone() }
}
