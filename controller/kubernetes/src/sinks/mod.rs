//! The objects that the controller writes. `gateway`, `imports` and `memory` are pure functions
//! from a compilation to the wanted objects; `writer` brings them into the cluster.
//!
//! | where | object | changes when |
//! | --- | --- | --- |
//! | gateway namespace | ConfigMap `fedgate-trust-bundle` | a peer's roots change |
//! | gateway namespace | ConfigMap `fedgate-filter` | the controller's version changes |
//! | gateway namespace | EnvoyFilter `fedgate-table`, or WasmPlugin `fedgate` | the table changes |
//! | gateway namespace | EnvoyFilter `fedgate-gateway` | the settings change; never with a table |
//! | gateway namespace | Gateway `fedgate-gateway`, VirtualService and ServiceEntry `fedgate-black-hole` | the settings change |
//! | gateway namespace | ServiceEntry: one for each Pod that is exported by name, with its name | the Pod comes, goes, or becomes ready or not |
//! | imports namespace | ServiceEntry, DestinationRule: one for each imported host, with its name | the import changes |
//! | mesh root namespace | EnvoyFilter: at most sixteen for each peer, with a patch for each imported host | an import comes or goes, or the peer's roots change |
//! | imports namespace | ServiceEntry, DestinationRule, VirtualService: one for each `FederatedService`, with its host as name; the latter two only if members share calls | the object changes |
//! | mesh root namespace | EnvoyFilter `fedgate-federated-…`: at most sixteen, with the patches of `FederatedService`s | a member is passed over or comes back |
//! | the namespace of a `FederatedService` | ServiceImport with its name, if enabled | a member comes or goes |
//! | fedgate's namespace | ConfigMap `fedgate-state` | what is published changes |
//! | fedgate's namespace | ConfigMap `fedgate-peer-…`: one for each peer | the peer's documents change, or an import gets or loses an address |

pub(super) mod addresses;
pub(super) mod apply;
pub(super) mod bindings;
pub(super) mod corrections;
pub(super) mod events;
pub(super) mod federated;
pub(super) mod gateway;
pub(super) mod imports;
pub(super) mod memory;
pub(super) mod object;
pub(super) mod outputs;
pub(super) mod passthrough;
mod patch;
pub(super) mod plan;
pub(super) mod pods;
mod reserved;
pub(super) mod service_exports;
pub(super) mod service_imports;
pub(super) mod statuses;
pub(super) mod table;
pub(super) mod writer;
