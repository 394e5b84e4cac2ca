//! The status of a `ServiceImport`: which clusters export the Service, and whether calls get
//! through.

use super::DesiredStatus;
use super::federated::ready;
use super::service_export::conditions;
use crate::api::fingerprint::fingerprint;
use crate::crd::status::PeerCondition;
use crate::sources::mcs::McsObject;
use fedgate_federation::federate::{ConditionStatus, FederatedService};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;

/// Computes the status.
pub(crate) fn desired(
    object: &McsObject,
    service: &FederatedService,
    clusters: &BTreeSet<String>,
    now: Timestamp,
) -> DesiredStatus {
    let clusters: Vec<_> = clusters.iter().map(|cluster| json!({ "cluster": cluster })).collect();
    let status = json!({
        "clusters": clusters,
        "conditions": conditions(object, vec![condition(service)], now),
        // Sidecars get the endpoints from Istio's objects.
        "endpointSliceObjects": "Absent",
    });
    DesiredStatus { fingerprint: fingerprint(&status), value: status, transitions: Vec::new() }
}

/// The condition Ready of the `FederatedService`, with a reason of the API.
fn condition(service: &FederatedService) -> PeerCondition {
    let ready = ready(Some(service));
    let reason = match ready.status {
        ConditionStatus::True => "Ready",
        ConditionStatus::False | ConditionStatus::Unknown => "Pending",
    };
    PeerCondition { reason: reason.to_owned(), ..ready }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::mcs::keep;
    use fedgate_core::Hostname;

    #[test]
    fn the_status_names_the_clusters_and_keeps_its_times() {
        let object = |status| {
            let metadata = json!({ "namespace": "shop", "name": "web", "generation": 1 });
            keep(serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap())
        };
        let service = FederatedService {
            namespace: "shop".into(),
            name: "web".into(),
            source: None,
            host: Hostname::parse("web.shop.svc.clusterset.local").unwrap(),
            ports: Vec::new(),
        };
        let clusters = BTreeSet::from(["beta".to_owned()]);
        let first = desired(&object(json!({})), &service, &clusters, Timestamp::UNIX_EPOCH);
        assert_eq!(first.value["clusters"], json!([{ "cluster": "beta" }]));
        assert_eq!(first.value["conditions"][0]["reason"], "Ready");
        let later = Timestamp::from_second(9).unwrap();
        let again = desired(&object(first.value.clone()), &service, &clusters, later);
        assert_eq!(again.fingerprint, first.fingerprint);
    }
}
