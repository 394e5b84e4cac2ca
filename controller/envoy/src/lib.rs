//! The sink of the files platform: what two Envoys read.
//!
//! Pure functions turn [`GatewayInputs`] and [`EgressInputs`] into files, and [`EnvoyFiles::write`] puts them in place by
//! rename. Envoy watches them, so nothing is ever restarted or told. A cluster's folder `envoy/`:
//!
//! | file | what it is | changes when |
//! | --- | --- | --- |
//! | `gateway/bootstrap.json` | what Envoy is started with (`--config-path`) | the settings do |
//! | `gateway/lds.json` | the federation listener, and the one that answers for the health name | the settings do; never with a table |
//! | `gateway/cds.json` | a cluster for each export, and the black hole | exports or their endpoints do |
//! | `gateway/identity.json` | the cluster's own certificate and key (mode 0600) | they are renewed |
//! | `gateway/limits.json`, `egress/limits.json` | how many connections it takes | its process is seen to have other limits |
//! | `gateway/trust/bundles.json` | the peers' roots, each bound to its trust domain | a peer's roots do |
//! | `gateway/filter/filter.json` | the filter and its table | each table |
//! | `gateway/filter/fedgate_filter-<hash>.wasm` | the filter's module | the program is another one |
//! | `egress/bootstrap.json` | what Envoy is started with | the settings do |
//! | `egress/lds.json` | a local port for each import | imports come and go |
//! | `egress/cds.json` | a cluster for each peer: its gateways, its roots, the identities that its gateways may have; and another one where TLS goes through to its workloads | any of these does |
//! | `egress/identity.json` | the cluster's own certificate and key (mode 0600) | they are renewed |
//!
//! Envoy 1.40 was asked about each of these, and the answers shaped the files:
//!
//! - The table's file has a folder of its own. Envoy watches folders; of two files in one folder it may read the one that
//!   was written second first (63 of 100 tries, when they are watched as folders), and the table would name clusters that
//!   are not there. In different folders it reads them in the order in which they were written (0 of 100).
//! - Each watched file costs an inotify instance, of which a user has 128, and Envoy aborts when it gets none. So their
//!   number does not depend on peers: a peer's roots stand in its cluster, and only the cluster's own identity is a secret
//!   (SDS from a file). It holds the bytes and not the paths of certificate and key: Envoy watches renames only, and reads
//!   two files one after the other.
//! - Of a certificate with several URI SANs the SPIFFE validator takes the first, and `match_typed_subject_alt_names` any.
//!   So one bundle map for all peers, with a matcher in each cluster, would let a peer pass for another; each cluster
//!   has its peer's roots alone.
//! - An empty bundle map is refused: at start the listener is missing, later the last peer's roots stay in force. So it is
//!   never empty: without peers it has the cluster's own roots, under a trust domain that no certificate can be of.
//! - Clusters that change or go away close no connection; it is the filter that closes what is no longer granted.
//! - Two Envoys of one user listen on the same port without an error, and each gets some of the connections. So imports'
//!   ports are not shared (`enable_reuse_port`), and a port that is taken costs its own import and no other.
//! - A cluster of names looks each of them up for itself: 64 names of 99 imports were 1,267 look-ups a second. So all clusters have
//!   addresses (`fedgate_exchange::lookup`).
//!
//! Known debts: a port that another program takes between allocation and use is reported by Envoy alone, and tried again
//! only with the next change of `lds.json`. The number of Envoy's workers and the drain time are on its command line.

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod access_log;
mod bootstrap;
mod cluster;
mod connections;
mod descriptors;
mod egress;
mod file;
pub mod filter;
mod gateway;
pub mod health;
mod identity;
mod inputs;
mod limits;
pub mod listener;
pub mod plugin;
mod ports;
pub mod resource;
mod stats;
pub mod trust;
mod write;

pub use descriptors::Descriptors;
pub use file::{File, FilePath, PathError};
pub use filter::FilterModule;
pub use identity::{Identity, IdentityError};
pub use inputs::{AccessLog, Connections, EgressInputs, GatewayInputs};
pub use ports::{Allocation, PortRequest, allocate, owner};
pub use write::{WriteError, Written};

use std::path::Path;

/// The folder that Envoy reads, see the [module](self).
#[derive(Debug, Clone)]
pub struct EnvoyFiles {
    folder: FilePath,
}

impl EnvoyFiles {
    /// The folder `folder`, which need not exist yet. A relative path is taken from the current directory, once, here.
    ///
    /// # Errors
    /// [`PathError`] when the path cannot stand in a JSON file.
    pub fn new(folder: &Path) -> Result<Self, PathError> {
        Ok(Self { folder: FilePath::new(folder)? })
    }

    /// All files of the gateway Envoy, `gateway/bootstrap.json` the one that it is started with.
    pub fn gateway(&self, inputs: &GatewayInputs<'_>) -> Vec<File> {
        gateway::files(&self.folder, inputs)
    }

    /// All files of the egress Envoy, `egress/bootstrap.json` the one that it is started with.
    pub fn egress(&self, inputs: &EgressInputs<'_>) -> Vec<File> {
        egress::files(&self.folder, inputs)
    }

    /// The certificate and key that the gateway was given last; `None` when there are none.
    pub fn last_identity(&self) -> Option<Identity> {
        Identity::from_secret(&write::bytes(self.path(gateway::IDENTITY).as_ref()).ok()?)
    }

    /// The socket, in Envoy's spelling, at which the gateway answers `/healthz` to local programs.
    pub fn gateway_socket(&self) -> String {
        health::socket(self.folder.as_str())
    }

    /// The same of the egress.
    pub fn egress_socket(&self) -> String {
        egress::socket(&self.folder)
    }

    /// Where a file with this relative path is.
    pub fn path(&self, relative: &str) -> FilePath {
        self.folder.join(relative)
    }

    /// Puts files in place: those whose bytes changed, in an order in which nothing names what is not there yet. Of an
    /// Envoy that `files` has files of, it removes those that are no longer wanted; nothing that has not one of our names.
    ///
    /// # Errors
    /// [`WriteError`] for the first file that cannot be read, written or removed. What was written before it is in force and
    /// consistent; writing the same files again completes them.
    pub fn write(&self, files: &[File]) -> Result<Written, WriteError> {
        write::write(&self.folder, files)
    }
}
