//! The sink of the files platform: the files that two Envoys read.
//!
//! Pure functions turn [`GatewayInputs`] and [`EgressInputs`] into files, and [`EnvoyFiles::write`]
//! puts them in place by rename. Envoy watches the files, so it never needs a restart or a signal.
//! A cluster's folder `envoy/`:
//!
//! | file | what it is | changes when |
//! | --- | --- | --- |
//! | `gateway/bootstrap.json` | what Envoy is started with (`--config-path`) | the settings change |
//! | `gateway/lds.json` | the federation listener, and the one that answers for the health name | the settings change; never with a table |
//! | `gateway/cds.json` | a cluster for each export, and the black hole | exports or their endpoints change |
//! | `gateway/identity.json` | the cluster's own certificate and key (mode 0600) | they are renewed |
//! | `gateway/limits.json`, `egress/limits.json` | how many connections it accepts | its process is seen with other limits |
//! | `gateway/trust/bundles.json` | the peers' roots, each bound to its trust domain | a peer's roots change |
//! | `gateway/filter/filter.json` | the filter and its table | the table changes |
//! | `gateway/filter/fedgate_filter-<hash>.wasm` | the filter's module | the module changes |
//! | `egress/bootstrap.json` | what Envoy is started with | the settings change |
//! | `egress/lds.json` | a local port for each import and each federated name, an address of an import's host and the port for server names if these are set, and the listener that shows that the egress runs | imports and names come and go |
//! | `egress/cds.json` | a cluster for each peer: its gateways, its roots, the identities that its gateways may have; and a second one if TLS passes through to its workloads; for each federated name, a cluster for each member, and an aggregate of them | any of these changes |
//! | `egress/identity.json` | the cluster's own certificate and key (mode 0600) | they are renewed |
//!
//! Experiments with Envoy 1.40 shaped the files:
//!
//! - The table's file has its own folder. Envoy watches folders. Of two files in one watched
//!   folder, it may first read the one that was written second (in 63 of 100 tries), and the table
//!   would name clusters that do not exist yet. In separate folders it reads them in the order they
//!   were written (0 of 100).
//! - Each watched file costs an inotify instance. A user has 128, and Envoy aborts if it gets none.
//!   So the number of watched files does not depend on peers: a peer's roots are part of its
//!   cluster, and only the cluster's own identity is a secret (SDS from a file). The secret holds
//!   the bytes of certificate and key instead of their paths, because Envoy watches only renames
//!   and reads two files one after the other.
//! - If a certificate has several URI SANs, the SPIFFE validator takes the first, but
//!   `match_typed_subject_alt_names` takes any. With one bundle map for all peers and a matcher in
//!   each cluster, one peer could pass for another. So each cluster has only its peer's roots.
//! - Envoy refuses an empty bundle map: at start the listener would be missing, later the last
//!   peer's roots would stay in force. So the map is never empty. Without peers it has the
//!   cluster's own roots, under a trust domain that no certificate can have.
//! - Changing or removing a cluster closes no connection. The filter closes those no longer
//!   granted.
//! - Two Envoys of one user can listen on the same port without an error, and each gets some of the
//!   connections. So imports' ports are not shared (`enable_reuse_port`), and a port that is taken
//!   costs only its own import.
//! - A cluster with names looks up each name by itself: 64 names in 99 imports caused 1,267 lookups
//!   a second. So all clusters have addresses (the module `lookup` of `fedgate-exchange`).
//!
//! Known gaps: if another program takes a port between its allocation and its use, only Envoy
//! reports it, and retries only with the next change of `lds.json`. The number of Envoy's workers
//! and its drain time are set on its command line.

// Tests create files the way operators and their editors do, and start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod access_log;
mod addresses;
mod bootstrap;
mod cluster;
pub mod connections;
mod descriptors;
mod egress;
mod federated;
mod federated_ports;
mod file;
pub mod filter;
mod gateway;
pub mod health;
mod health_check;
mod identity;
mod inputs;
mod limits;
pub mod listener;
mod localities;
pub mod members;
mod named;
pub mod plugin;
mod ports;
pub mod proxy_protocol;
pub mod resource;
mod shares;
mod stats;
mod text;
pub mod trust;
mod write;

pub use addresses::{AddressRange, HostAddresses, NamedHosts, allocate_addresses, lacking};
pub use connections::Quiet;
pub use descriptors::Descriptors;
pub use federated_ports::allocate_federated;
pub use file::{File, FilePath, PathError};
pub use filter::{FilterKind, FilterModule};
pub use health_check::health_check;
pub use identity::{Identity, IdentityError};
pub use inputs::{AccessLog, Connections, EgressInputs, GatewayInputs};
pub use named::EgressNames;
pub use ports::{Allocation, PortRequest, allocate};
pub use resource::metric_name;
pub use write::{WriteError, Written};

use std::path::Path;

/// The folder that Envoy reads: see the [module](self).
#[derive(Debug)]
pub struct EnvoyFiles {
    folder: FilePath,
    gateway: gateway::GatewayTexts,
    egress: egress::EgressTexts,
}

impl EnvoyFiles {
    /// Uses `folder`, which need not exist yet. A relative path is resolved once, against the
    /// current directory.
    ///
    /// # Errors
    /// [`PathError`] if the path cannot be written in a JSON file.
    pub fn new(folder: &Path) -> Result<Self, PathError> {
        Ok(Self {
            folder: FilePath::new(folder)?,
            gateway: gateway::GatewayTexts::default(),
            egress: egress::EgressTexts::default(),
        })
    }

    /// All files of the gateway Envoy, which is started with `gateway/bootstrap.json`.
    pub fn gateway(&mut self, inputs: &GatewayInputs<'_>) -> Vec<File> {
        gateway::files(&self.folder, &mut self.gateway, inputs)
    }

    /// All files of the egress Envoy, which is started with `egress/bootstrap.json`.
    pub fn egress(&mut self, inputs: &EgressInputs<'_>) -> Vec<File> {
        egress::files(&self.folder, &mut self.egress, inputs)
    }

    /// The certificate and key that were last written for the gateway. `None` if there are none.
    pub fn last_identity(&self) -> Option<Identity> {
        Identity::from_secret(&write::bytes(self.path(gateway::IDENTITY).as_ref()).ok()?)
    }

    /// The socket, in Envoy's notation, where the gateway answers `/healthz` to local programs.
    pub fn gateway_socket(&self) -> String {
        health::socket(self.folder.as_str())
    }

    /// The socket where the egress answers `/healthz`.
    pub fn egress_socket(&self) -> String {
        egress::socket(&self.folder)
    }

    /// The socket where the egress answers which members of federated names it finds alive.
    pub fn members_socket(&self) -> String {
        egress::members_socket(&self.folder)
    }

    /// The full path of a file with this relative path.
    pub fn path(&self, relative: &str) -> FilePath {
        self.folder.join(relative)
    }

    /// Writes the files whose bytes changed, in an order in which no file names anything that does
    /// not exist yet. If `files` has files of an Envoy, this also removes that Envoy's unwanted
    /// files. Files without one of our names are never removed.
    ///
    /// # Errors
    /// [`WriteError`] for the first file that cannot be read, written or removed. What was written
    /// before it is in force and consistent. Writing the same files again completes the rest.
    pub fn write(&self, files: &[File]) -> Result<Written, WriteError> {
        write::write(&self.folder, files)
    }
}
