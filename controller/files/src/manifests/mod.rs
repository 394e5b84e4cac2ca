//! A folder of manifests as the source: the Kubernetes kinds, several documents a file.
//!
//! ```text
//! manifests/*.yaml ──► documents ──► objects ──┬─► in force: the good ones, and the last good ones of what is broken
//!        ▲                 ▲                   └─► findings: file, line, field, reason, what to do
//!     Changes      state/manifests.json
//! ```
//!
//! A file that is being written is read once it is closed and has not changed for a moment; until
//! then its last content stays in force. A broken document affects no other document. What it said
//! when it was last good stays in force, even over a restart. Deleting a file removes its objects;
//! emptying it does not, since that happens when a disk is full. A `FederationPolicy` closes before
//! it opens, so one that was never good closes too: for the peers that can be read in it, else for
//! all ([`fedgate_federation::object::PolicyBody::Unreadable`]).

#[cfg(test)]
mod closing_tests;
mod endpoints;
mod folder;
mod kind;
mod last_good;
mod manifest;
mod merge;
mod mount;
mod object;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing_tests;
#[cfg(test)]
mod writing_tests;

pub use endpoints::Endpoints;
pub(crate) use source::is_unfinished;
pub use source::{ManifestSource, Manifests};
