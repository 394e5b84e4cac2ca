//! How many connections an Envoy takes, as it is told while it runs.
//!
//! The number follows from the descriptors of Envoy's process, which are known once it runs. So it stands in a file that Envoy watches (its
//! runtime, by RTDS from disk), and not in the bootstrap, which Envoy reads at its start. Two keys limit it, and what is above is closed at once:
//!
//! - `overload.global_downstream_max_connections` counts the connections of all listeners (`downstream_global_cx_overflow`). Envoy calls
//!   it deprecated in favour of a number in the bootstrap, which takes precedence; so there must be none.
//! - `envoy.resource_limits.listener.federation.connection_limit` counts those of peers and strangers (`downstream_cx_overflow`).

use super::resource::{discovery, source, typed};
use super::{Connections, FilePath};
use serde_json::{Value, json};

/// The name of the layer, and of its file.
const NAME: &str = "limits";
/// All connections.
const GLOBAL: &str = "overload.global_downstream_max_connections";
/// Those of peers and strangers.
const FEDERATION: &str = "envoy.resource_limits.listener.federation.connection_limit";
/// How many connections of the gateway are kept for local programs: the controller asks whether it runs, also when strangers hold the rest.
const LOCAL: u32 = 8;

pub(super) fn file(role: &str) -> String {
    format!("{role}/{NAME}.json")
}

/// The file of an Envoy that takes `connections`.
pub(super) fn limits(connections: Connections) -> Value {
    runtime(json!({ GLOBAL: connections.0 }))
}

/// The gateway's.
pub(super) fn of_gateway(Connections(connections): Connections) -> Value {
    runtime(json!({ GLOBAL: connections, FEDERATION: connections - LOCAL.min(connections / 2) }))
}

fn runtime(layer: Value) -> Value {
    discovery(vec![typed("service.runtime.v3.Runtime", json!({ "name": NAME, "layer": layer }))])
}

/// The layers of the bootstrap: without the file an Envoy takes few.
pub(super) fn layers(folder: &FilePath) -> Value {
    let file = folder.join(&format!("{NAME}.json"));
    json!({ "layers": [
        { "name": "unseen", "static_layer": { GLOBAL: Connections::UNSEEN.0 } },
        { "name": NAME, "rtds_layer": { "name": NAME, "rtds_config": source(&file) } },
    ] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_some_connections_to_local_programs() {
        let of = |connections| {
            let file = of_gateway(Connections(connections));
            [GLOBAL, FEDERATION].map(|key| file["resources"][0]["layer"][key].as_u64().unwrap())
        };
        assert_eq!(of(80), [80, 72]);
        assert_eq!(of(4), [4, 2]);
        assert_eq!(of(1), [1, 1]);
    }
}
