//! Federations of real meshes: run by `cargo xtask e2e istio`. Each test of an allowed call has one
//! of a denied call.

mod ambient;
mod calls;
mod clashes;
mod cost;
mod deliveries;
mod endpoints;
mod federated;
mod fixture;
mod gateway_names;
mod guide;
mod headline;
mod health;
mod idle;
mod injection;
mod load;
mod low_ports;
mod mcs;
mod monitoring;
mod names;
mod networks;
mod outages;
mod passthrough;
mod pods;
mod refusals;
mod revocation;
mod rotation;
mod switch;
mod tampering;
mod terminal;
mod upgrade;
