//! Findings of the adapters, one for each reason: none has words of Rust or of a library.

use super::identity::ClusterIdentity;
use super::identity::stored::Stored;
use super::kind::Kind;
use super::sample::Sample;
use super::settings::tests::read as flags;
use super::sinks::object::{Desired, Head};
use super::sinks::{apply, gateway, writer};
use super::sources::{self, Seen};
use super::watch::Key;
use crate::envoy::Allocation;
use crate::running::Running;
use crate::settings::Settings;
use crate::{advice, cluster_identity, readable, run, sinks};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The reasons whose findings other tests look at: `files_platform/messages.rs`, and those of `capacity` and `shipping`.
const ELSEWHERE: [FindingReason; 7] = [
    FindingReason::Unreadable,
    FindingReason::InvalidObject,
    FindingReason::UnknownKind,
    FindingReason::UnknownField,
    FindingReason::TooFewDescriptors,
    FindingReason::TooFewInotify,
    FindingReason::ModuleHeldBack,
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
    let refused = kube::Error::Api(Box::new(kube::core::Status::failure("not allowed", "Forbidden").with_code(403)));
    let loaded = Condition {
        kind: ConditionType::TableLoaded,
        status: ConditionStatus::False,
        reason: "NotLoaded".into(),
        message: "Pod fedgate-gateway-0 has generation 1, expected 2".into(),
    };
    let mut findings = vec![
        apply::conflict(&desired, "an object of this name is there without fedgate's label"),
        apply::contested(&desired),
        apply::failed(&apply::object_ref(&desired), &refused),
        gateway::too_large(2_000_000, cluster()),
    ];
    findings.extend(writer::not_loaded(&loaded, &flags(&[]).unwrap()));
    findings
}

fn of_sources() -> Vec<Finding> {
    let mut findings = Vec::new();
    let own = crate::loopback::identity();
    let own = ClusterIdentity { cluster_uuid: own.cluster_uuid, key: own.key, replaced_at: None };
    for stored in [Stored::Gone, Stored::Damaged("authn.key")] {
        findings.extend(own.lost(Some(&stored), &flags(&[]).unwrap()));
    }
    sources::gateway::addresses(&flags(&[]).unwrap(), &Seen::default(), &mut findings);
    sources::roots::roots(&BTreeMap::new(), ("fedgate-system", "istio-ca-root-cert"), &mut findings);
    let imports = Sample::healthy().snapshot().in_force.federation.imports;
    let object = json!({
        "metadata": { "name": "x", "namespace": "a" },
        "spec": { "hosts": [imports[0].service.host.as_str()] },
    });
    let hosts = sources::entries::keep(serde_json::from_value(object).unwrap());
    let entries = BTreeMap::from([(Key { namespace: "a".into(), name: "x".into() }, hosts)]);
    findings.extend(sources::entries::taken(&entries, &imports));
    findings
}

fn of_files() -> Vec<Finding> {
    let text = "trustDomain: alpha.example\ngateway: {listen: 127.0.0.1:1}\nmetadata: {listen: 127.0.0.1:2, plain: true}\n\
                identity: {certificateChain: a, privateKey: b, roots: c}\n";
    let settings = Settings::parse(Path::new("/etc/fedgate"), text).unwrap();
    let without_port = BTreeSet::from(["web.shop.svc.beta.example:80".parse().unwrap()]);
    let allocation = Allocation { without_port, ..Allocation::default() };
    let now = Timestamp::UNIX_EPOCH;
    let mut findings = sinks::missing_ports(&settings, &allocation, 100);
    findings.extend(Running { gateway: false, egress: false }.findings(&cluster()));
    findings.push(run::reload::restart_needed(cluster(), "keyFile"));
    findings.extend(cluster_identity::replaced(Some(now), cluster(), now));
    findings
}

#[test]
fn every_finding_of_an_adapter_is_told_in_words_of_a_colleague() {
    let findings = [of_writer(), of_sources(), of_files()].concat();
    let produced: BTreeSet<_> = findings.iter().map(|finding| finding.reason).chain(ELSEWHERE).collect();
    let missing: Vec<_> = FindingReason::OF_ADAPTERS.iter().filter(|reason| !produced.contains(reason)).collect();
    assert_eq!(missing, Vec::<&FindingReason>::new());
    let messages: Vec<_> = findings.iter().map(ToString::to_string).collect();
    readable::assert_readable(&messages, advice::problems_of_finding);
}
