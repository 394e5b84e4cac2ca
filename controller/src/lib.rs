//! The controller: adapters around `fedgate_federation::federate`.

pub mod clock;
pub mod command;
pub mod envoy;
pub mod exporter;
pub mod files;
pub mod importer;
#[cfg(test)]
mod loopback;
pub mod yaml;
