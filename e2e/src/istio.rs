//! Meshes: a real istiod on a real API server, and real istio-agents, each with a real Envoy in a
//! Pod with its own network.
//!
//! There is no kubelet. A [`pod::PodNetwork`] stands in for what a network plugin sets up, a
//! [`volume::ConfigMapVolume`] for a mounted ConfigMap, and an [`agent::Agent`] for the only
//! container. Envoy is a plain build without Istio's own filters, and istiod is configured not to
//! send them.

pub mod agent;
pub mod gateway;
pub mod istiod;
pub mod kubelet;
pub mod mesh;
pub mod pod;
pub mod server;
pub mod volume;
pub mod workload;
pub mod workload_api;
pub mod ztunnel;

pub use gateway::GatewayPod;
pub use mesh::Mesh;
pub use server::Server;
pub use workload::{Client, Import};
