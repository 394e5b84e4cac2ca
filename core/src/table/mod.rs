//! The compiled table: one byte string with all exports, grants and peers, built by the controller and read in place by
//! the filter.
//!
//! # Format (versions 1 and 2; all numbers little-endian)
//!
//! ```text
//! header   magic "FEDGATE\0", version u32, generation u64, ten counts u32 (see `layout`)
//! names    where each name ends (u32), then the names: local trust domain, key prefix, trust domain and name of each
//!          peer in order of trust domain (binary search), then the texts of all caller patterns in order
//! modes    one byte for each peer: 0 enforce, 1 audit
//! patterns (namespace, service account) of caller patterns, by number of the text, u32 each
//! callers  where each set of caller patterns ends (u32)
//! entries  (peer, callers) pairs, u16 each, in order of peer within a grant set: binary search
//! sets     where each grant set ends (u32). Services by peers is a product, so equal sets are stored once
//! listings pairs of port (u16) and grant set (u32) in order: services are many, these pairs are few. In version 2 all ones in place
//!          of a grant set stand for passthrough: the gateway sees no caller, so there is nothing to grant
//! blocks   where each block of rows begins (u32): binary search
//! rows     the exports in order of key, front-coded in blocks of 32 (see `rows`)
//! trailer  SHA-256 of everything before
//! ```
//!
//! A row's key is the host with its labels reversed, so that hosts of one namespace are neighbours and share all but
//! their first label. What *all* keys begin with (`example.beta.svc.`) is stored once. What is left of a row: the number
//! of letters it shares with the row before, the number of letters of its own, these letters, three in two bytes, and
//! the number of its listing. That is 10 to 16 bytes for names as people and programs give them.
//!
//! A table in which nothing is passed through has version 1, and any other one version 2, so that a filter that reads version 1 alone
//! goes on until somebody uses passthrough, and then keeps its last good table.
//!
//! Everything that is stored is in order, stored once, and used, and the reader insists on that: one content has one
//! spelling, and no table is larger than it must be.
//!
//! The naive form is a map from `host:port` to a list of grants. Each complication above was forced: reading in place (a
//! wasm VM must not build a map of 100,000 strings at each update, in each worker), front coding and packed letters
//! (100,000 exports in 16 bytes each, 10,000 in one Kubernetes object), shared sets (500 peers times 10,000 exports).
//!
//! A cluster's name is not stored: it follows from host and port ([`crate::ServiceName::cluster`]).

mod builder;
mod bytes;
mod check;
mod content;
mod encode;
#[cfg(test)]
mod hostile;
mod layout;
mod letters;
mod parts;
mod reader;
mod rows;
mod sections;

pub use builder::{BuildError, Grant, Peer, PeerIndex, TableBuilder};
pub use check::TableError;
pub(crate) use check::is_known;
pub use layout::{FORMAT_VERSION, MAX_CALLER_PATTERNS, MAX_TABLE_BYTES};
pub(crate) use reader::Granted;
pub use reader::{Export, PeerRow, Table};

use crate::hex::Hex;
use serde::{Deserialize, Serialize};

/// Whether refusals of a peer's calls to exported services take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// What is not granted is refused.
    Enforce,
    /// What no policy grants is reported and let through, as long as the Service's owner admits the peer.
    Audit,
}

/// SHA-256 of a table, its generation included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub(crate) [u8; 32]);

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", Hex(&self.0))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
