//! Clusters on real Kubernetes API servers, several on one machine. They run in the network that
//! `cargo xtask e2e kubernetes` makes (`xtask::network`).
//!
//! There is no kubelet, scheduler or controller manager: what these would write (a Pod's status, a node's addresses), a
//! test writes.

pub mod audit;
pub mod control_plane;
mod credentials;
mod etcd;
mod kubeconfig;

pub use audit::{AuditLog, Request};
pub use control_plane::{ControlPlane, Options};
