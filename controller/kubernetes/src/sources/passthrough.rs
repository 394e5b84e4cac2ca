//! The Services with TLS passthrough: those whose workloads are configured to trust the peers'
//! roots.
//!
//! The list comes from the API server and not from the writer. So every replica knows it, including
//! a new leader.

use crate::api::watch::{Key, Watched};
use fedgate_federation::federate::Passthrough;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// The label of these EnvoyFilters, in addition to the owner label.
pub(crate) const LABEL: &str = "fedgate.dev/passthrough";

/// The prefix of their names; the Service's name follows.
const PREFIX: &str = "fedgate-passthrough-";

/// What gives the controller the permission to write them.
pub(crate) const CURE: &str = "set gateway.passthrough in the chart's values, or apply deploy/passthrough/rbac.yaml, whose ClusterRole fedgate-passthrough lets the controller write \
                               EnvoyFilters in the namespaces of such Services";

/// The name of the EnvoyFilter for a Service of its namespace.
pub(crate) fn name_for(service: &str) -> String {
    format!("{PREFIX}{service}")
}

/// Only the existence of the object matters.
pub(crate) fn keep(_: DynamicObject) {}

/// The EnvoyFilters that exist; `None` if passthrough is disabled.
pub(crate) type Prepared = Option<Result<BTreeSet<Key>, String>>;

/// What a watch shows.
pub(crate) fn prepared(watched: &Watched<()>) -> Result<BTreeSet<Key>, String> {
    match watched.failure().filter(|_| !watched.is_listed()) {
        Some(why) => Err(why),
        None => Ok(watched.all().into_keys().collect()),
    }
}

/// Why the first answer is still missing. A refusal counts as an answer: it lasts until an operator
/// grants the permission, and must not block everything else.
pub(crate) fn missing(watched: &Watched<()>) -> Option<String> {
    let is_refused = watched.failure().is_some_and(|why| why.contains(" 403: "));
    super::missing(watched).filter(|_| !is_refused)
}

/// Whether TLS can be passed through, and to which Services.
pub(crate) fn passthrough(prepared: &Prepared) -> Passthrough {
    match prepared {
        None => Passthrough::Impossible(format!(
            "passthrough is not enabled in this cluster: start the controller with --passthrough and {CURE}; or remove the annotation"
        )),
        Some(Err(why)) => Passthrough::Impossible(format!(
            "the controller cannot list EnvoyFilters ({why}): {CURE}"
        )),
        Some(Ok(keys)) => {
            let service = |key: &Key| {
                Some((key.namespace.clone(), key.name.strip_prefix(PREFIX)?.to_owned()))
            };
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
    fn a_service_is_prepared_once_its_envoy_filter_exists() {
        let keys = BTreeSet::from([key("shop", &name_for("web")), key("shop", "other")]);
        assert_eq!(
            passthrough(&Some(Ok(keys))),
            Passthrough::Prepared([("shop".into(), "web".into())].into())
        );
    }

    #[test]
    fn an_obstacle_is_reported_with_its_remedy() {
        for listed in [None, Some(Err("the API server says 403: no".to_owned()))] {
            let Passthrough::Impossible(why) = passthrough(&listed) else {
                panic!("it is not possible")
            };
            assert!(why.contains("deploy/passthrough/rbac.yaml"), "{why}");
        }
    }
}
