//! A folder of manifests as the source: the Kubernetes kinds, several documents a file.
//!
//! ```text
//! manifests/*.yaml ──► documents ──► objects ──┬─► in force: the good ones, and the last good ones of what is broken
//!        ▲                 ▲                   └─► findings: file, line, field, reason, what to do
//!     Changes      state/manifests.json
//! ```
//!
//! A broken document never takes another one with it, nor what it said itself when it was last good; that is kept over a
//! restart. A deleted file's objects go. A `FederationPolicy` closes before it opens, so one that was never good still closes:
//! it stands for the peers that it readably names, or for all ([`fedgate_federation::object::PolicyBody::Unreadable`]).

mod endpoints;
mod folder;
mod last_good;
mod manifest;
mod merge;
mod object;
mod source;
#[cfg(test)]
mod tests;
mod watch;

pub use endpoints::Endpoints;
pub(crate) use object::service_object;
pub use source::{ManifestSource, Manifests};
pub use watch::{Changes, watch};
