//! Everything that talks to strangers: fetches from peers, answers to peers, and probes of their
//! gateways.
//!
//! This crate reads bytes from anyone. It knows nothing of Kubernetes, of Envoy or of a site's
//! files.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`importer`] | fetches what peers publish |
//! | [`exporter`] | answers peers |
//! | `lookup` | looks up the names of peers' gateways |
//! | [`names`] | a DNS server for the names of imports |
//! | [`probe`] | checks whether a call to a peer would get through |
//! | [`prefer`] | the preference to wait for a change, which both know |
//! | `counted` | counts what is open in a gauge |
//! | [`proxy`] | the HTTP proxy through which peers are asked |
//! | [`settings`] | what an operator can set for the importer and the exporter |
//! | `supervision` | runs the tasks of one peer, and restarts them after a panic |
//! | `loopback` | for tests: a CA, and servers on loopback |
//! | `tls` | what the importer and the probe share as TLS clients |
//! | [`keyring`] | the keys that this cluster signs with |
//! | [`new_key`] | makes a cluster's signing key |

// Tests create files the way operators and their editors do, and start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

#[cfg(test)]
#[path = "../../../federation/tests/federation/advice.rs"]
mod advice;
mod counted;
pub mod exporter;
pub mod importer;
pub mod keyring;
mod lookup;
#[cfg(any(test, feature = "test-support"))]
#[allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::new_without_default,
    reason = "for tests alone"
)]
pub mod loopback;
pub mod names;
pub mod new_key;
pub mod prefer;
pub mod probe;
pub mod proxy;
#[cfg(test)]
#[path = "../../../federation/tests/federation/readable.rs"]
mod readable;
pub mod settings;
mod supervision;
mod tls;
