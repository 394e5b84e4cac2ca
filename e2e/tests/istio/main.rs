//! Federations of real meshes: `cargo xtask e2e istio`. Each allow has its deny.

mod ambient;
mod calls;
mod clashes;
mod cost;
mod deliveries;
mod endpoints;
mod fixture;
mod guide;
mod headline;
mod health;
mod injection;
mod load;
mod outages;
mod passthrough;
mod refusals;
mod revocation;
mod rotation;
mod tampering;
mod upgrade;
