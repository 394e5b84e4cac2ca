//! A folder of manifests as the source: the Kubernetes kinds, several documents a file.
//!
//! ```text
//! manifests/*.yaml ──► documents ──► objects ──┬─► in force: the good ones, and the last good ones of what is broken
//!        ▲                 ▲                   └─► findings: file, line, field, reason, what to do
//!     Changes      state/manifests.json
//! ```
//!
//! A file that is being written is read when it has been closed or rests; until then what it said before stays in force.
//! A broken document never takes another one with it, nor what it said itself when it was last good; that is kept over a
//! restart. A deleted file's objects go; those of one that was emptied stay, since that happens when a disk is full. A `FederationPolicy` closes before it opens, so one that was never good still closes:
//! it stands for the peers that it readably names, or for all ([`fedgate_federation::object::PolicyBody::Unreadable`]).

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
