//! Federations of real meshes: `cargo xtask e2e istio`. Each allow has its deny.

mod calls;
mod fixture;
mod outages;
mod refusals;
mod revocation;
mod tampering;
