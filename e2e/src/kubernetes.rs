//! Clusters on real Kubernetes API servers, several on one machine. They run in the network that
//! `cargo xtask e2e kubernetes` creates (`xtask::network`).
//!
//! There is no kubelet, scheduler or controller manager. Tests write what these would write, such
//! as a Pod's status or a node's addresses: see [`platform`].

pub mod addresses;
pub mod audit;
pub mod balancer;
pub mod cluster;
pub mod control_plane;
mod credentials;
mod etcd;
pub mod federation;
pub mod gateway;
pub mod install;
mod kinds;
mod kubeconfig;
mod names;
pub mod objects;
pub mod platform;
pub mod replica;
mod seed;

pub use audit::{AuditLog, Request};
pub use cluster::{CertificateServer, KubernetesCluster};
pub use control_plane::{ControlPlane, Options};
pub use federation::KubernetesFederation;
pub use names::{CONTROLLER, MESH_NAMESPACE, NAMESPACE, SERVICE_ACCOUNT, SHOP};
pub use objects::{Key, Objects, condition};
