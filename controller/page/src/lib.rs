//! The operators' page: what it shows, its files, and the server for it.
//!
//! ```text
//! InForce ──┐                    ┌──► view (pure) ──► JSON ──► page.js draws it
//!           ├──► Feed ──► server ┤
//! Around ───┘                    └──► a stream of events: something has changed
//! ```
//!
//! The controller serves it on its admin address, and `fedgate ui` on a local port. The page shows
//! what the commands say, because both ask [`fedgate_engine`]. It is read-only.

// Tests start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

mod assets;
pub mod calls;
pub mod counters;
mod feed;
mod guard;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod sample;
mod server;
mod stream;
pub mod traffic;
mod view;

pub use feed::{Around, Feed};
pub use guard::only_loopback;
pub use server::{router, serve};
