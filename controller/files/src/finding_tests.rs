//! Findings of the files platform, one for each reason. None may use words of Rust or of libraries.

use crate::settings::{Settings, restart_needed};
use crate::site::names;
use crate::{advice, cluster_identity, readable, sinks};
use fedgate_core::TrustDomain;
use fedgate_engine::running::Running;
use fedgate_envoy::{AddressRange, NamedHosts};
use fedgate_federation::federate::{Import, Protocol, ServerIdentity};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

fn cluster() -> ObjectRef {
    ObjectRef::cluster("alpha.example")
}

fn import(service: &str, owner: &str) -> Import {
    let trust_domain: TrustDomain = owner.parse().unwrap();
    Import {
        peer: "beta".parse().unwrap(),
        service: service.parse().unwrap(),
        port_name: "http".to_owned(),
        protocol: Protocol::Http,
        gateways: [].into(),
        passthrough: false,
        server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
        trust_domain,
    }
}

fn of_files() -> Vec<Finding> {
    let text = "trustDomain: alpha.example\ngateway: {listen: 127.0.0.1:1}\nmetadata: {listen: 127.0.0.1:2, plain: true}\n\
                identity: {certificateChain: a, privateKey: b, roots: c}\n";
    let settings = Settings::parse(Path::new("/etc/fedgate"), text).unwrap();
    let imports = [import("web.shop.svc.beta.example:80", "beta.example")].into_iter().collect();
    let now = Timestamp::UNIX_EPOCH;
    let mut findings = sinks::missing_ports(&settings, &imports, &BTreeMap::new(), 100);
    let range = AddressRange::parse("127.96.0.0/16").unwrap();
    findings.extend(names::missing(
        &range,
        NamedHosts { imports: &imports, federated: &[] },
        &BTreeMap::new(),
        cluster(),
    ));
    findings.extend(Running { gateway: false, egress: false }.findings(&cluster()));
    findings.push(restart_needed(cluster(), "keyFile"));
    findings.extend(cluster_identity::replaced(Some(now), cluster(), now));
    findings
}

#[test]
fn every_finding_of_the_files_platform_is_readable() {
    let findings = of_files();
    let reasons: BTreeSet<_> = findings.iter().map(|finding| finding.reason).collect();
    let expected = [
        FindingReason::NoEgressPort,
        FindingReason::NoAddress,
        FindingReason::EnvoyNotRunning,
        FindingReason::RestartNeeded,
        FindingReason::IdentityReplaced,
    ];
    assert_eq!(reasons, BTreeSet::from(expected));
    let messages: Vec<_> = findings.iter().map(ToString::to_string).collect();
    readable::assert_readable(&messages, advice::problems_of_finding);
}
