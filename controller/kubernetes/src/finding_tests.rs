//! Checks one finding of the adapters for each reason: none may contain words of Rust or of a
//! library.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::identity::ClusterIdentity;
use crate::identity::stored::Stored;
use crate::sample::Sample;
use crate::settings::tests::read as flags;
use crate::sinks::object::{Desired, Head};
use crate::sinks::{addresses, apply, gateway, writer};
use crate::sources::{self, Observed};
use crate::{advice, readable};
use fedgate_envoy::NamedHosts;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The reasons whose findings are checked elsewhere: in the tests of the files platform, of
/// `capacity`, of `shipping` and of `identity`.
const ELSEWHERE: [FindingReason; 11] = [
    FindingReason::Unreadable,
    FindingReason::InvalidObject,
    FindingReason::UnknownKind,
    FindingReason::UnknownField,
    FindingReason::TooFewDescriptors,
    FindingReason::TooFewInotify,
    FindingReason::ModuleHeldBack,
    FindingReason::NoEgressPort,
    FindingReason::EnvoyNotRunning,
    FindingReason::RestartNeeded,
    FindingReason::IdentityReplaced,
];

fn cluster() -> ObjectRef {
    ObjectRef::cluster("alpha.example")
}

fn of_writer() -> Vec<Finding> {
    let head = Head {
        kind: Kind::ConfigMap,
        namespace: "fedgate-system",
        name: "fedgate-state",
        owner: "fedgate-system",
        peer: None,
    };
    let desired = Desired::new(head, json!({}));
    let refused = kube::Error::Api(Box::new(
        kube::core::Status::failure("not allowed", "Forbidden").with_code(403),
    ));
    let loaded = Condition {
        kind: ConditionType::TableLoaded,
        status: ConditionStatus::False,
        reason: "NotLoaded".into(),
        message: "Pod fedgate-gateway-0 has generation 1, expected 2".into(),
    };
    let mut findings = vec![
        apply::conflict(&desired, "an object with this name exists without fedgate's label"),
        apply::contested(&desired),
        apply::failed(&apply::object_ref(&desired), &refused),
        gateway::too_large(2_000_000, cluster()),
    ];
    findings.extend(writer::not_loaded(&loaded, &flags(&[]).unwrap()));
    findings
}

fn of_sources() -> Vec<Finding> {
    let mut findings = Vec::new();
    let own = fedgate_exchange::loopback::identity();
    let (cluster_uuid, key) = (own.cluster_uuid, own.key);
    let own = ClusterIdentity {
        cluster_uuid: cluster_uuid.clone(),
        keys: key.clone().into(),
        replaced_at: None,
    };
    let without_other = Stored::WithoutOther(cluster_uuid, key, "the same key");
    for stored in [Stored::Gone, Stored::Damaged("authn.key"), without_other] {
        findings.extend(own.lost(Some(&stored), &flags(&[]).unwrap()));
    }
    sources::gateway::addresses(&flags(&[]).unwrap(), &Observed::default(), &mut findings);
    let service = ObjectRef::service("fedgate-system", "fedgate-gateway");
    findings.extend(sources::balancer::finding(
        &flags(&[]).unwrap(),
        service,
        "load-balancer.hetzner.cloud/uses-proxyprotocol",
    ));
    sources::roots::roots(
        &BTreeMap::new(),
        ("fedgate-system", "istio-ca-root-cert"),
        &mut findings,
    );
    let federation = Sample::healthy().snapshot().in_force.federation;
    let imports = &federation.imports;
    let object = json!({
        "metadata": { "name": "x", "namespace": "a" },
        "spec": { "hosts": [imports.iter().next().unwrap().service.host.as_str()] },
    });
    let hosts = sources::entries::keep(serde_json::from_value(object).unwrap());
    let entries = BTreeMap::from([(Key { namespace: "a".into(), name: "x".into() }, hosts)]);
    findings.extend(sources::entries::taken(&entries, &federation));
    let with_range = flags(&["--import-addresses", "240.96.0.0/16"]).unwrap();
    findings.extend(addresses::missing(&with_range, NamedHosts::of(&federation), &BTreeMap::new()));
    findings
}

#[test]
fn every_finding_of_an_adapter_is_readable() {
    let findings = [of_writer(), of_sources()].concat();
    let produced: BTreeSet<_> =
        findings.iter().map(|finding| finding.reason).chain(ELSEWHERE).collect();
    let missing: Vec<_> =
        FindingReason::OF_ADAPTERS.iter().filter(|reason| !produced.contains(reason)).collect();
    assert_eq!(missing, Vec::<&FindingReason>::new());
    let messages: Vec<_> = findings.iter().map(ToString::to_string).collect();
    readable::assert_readable(&messages, advice::problems_of_finding);
}
