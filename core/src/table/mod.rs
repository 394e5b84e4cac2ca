//! The compiled table: one byte string with all exports, grants and peers, built by the controller and read in place by
//! the filter.
//!
//! # Format (version 1; all numbers little-endian)
//!
//! ```text
//! header   magic "FEDGATE\0", version u32, sizes and counts (see `layout`)
//! strings  every name of the sections below, and what all exported hosts have in common
//! peers    one record of 16 bytes for each peer, in order of trust domain: binary search
//! patterns one record of 12 bytes for each caller pattern
//! callers  where each set of caller patterns ends
//! entries  (peer, callers) pairs of 4 bytes, in order of peer within a grant set: binary search
//! sets     where each grant set ends. Services by peers is a product, so equal sets are stored once
//! blocks   where each block of rows begins
//! rows     the exports in order of key, front-coded in blocks of 16
//! trailer  SHA-256 of everything before
//! ```
//!
//! A row's key is the host with its labels reversed, so that hosts of one namespace are neighbours and share all but
//! their first label. The labels that *all* hosts share (`example.beta.svc.`) are stored once. What is left of a row:
//! the number of bytes it shares with the row before, the number of bytes of its own, these bytes, the port, the number
//! of its grant set; the numbers as LEB128, so most take one byte. That is 7 to 13 bytes for names as people give them.
//!
//! The naive form is a map from `host:port` to a list of grants. Each complication above was forced: reading in place (a
//! wasm VM must not build a map of 100,000 strings at each update, in each worker), front coding (10,000 exports must fit in
//! a Kubernetes object), shared sets (500 peers times 10,000 exports).
//!
//! A cluster's name is not stored: it follows from host and port ([`crate::ServiceName::cluster`]).

mod builder;
mod bytes;
mod check;
mod layout;
mod reader;
mod rows;

pub use builder::{BuildError, Grant, Peer, PeerIndex, TableBuilder};
pub use check::TableError;
pub use layout::{FORMAT_VERSION, MAX_TABLE_BYTES};
pub use reader::{Export, PeerRow, Table};
pub(crate) use reader::Granted;

use serde::{Deserialize, Serialize};

/// Whether refusals of a peer's calls to exported services take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// What is not granted is refused.
    Enforce,
    /// What no policy grants is reported and let through, as long as the Service's owner admits the peer.
    Audit,
}

/// SHA-256 of a table: the name of its content, whatever its generation says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub(crate) [u8; 32]);

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
