//! The files of the files platform, and a real Envoy that reads them.

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
