//! Federations of real meshes: `cargo xtask e2e istio`.

mod calls;
