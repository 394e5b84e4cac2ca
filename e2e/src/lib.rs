//! The building blocks of the demo and the end-to-end tests: certificates, cluster folders,
//! processes, back ends and clients.
//!
//! No part of fedgate is replaced by a test double. A [`federation::Federation`] is a set of
//! clusters, each with a real controller (`fedgate run`), a real gateway Envoy and a real egress
//! Envoy. Only the back ends and the clients are small programs of this crate. They let a test
//! count the connections that reach a back end, and use any certificate. There are two exceptions:
//! [`fleet`] plays thousands of peers for load measurements, and [`dkp`] plays a cluster of another
//! product.

pub mod authority;
pub mod backend;
pub mod browser;
pub mod chart;
pub mod client;
pub mod cluster;
pub mod coredns;
pub mod databases;
pub mod deployed;
pub mod dkp;
pub mod dns;
pub mod dns_server;
pub mod envoy;
pub mod federation;
pub mod fleet;
pub mod gateway_front;
pub mod guide;
pub mod http2;
pub mod idle_balancer;
pub mod istio;
pub mod kubernetes;
pub mod manifest;
pub mod measure;
pub mod metadata_proxy;
pub mod name_server;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod run_folder;
pub mod scenario;
pub mod stateful_set;
mod tls_listener;
pub mod usage;
pub mod wait;
