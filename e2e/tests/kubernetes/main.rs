//! Tests on real Kubernetes API servers; `cargo xtask e2e kubernetes` runs them. Each allow has its deny.

mod admission;
mod fixture;
mod guide;
mod privilege;
mod recovery;
mod rig;
mod writes;
