//! The compiled table: one byte string with all exports, grants and peers. The controller builds
//! it, and the filter reads it in place.
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
//! A row's key is the host with its labels reversed. So hosts of one namespace are neighbours, and
//! share all labels except one. The prefix of *all* keys (`example.beta.svc.`) is stored once. The
//! rest of a row is four things: the number of letters shared with the row before, the number of
//! its own letters, these letters (three in two bytes), and the number of its listing. That takes
//! 10 to 16 bytes for typical names.
//!
//! A table without passthrough has version 1; any other has version 2. A filter that reads only
//! version 1 keeps working until a service uses passthrough; then it keeps its last good table.
//!
//! Everything stored is in order, stored once, and used, and the reader enforces that. So each
//! content has exactly one spelling, and no table is larger than necessary.
//!
//! The naive form is a map from `host:port` to a list of grants. Each complication has a reason:
//!
//! - Reading in place: a wasm VM must not build a map of 100,000 strings at each update, in each
//!   worker.
//! - Front coding and packed letters: 100,000 exports take 16 bytes each, and 10,000 fit in one
//!   Kubernetes object.
//! - Shared sets: 500 peers times 10,000 exports would not fit.
//!
//! The name of an Envoy cluster is not stored: it follows from host and port
//! ([`crate::ServiceName::cluster`]).

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

pub use builder::{BuildError, Grant, GrantSet, Peer, PeerIndex, TableBuilder};
pub use check::TableError;
pub(crate) use check::is_known;
pub use layout::{FORMAT_VERSIONS, MAX_CALLER_PATTERNS, MAX_TABLE_BYTES};
pub(crate) use reader::Granted;
pub use reader::{Export, PeerRow, Table};

use crate::hex::Hex;
use serde::{Deserialize, Serialize};

/// Whether refusals of a peer's calls to exported services take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Calls without a grant are refused.
    Enforce,
    /// Calls that no policy grants are reported but pass, as long as the Service's owner admits the
    /// peer.
    Audit,
}

/// The SHA-256 of a table, generation included.
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
