//! Federations of real meshes: `cargo xtask e2e istio`. Each allow has its deny.

mod calls;
mod fixture;
mod health;
mod passthrough;
mod refusals;
mod revocation;
