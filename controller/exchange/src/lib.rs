//! All that talks to strangers: what peers publish, what they may fetch, and whether their gateways can be reached.
//!
//! This crate reads bytes of anybody. It knows neither Kubernetes nor Envoy nor the files of a site.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`importer`] | fetches what peers publish |
//! | [`exporter`] | answers peers |
//! | [`lookup`] | looks up the names of peers' gateways |
//! | [`probe`] | tries whether a call to a peer would get through |
//! | [`supervision`] | tasks of one peer, which begin again after a panic |
//! | `loopback` | for tests: a CA, and servers on loopback |
//! | `tls` | what the importer and the probe have in common as TLS clients |
//! | [`new_key`] | makes a cluster's key |

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

#[cfg(test)]
#[path = "../../../federation/tests/federation/advice.rs"]
mod advice;
pub mod exporter;
pub mod importer;
pub mod lookup;
#[cfg(any(test, feature = "test-support"))]
#[allow(missing_docs, clippy::disallowed_methods, clippy::new_without_default, reason = "for tests alone")]
pub mod loopback;
pub mod new_key;
pub mod probe;
#[cfg(test)]
#[path = "../../../federation/tests/federation/readable.rs"]
mod readable;
pub mod supervision;
mod tls;
