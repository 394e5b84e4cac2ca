//! Meshes: a real istiod on a real API server, real istio-agents with a real Envoy each, in Pods that have a network of their own.
//!
//! There is no kubelet: a [`pod::PodNetwork`] is what its network plugin would make, [`volume::ConfigMapVolume`] is how it would mount a
//! ConfigMap, and [`agent::Agent`] is the one container. Envoy is the plain one, without Istio's own filters; istiod is told not to send those.

pub mod agent;
mod dns;
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
