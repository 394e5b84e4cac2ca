//! Tests on real Envoys and real controllers; `cargo xtask e2e` runs them. Each allow has its deny.

mod capacity;
mod controller;
mod egress;
mod exposure;
mod fixture;
mod gateways;
mod harness;
mod health;
mod identity;
mod long_names;
mod manifests;
mod peers;
mod policy;
mod probes;
mod quick_start;
mod renewal;
mod revocation;
mod rotation;
mod secrets;
mod transport;
