//! Tests on real Kubernetes API servers; `cargo xtask e2e kubernetes` runs them. Each allow has its deny.

mod pairing;
mod rig;
