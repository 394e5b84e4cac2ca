//! Tests on real Envoys and real controllers, run by `cargo xtask e2e`. Each test of something
//! allowed has one of something denied.

mod balancers;
mod capacity;
mod controller;
mod departures;
mod egress;
mod expiry;
mod exposure;
mod failover;
mod failover_load;
mod fixture;
mod gateways;
mod harness;
mod health;
mod http_proxy;
mod identity;
mod ingress;
mod long_names;
mod manifests;
mod members;
mod names;
mod panics;
mod peers;
mod pods;
mod policy;
mod probes;
mod quick_start;
mod renewal;
mod revocation;
mod rotation;
mod rotation_guide;
mod secrets;
mod terminal;
mod transport;
mod upgrade;
mod zones;
