//! The Services whose workloads were told to believe the peers' roots: TLS can be passed through to them.
//!
//! It is asked of the API server and not of the writer, so that every replica knows it, and a new leader as well as the one before.

use crate::api::watch::{Key, Watched};
use fedgate_federation::federate::Passthrough;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// The label of these EnvoyFilters, beside that of their owner.
pub(crate) const LABEL: &str = "fedgate.dev/passthrough";

/// What their names begin with; the Service's name follows.
const PREFIX: &str = "fedgate-passthrough-";

/// What lets the controller write them.
pub(crate) const CURE: &str = "set gateway.passthrough in the chart's values, or apply deploy/passthrough/rbac.yaml, whose ClusterRole fedgate-passthrough lets the controller write \
                               EnvoyFilters in the namespaces of such Services";

/// The name of the EnvoyFilter for a Service of its namespace.
pub(crate) fn name_for(service: &str) -> String {
    format!("{PREFIX}{service}")
}

/// What is kept of an object: that it is there.
pub(crate) fn keep(_: DynamicObject) {}

/// What is seen of them. `None`: nobody looks, since passthrough is not switched on.
pub(crate) type Seen = Option<Result<BTreeSet<Key>, String>>;

/// What a watch sees.
pub(crate) fn seen(watched: &Watched<()>) -> Result<BTreeSet<Key>, String> {
    match watched.failure().filter(|_| !watched.is_listed()) {
        Some(why) => Err(why),
        None => Ok(watched.all().into_keys().collect()),
    }
}

/// Whether the first answer is still to come. A refusal is one: it stays until somebody gives the permission, and must not hold up
/// everything else.
pub(crate) fn missing(watched: &Watched<()>) -> Option<String> {
    let is_refused = watched.failure().is_some_and(|why| why.contains(" 403: "));
    super::missing(watched).filter(|_| !is_refused)
}

/// Whether TLS can be passed through, and to whom.
pub(crate) fn passthrough(seen: &Seen) -> Passthrough {
    match seen {
        None => Passthrough::Impossible(format!(
            "passthrough is not switched on in this cluster: start the controller with --passthrough and {CURE}; or remove the annotation"
        )),
        Some(Err(why)) => Passthrough::Impossible(format!("the controller cannot list EnvoyFilters ({why}): {CURE}")),
        Some(Ok(keys)) => {
            let service = |key: &Key| Some((key.namespace.clone(), key.name.strip_prefix(PREFIX)?.to_owned()));
            Passthrough::Prepared(keys.iter().filter_map(service).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn a_service_is_prepared_when_its_object_is_there() {
        let keys = BTreeSet::from([key("shop", &name_for("web")), key("shop", "other")]);
        assert_eq!(passthrough(&Some(Ok(keys))), Passthrough::Prepared([("shop".into(), "web".into())].into()));
    }

    #[test]
    fn what_stands_in_the_way_is_told_with_the_cure() {
        for seen in [None, Some(Err("the API server says 403: no".to_owned()))] {
            let Passthrough::Impossible(why) = passthrough(&seen) else { panic!("it is not possible") };
            assert!(why.contains("deploy/passthrough/rbac.yaml"), "{why}");
        }
    }
}
