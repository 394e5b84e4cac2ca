//! This cluster's roots, which istiod writes into every namespace of its mesh.

use crate::api::watch::Key;
use fedgate_core::TrustDomain;
use fedgate_federation::bundle::{Root, roots_from_pem};
use fedgate_federation::credentials::{Credentials, PodChain, RootSource};
use fedgate_federation::document::Limits;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;

/// The key of the ConfigMap with the roots.
pub(crate) const KEY: &str = "root-cert.pem";

/// The roots in a ConfigMap, or what is wrong with it.
pub(crate) type Roots = Result<Vec<Root>, String>;

/// Extracts the roots.
pub(crate) fn keep(object: DynamicObject) -> Roots {
    let pem = object.data.pointer("/data").and_then(|data| data.get(KEY)).and_then(Value::as_str);
    let pem = pem.ok_or_else(|| format!("expected the key {KEY}, found none"))?;
    let roots: Result<Vec<_>, _> =
        roots_from_pem(pem, Limits::default().certificate_bytes).into_iter().collect();
    match roots {
        Ok(roots) => Ok(roots),
        Err(error) => {
            Err(format!("{KEY}: expected CA certificates in PEM and nothing else, {error}"))
        }
    }
}

/// The roots. Without them nothing is published, and a finding says why.
pub(crate) fn roots(
    found: &BTreeMap<Key, Roots>,
    (namespace, name): (&str, &str),
    findings: &mut Vec<Finding>,
) -> Vec<Root> {
    let key = Key { namespace: namespace.to_owned(), name: name.to_owned() };
    let why = match found.get(&key) {
        Some(Ok(roots)) => return roots.clone(),
        Some(Err(why)) => why.clone(),
        None => "there is no such ConfigMap; istiod writes it into every namespace of its mesh: check that istiod runs, and --roots-configmap".to_owned(),
    };
    let object = object((namespace, name));
    let message =
        format!("{why}. Until this cluster's roots are known, nothing is published to peers");
    findings.push(Finding::error(FindingReason::NoRoots, object, "data", message));
    Vec::new()
}

fn object((namespace, name): (&str, &str)) -> ObjectRef {
    ObjectRef { namespace: Some(namespace.to_owned()), ..ObjectRef::new("ConfigMap", name) }
}

/// What is wrong with the roots and with the certificates that the gateway's Pods present, and
/// when each is valid.
pub(crate) fn credentials(
    roots: &[Root],
    config_map: (&str, &str),
    pods: &[PodChain<'_>],
    ours: &TrustDomain,
) -> Credentials {
    Credentials::of_gateway(
        pods,
        &RootSource { roots, object: object(config_map), field: FIELD },
        ours,
    )
}

/// Their field in the ConfigMap.
const FIELD: &str = "data[root-cert.pem]";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_roots_a_finding_says_what_is_wrong() {
        let read = |object: Value| {
            let key = Key { namespace: "fedgate-system".into(), name: "istio-ca-root-cert".into() };
            let found = BTreeMap::from([(key, keep(serde_json::from_value(object).unwrap()))]);
            let mut findings = Vec::new();
            let roots = roots(&found, ("fedgate-system", "istio-ca-root-cert"), &mut findings);
            (roots.len(), findings.pop().map(|finding| finding.message).unwrap_or_default())
        };
        let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        assert!(
            read(json!({ "metadata": {}, "data": {} }))
                .1
                .contains("expected the key root-cert.pem")
        );
        assert!(read(json!({ "metadata": {}, "data": { KEY: "" } })).1.contains("found nothing"));
        assert!(read(json!({ "metadata": {}, "data": { KEY: "nonsense" } })).0 == 0);
        assert!(
            read(json!({ "metadata": {}, "data": { KEY: ca } })).1.contains("CA certificates"),
            "a leaf is no root"
        );
    }
}
