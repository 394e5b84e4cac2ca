//! The gateway filter as a dynamic module: a shared library that Envoy loads.
//!
//! The decision and the life cycle of a connection are those of `fedgate-filter`. This crate
//! connects them to Envoy:
//!
//! | module | |
//! | --- | --- |
//! | `abi` | Envoy's C ABI: what Envoy calls, and what it offers. The only `unsafe` code |
//! | `module` | what Envoy's calls do: configurations and connections |
//! | `worker` | one thread's connections, and the actions that wait for the end of a callback |
//! | `newest` | the newest table of the process, and how a thread learns of it |
//! | `counters` | Envoy's numbers for the metrics |
//!
//! # Why this host needs no ticks
//!
//! Envoy reports the end of a handshake to a dynamic module, so nothing has to look for it. All
//! threads read one table in one memory, so none is late. A new table wakes each thread that has
//! connections (`newest`), which then judges them.
//!
//! # What the listener must have
//!
//! The same as for the proxy-wasm filter, except for the filter that records the URI SANs: Envoy
//! gives them to a dynamic module itself. Without tcp_proxy's `max_early_data_bytes` the handshake
//! of a paused connection would never finish.
//!
//! A client that never finishes its handshake is closed by `transport_socket_connect_timeout`.
//!
//! # Panics
//!
//! A panic that left the module would end Envoy, and with it all of the gateway's connections. So
//! `abi` stops each one, which needs a build in which panics unwind.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(not(panic = "unwind"))]
compile_error!("panics must unwind, so that the module can stop them: remove panic = \"abort\"");

mod abi;
mod counters;
mod module;
mod newest;
mod worker;
