//! The gateway filter: a proxy-wasm network filter that decides, for each mTLS connection to the
//! ingress gateway, whether it may pass and to which service it goes.
//!
//! # A connection's life
//!
//! ```text
//!  new connection ── SNI is no exported service ─────────────────────► closed, before the handshake
//!        │
//!    awaiting (paused: tcp_proxy behind us has not started)
//!        │  first downstream data, or a tick that finds the handshake finished (protocols whose server speaks first)
//!        ▼
//!   who calls? ── refused ───────────────────────────────────────────► closed
//!        │ passes: the cluster is set, tcp_proxy starts
//!     passed ── a new table no longer grants it ─────────────────────► closed
//! ```
//!
//! The filter pauses and ticks for three reasons. There is no callback for a finished handshake.
//! tcp_proxy picks its cluster when it starts. Data before that start stalls unless tcp_proxy has
//! `max_early_data_bytes`.
//!
//! The [`stream`] module has the life cycle, and [`scope`] has what the connections of one plugin
//! share. [`shared`] describes how a table reaches VMs that are no longer configured.
//!
//! # What the listener must have
//!
//! - `tls_inspector` before the filter.
//! - A TLS context that requests the client's certificate and binds it to a root of its own trust
//!   domain, which no filter can do.
//! - Behind the filter, a tcp_proxy with `max_early_data_bytes` (0 is enough) whose own cluster is
//!   a black hole. This matters because Envoy continues *without* the filter if a worker could not
//!   configure it.
//!
//! Before the filter, it must also have this, so that the filter learns who the client is once the
//! handshake is finished (Envoy 1.37 or later):
//!
//! ```yaml
//! name: envoy.filters.network.set_filter_state
//! typed_config:
//!   "@type": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config
//!   on_downstream_tls_handshake:
//!   - object_key: fedgate.handshake
//!     factory_key: envoy.string
//!     format_string: {text_format_source: {inline_string: "%DOWNSTREAM_PEER_URI_SAN%"}}
//! ```
//!
//! Without it, every client is refused for lack of an identity.
//!
//! A chain that passes TLS through has no TLS context, and its tcp_proxy has the cluster of the SNI
//! that the chain matches. It must have the following before the filter; no chain that terminates
//! TLS may have it:
//!
//! ```yaml
//! name: envoy.filters.network.set_filter_state
//! typed_config:
//!   "@type": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config
//!   on_new_connection:
//!   - object_key: fedgate.passthrough
//!     factory_key: envoy.string
//!     format_string: {text_format_source: {inline_string: passed}}
//! ```
//!
//! # How it is put together
//!
//! Everything is plain code over [`host::Host`]. Only `abi` and `imports`, which are compiled only
//! for wasm, know that the host is a proxy. Nothing here panics, whatever the peer, the table or
//! the host does: a trap in wasm takes down every connection of a worker. So a failed host call
//! costs only the connection that it was for.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(target_arch = "wasm32")]
mod abi;
mod clock;
mod configuration;
mod connection;
pub mod host;
mod identity;
#[cfg(target_arch = "wasm32")]
mod imports;
pub mod metrics;
mod report;
mod route;
pub mod scope;
pub mod shared;
pub mod stream;
pub mod threads;
mod tick;
mod vm;

pub use stream::Stream;
pub use vm::{Root, Vm};
