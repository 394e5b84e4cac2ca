//! A proxy-wasm 0.2.1 host on wasmtime that drives the real filter module and behaves like Envoy.
//!
//! It has state instead of a script of expected calls. A test acts as clients, servers
//! and operators, and checks what became of the connections. The code also documents the part of the
//! ABI that the filter uses.
//!
//! ```text
//! Proxy      the process: clock, shared data by vm_id, metrics, log, clusters     (proxy, process)
//!  └ Vm      one instance of the module on one worker; timers, deferred actions    (vm, vm_state)
//!     ├ Root     one plugin configuration: what ticks                              (vm_state)
//!     └ Stream   one connection: handshake, buffers, filter state, tcp_proxy       (stream, connection)
//! ```
//!
//! The module's calls to the host are in `imports`; the host's calls to the module are in
//! `connection` and `vm`. Sources: proxy-wasm-cpp-host (`exports.cc`, `context.cc`, `wasm.cc`,
//! `shared_data.cc`), Envoy (`extensions/common/wasm/context.cc`, `foreign.cc`,
//! `network/filter_manager_impl.cc`, `tcp_proxy.cc`), and observations of Envoy 1.40.
//!
//! The pitfalls, and where they are modelled:
//!
//! - `proxy_on_new_connection` comes before the TLS handshake, and no callback reports the end of
//!   the handshake (`connection`, `properties`).
//! - tcp_proxy disables reads from the socket until its upstream is connected. So pausing before it
//!   stalls the handshake, unless it accepts early data (`connection::read_socket`).
//! - tcp_proxy picks its cluster when it starts, and never again (`stream::TcpProxy::route`).
//! - Closing and resuming happen after the callback (`vm::do_deferred`); a paused write is lost
//!   (`connection::server_sends`).
//! - A new configuration is a new root context; old connections stay with the old one forever
//!   (`proxy::configure`).
//! - A configuration is first tried in a VM of its own. If a worker then refuses what the trial VM
//!   accepted, it has no filter at all, and its connections pass (`proxy::root_on` panics).
//! - Setting the tick period restarts it, for the root of the *acting* context
//!   (`vm_state::set_tick_period`).

pub mod abi;
mod certificate;
mod connection;
mod foreign;
mod imports;
mod memory;
mod metrics;
mod module;
mod observe;
mod plugin;
mod process;
mod properties;
mod proxy;
mod shared_data;
mod stream;
mod trace;
mod vm;
mod vm_state;

pub use certificate::Certificate;
pub use module::{FilterModule, Metering};
pub use plugin::{BLACK_HOLE, FailurePolicy, HandshakeProperty, ListenerSettings, Plugin};
pub use process::LogLine;
pub use proxy::{Proxy, Rehearsal, Rejected};
pub use stream::{Client, ConnectionId, Ending, Handshake, Stream};
pub use trace::Callback;
pub use vm::Failure;
