//! Tests of the files platform's files, and of a real Envoy that reads them.

#[path = "../../../../federation/tests/federation/authority.rs"]
mod authority;
mod credentials;
mod egress;
mod endpoints;
mod gateway;
mod limits;
mod pki;
mod process;
mod snapshots;
mod tls;
mod world;
