//! The API server: the client, the kinds of objects, and the watch of one kind.

pub mod client;
pub mod fingerprint;
pub mod kind;
pub mod owner;
pub mod watch;
