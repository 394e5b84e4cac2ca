//! What happened when: changes of roots, keys, exports, grants and readiness, kept bounded and over
//! a restart.
//!
//! A `Seen` is what was in force at one moment, in short. The difference of two of them is a list
//! of [`Change`]s. Both can be stored, so that a change while nobody looked is found later.

mod seen;

use crate::in_force::InForce;
use fedgate_core::PeerName;
use jiff::Timestamp;
use seen::Seen;
use serde::{Deserialize, Serialize};

/// How many changes are kept; the oldest are dropped first.
pub const MOST_CHANGES: usize = 500;
/// How many changes of one kind a moment may have. More become one line with their number.
pub const MOST_AT_ONCE: usize = 20;
/// The longest text of a change, in bytes.
pub const LONGEST: usize = 400;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was seen.
    pub at: Timestamp,
    /// What kind of change it is.
    pub kind: ChangeKind,
    /// What changed: a peer, a service, or this cluster.
    pub about: String,
    /// What happened, in words.
    pub text: String,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The controller started, or another replica leads.
    Leader,
    /// Roots of this cluster or of a peer.
    Roots,
    /// A key or a UUID.
    Key,
    /// A peer came, went, became ready or not.
    Peer,
    /// A condition of a peer.
    Condition,
    /// An export came or went.
    Export,
    /// Who may call an export.
    Grant,
    /// What a peer offers, and which members take the calls of a federated name.
    Import,
}

impl ChangeKind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Roots => "roots",
            Self::Key => "key",
            Self::Peer => "peer",
            Self::Condition => "condition",
            Self::Export => "export",
            Self::Grant => "grant",
            Self::Import => "import",
        }
    }

    /// Returns true if such a change is about a peer.
    fn is_of_peer(self) -> bool {
        !matches!(self, Self::Leader | Self::Export | Self::Grant)
    }
}

impl Change {
    /// A change. Its text is cut to a bounded length.
    pub fn new(at: Timestamp, kind: ChangeKind, about: &str, text: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(LONGEST)].to_owned();
        Self { at, kind, about: cut(about), text: cut(text) }
    }

    /// Returns true if each of these words, in lower case, is in its kind, its object or its text.
    pub fn has_words(&self, words: &[String]) -> bool {
        let (about, text) = (self.about.to_lowercase(), self.text.to_lowercase());
        let has =
            |word: &String| [&about, &text, self.kind.word()].iter().any(|is| is.contains(word));
        words.iter().all(has)
    }

    /// Returns true if it is about this peer.
    pub fn is_about_peer(&self, name: &str) -> bool {
        self.kind.is_of_peer() && self.about == name
    }
}

/// The changes, and what they lead to. Stored as one document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    seen: Option<Seen>,
    /// Newest first.
    changes: Vec<Change>,
}

impl History {
    /// Takes what is in force now. Returns true if something has changed.
    pub fn note(&mut self, in_force: &InForce, now: Timestamp) -> bool {
        self.note_settled(in_force, now, |_| true)
    }

    /// The same, but leaves out what changed about peers that are not settled: a controller that
    /// has just begun knows less of them than the one before.
    pub fn note_settled(
        &mut self,
        in_force: &InForce,
        now: Timestamp,
        is_settled: impl Fn(&PeerName) -> bool,
    ) -> bool {
        let mut seen = Seen::of(in_force);
        if let Some(before) = &self.seen {
            seen.keep_unsettled(before, is_settled);
        }
        let new = match &self.seen {
            Some(before) if *before == seen => return false,
            Some(before) => seen.since(before, now),
            None => vec![],
        };
        self.seen = Some(seen);
        self.put(new);
        true
    }

    /// Adds changes of the same moment, in the order in which they are shown.
    pub fn put(&mut self, new: Vec<Change>) {
        self.changes.splice(0..0, new);
        self.changes.truncate(MOST_CHANGES);
    }

    /// All changes, newest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// A smaller history: the newest `most` changes, without what they lead to. Whoever continues
    /// from it does not find what changed meanwhile.
    pub fn shortened(&self, most: usize) -> Self {
        Self { seen: None, changes: self.changes.iter().take(most).cloned().collect() }
    }

    /// Brings a history that was read within its bounds: someone else may have written it.
    pub fn bounded(mut self) -> Self {
        self.changes.truncate(MOST_CHANGES);
        let cut = |change: Change| Change::new(change.at, change.kind, &change.about, &change.text);
        self.changes = self.changes.into_iter().map(cut).collect();
        self
    }
}
