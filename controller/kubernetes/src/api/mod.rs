//! The API server: the client, the kinds of objects, and the watch of one kind.

pub mod client;
pub(crate) mod fingerprint;
pub(crate) mod kind;
pub(crate) mod owner;
pub(crate) mod watch;
