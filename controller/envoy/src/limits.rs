//! How many connections an Envoy accepts, set while it runs.
//!
//! The number follows from the file descriptors of Envoy's process, which are known only once it
//! runs. So it is in a file that Envoy watches (its runtime, by RTDS from disk), not in the
//! bootstrap, which Envoy reads only at its start. Two keys set limits, beyond which connections
//! are closed at once:
//!
//! - `overload.global_downstream_max_connections` counts the connections of all listeners
//!   (`downstream_global_cx_overflow`). Envoy deprecates it in favour of a number in the bootstrap,
//!   which would take precedence, so the bootstrap must not have one.
//! - `envoy.resource_limits.listener.federation.connection_limit` counts those of peers and
//!   strangers (`downstream_cx_overflow`).

use super::resource::{discovery, source, typed};
use super::{Connections, FilePath};
use serde_json::{Value, json};

/// The name of the layer and of its file.
const NAME: &str = "limits";
/// The limit for all connections.
const GLOBAL: &str = "overload.global_downstream_max_connections";
/// The limit for connections of peers and strangers.
const FEDERATION: &str = "envoy.resource_limits.listener.federation.connection_limit";
/// How many of the gateway's connections are kept for local programs. So the controller can check
/// whether the gateway runs, even if strangers hold the rest.
const LOCAL: u32 = 8;

pub(super) fn file(role: &str) -> String {
    format!("{role}/{NAME}.json")
}

/// The file of an Envoy that accepts `connections`.
pub(super) fn limits(connections: Connections) -> Value {
    runtime(json!({ GLOBAL: connections.0 }))
}

/// The gateway's file.
pub(super) fn of_gateway(Connections(connections): Connections) -> Value {
    runtime(json!({ GLOBAL: connections, FEDERATION: connections - LOCAL.min(connections / 2) }))
}

fn runtime(layer: Value) -> Value {
    discovery(vec![typed("service.runtime.v3.Runtime", json!({ "name": NAME, "layer": layer }))])
}

/// The bootstrap's layers. Without the file, Envoy accepts few connections.
pub(super) fn layers(folder: &FilePath) -> [Value; 2] {
    let file = folder.join(&format!("{NAME}.json"));
    [
        json!({ "name": "unseen", "static_layer": { GLOBAL: Connections::UNSEEN.0 } }),
        json!({ "name": NAME, "rtds_layer": { "name": NAME, "rtds_config": source(&file) } }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_connections_are_reserved_for_local_programs() {
        let of = |connections| {
            let file = of_gateway(Connections(connections));
            [GLOBAL, FEDERATION].map(|key| file["resources"][0]["layer"][key].as_u64().unwrap())
        };
        assert_eq!(of(80), [80, 72]);
        assert_eq!(of(4), [4, 2]);
        assert_eq!(of(1), [1, 1]);
    }
}
