//! The gateway filter: decides, for each mTLS connection to the ingress gateway, whether it may pass
//! and to which service it goes.
//!
//! # A connection's life
//!
//! ```text
//!  new connection ── SNI is no exported service ─────────────────────► closed, before the handshake
//!        │
//!    awaiting (paused: tcp_proxy behind us has not started)
//!        │  the handshake is finished, or the first downstream data arrives
//!        ▼
//!   who calls? ── refused ───────────────────────────────────────────► closed
//!        │ passes: the cluster is set, tcp_proxy starts
//!     passed ── a new table no longer grants it ─────────────────────► closed
//! ```
//!
//! The filter pauses, because tcp_proxy picks its cluster when it starts. Data before that start
//! stalls unless tcp_proxy has `max_early_data_bytes`.
//!
//! # How it is put together
//!
//! The life cycle is plain code over [`host::Host`], and does not know which proxy runs it:
//! [`stream`] has the life of one connection, and [`gateway`] what the connections of a thread
//! share. Two hosts run it:
//!
//! - [`vm`]: proxy-wasm. Ticks look for finished handshakes, and tables travel between VMs.
//! - The crate `fedgate-filter-native`: Envoy's dynamic modules.
//!
//! Nothing here panics, whatever the peer, the table or the host does: a trap in wasm takes down
//! every connection of a worker. So a failed host call costs only the connection that it was for.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod callers;
mod configuration;
mod connection;
pub mod gateway;
pub mod host;
pub mod metrics;
mod report;
pub mod stream;
pub mod vm;

pub use configuration::Configuration;
pub use gateway::Gateway;
pub use stream::Stream;
