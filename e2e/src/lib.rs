//! What the demo and the end-to-end tests are made of: certificates, cluster folders, processes, back ends and clients.
//!
//! Nothing here is a double of a part of fedgate. A [`federation::Federation`] is a set of clusters, each with a real
//! controller (`fedgate run`), a real gateway Envoy and a real egress Envoy; only the back ends and the clients are small
//! programs of this crate, so that a test can count what reached them and can hold any certificate.

pub mod authority;
pub mod backend;
pub mod chart;
pub mod client;
pub mod cluster;
pub mod deployed;
pub mod envoy;
pub mod federation;
pub mod guide;
pub mod http2;
pub mod istio;
pub mod kubernetes;
pub mod manifest;
pub mod metadata_proxy;
pub mod ports;
pub mod process;
pub mod programs;
pub mod run_folder;
pub mod scenario;
mod tls_listener;
pub mod usage;
pub mod wait;
