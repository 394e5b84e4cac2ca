//! The filter as a proxy-wasm network filter.
//!
//! proxy-wasm has no callback for a finished handshake, and its VMs share no memory. So a [`Root`]
//! ticks: its ticks look for finished handshakes, and for tables that reached other VMs. [`scope`]
//! has what the connections of one plugin share, and [`shared`] describes how a table reaches VMs
//! that are no longer configured. Only `exports` and `imports`, which are compiled only for wasm,
//! know the ABI.
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

mod clock;
#[cfg(target_arch = "wasm32")]
mod exports;
pub mod host;
mod identity;
#[cfg(target_arch = "wasm32")]
mod imports;
mod look;
mod proxied;
mod root;
mod route;
pub mod scope;
pub mod shared;
mod stream;
pub mod threads;
mod tick;

pub use root::{Root, Vm};
pub use stream::Stream;
