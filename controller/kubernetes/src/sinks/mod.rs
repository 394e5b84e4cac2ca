//! What is written: which objects there must be (`gateway`, `imports`, `memory`), pure functions of what was compiled, and how
//! they get there (`writer`).
//!
//! | where | object | changes when |
//! | --- | --- | --- |
//! | gateway namespace | ConfigMap `fedgate-trust-bundle` | a peer's roots do |
//! | gateway namespace | ConfigMap `fedgate-filter` | the controller's version does |
//! | gateway namespace | EnvoyFilter `fedgate-table`, or WasmPlugin `fedgate` | each table |
//! | gateway namespace | EnvoyFilter `fedgate-gateway` | the settings do; never with a table |
//! | gateway namespace | Gateway `fedgate-gateway`, VirtualService and ServiceEntry `fedgate-black-hole` | the settings do |
//! | imports namespace | ServiceEntry, DestinationRule: one for each imported host, by its name | the import does |
//! | mesh root namespace | EnvoyFilter: at most sixteen for each peer, with a patch for each imported host | an import comes or goes, the peer's roots change |
//! | fedgate's namespace | ConfigMap `fedgate-state` | what is published does |
//! | fedgate's namespace | ConfigMap `fedgate-peer-…`: one for each peer | the peer's documents do |

pub(super) mod apply;
pub(super) mod bindings;
pub(super) mod events;
pub(super) mod gateway;
pub(super) mod imports;
pub(super) mod memory;
pub(super) mod object;
pub(super) mod outputs;
pub(super) mod pace;
pub(super) mod passthrough;
mod patch;
pub(super) mod plan;
pub(super) mod statuses;
pub(super) mod table;
pub(super) mod writer;
