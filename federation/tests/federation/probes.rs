//! How a peer's gateways are probed, and what follows from the result.

use crate::rig::{Rig, at, condition_of, domain, gateway, name, offered, private, uuid};
use fedgate_core::ServiceName;
use fedgate_federation::document::WorkloadIdentity;
use fedgate_federation::federate::{
    Condition, ConditionStatus, ConditionType, ProbeTarget, ServerIdentity,
};
use fedgate_federation::knowledge::{DataplaneReason, ProbeDepth, ProbeResult};

fn target(rig: &Rig) -> Option<ProbeTarget> {
    rig.federate().probe_targets.remove(&name("beta"))
}

fn announced(target: &ProbeTarget) -> Vec<String> {
    target.gateways.iter().map(ToString::to_string).collect()
}

fn condition(rig: &Rig) -> Condition {
    condition_of(&rig.federate(), "beta", ConditionType::DataplaneConnectionReady)
}

fn state(rig: &Rig) -> (ConditionStatus, String) {
    let condition = condition(rig);
    (condition.status, condition.reason)
}

/// A probe of the gateways 192.0.2.1, 192.0.2.2 and so on.
fn gateways(outcomes: &[Result<(), &str>]) -> ProbeResult {
    let outcome = |(index, outcome): (usize, &Result<(), &str>)| {
        (gateway(&format!("192.0.2.{}", index + 1)), outcome.map_err(str::to_owned))
    };
    ProbeResult::Gateways {
        outcomes: outcomes.iter().enumerate().map(outcome).collect(),
        depth: ProbeDepth::Call,
    }
}

fn is(status: ConditionStatus, reason: &str) -> (ConditionStatus, String) {
    (status, reason.to_owned())
}

#[test]
fn a_target_is_what_a_client_would_rely_on() {
    let mut rig = Rig::new();
    let federation = rig.federate();
    let beta = &federation.probe_targets[&name("beta")];
    assert_eq!(beta.service, Some("web.shop.svc.beta.example:80".parse::<ServiceName>().unwrap()));
    assert_eq!(announced(beta), ["192.0.2.9:15443"]);
    assert_eq!(*beta.server, ServerIdentity::AnyOf(domain("beta.example")));
    assert_eq!(beta.bundle, federation.bundles[&domain("beta.example")]);

    let identity = WorkloadIdentity::parse("spiffe://beta.example/ns/istio/sa/gateway").unwrap();
    let services = vec![offered("web.shop.svc.beta.example", &[("http", 80)])];
    let mut document = private(2, &["192.0.2.9", "gw.beta.example"], services);
    document.extension.as_mut().unwrap().gateway_identities = vec![identity.clone()];
    rig.absorb("beta", &document, at(1));
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.10"])], at(1));
    let beta = target(&rig).unwrap();
    assert_eq!(announced(&beta), ["192.0.2.9:15443", "gw.beta.example:15443"]);
    assert_eq!(*beta.server, ServerIdentity::Exactly(vec![identity]));
}

#[test]
fn a_name_that_is_too_long_for_dns_is_not_probed() {
    let mut rig = Rig::new();
    let long_domain = [&*"c".repeat(63), &"d".repeat(63), &"e".repeat(50), "example"].join(".");
    rig.add_peer("delta", &long_domain, '4');
    let probed_service =
        |rig: &Rig| rig.federate().probe_targets.remove(&name("delta")).unwrap().service;
    let short = format!("web.shop.svc.{long_domain}");
    let long = format!("{}.shop.svc.{long_domain}", "a".repeat(60));
    // TLS allows a server name of 255 bytes, but it is still too long for a DNS name.
    let long = &long[17..];
    assert_eq!((short.len(), long.len()), (199, 239));
    let services = |hosts: &[&str]| {
        hosts.iter().map(|host| offered(host, &[("http", 80)])).collect::<Vec<_>>()
    };
    rig.absorb("delta", &private(2, &["192.0.2.9"], services(&[long, &short])), at(1));
    assert_eq!(rig.federate().imports.len(), 4);
    assert_eq!(probed_service(&rig).unwrap().host.as_str(), short);
    rig.absorb("delta", &private(3, &["192.0.2.9"], services(&[long])), at(1));
    assert_eq!(probed_service(&rig), None);
    rig.absorb("delta", &private(4, &["192.0.2.9"], vec![]), at(1));
    assert_eq!(probed_service(&rig), None, "TCP can be tried without a service");
}

#[test]
fn only_gateways_in_force_are_probed() {
    let mut rig = Rig::new();
    assert!(target(&rig).is_some());
    rig.local.cluster_uuid = uuid('2');
    assert_eq!(target(&rig), None, "a refused peer's gateways are not connected to");
    let mut rig = Rig::new();
    rig.now = at(3600);
    assert_eq!(
        target(&rig),
        None,
        "nor are those of a peer that has not been heard of for too long"
    );
    let mut rig = Rig::new();
    rig.known("beta").private = None;
    rig.absorb("beta", &private(2, &[], vec![]), at(1));
    assert_eq!(target(&rig), None);
}

#[test]
fn the_condition_reports_the_last_result() {
    let mut rig = Rig::new();
    assert_eq!(state(&rig), is(ConditionStatus::Unknown, "Pending"));
    rig.known("beta").record_probe(&gateways(&[Ok(()), Ok(())]), at(1));
    assert_eq!(state(&rig), is(ConditionStatus::True, "Succeeded"));
    assert_eq!(condition(&rig).message, "");

    // One good gateway is enough; the bad one is named.
    rig.known("beta").record_probe(&gateways(&[Err("connection refused"), Ok(())]), at(2));
    assert_eq!(state(&rig), is(ConditionStatus::True, "Succeeded"));
    assert_eq!(condition(&rig).message, "192.0.2.1:15443: connection refused");

    rig.known("beta")
        .record_probe(&gateways(&[Err("a"), Err("b"), Err("c"), Err("d"), Err("e")]), at(3));
    assert_eq!(state(&rig), is(ConditionStatus::False, "ProbeFailed"));
    let message = condition(&rig).message;
    assert_eq!(message, "192.0.2.1:15443: a; 192.0.2.2:15443: b; 192.0.2.3:15443: c; and 2 more");
    assert_eq!(
        rig.federate().imports.len(),
        2,
        "imports stay: a probe is not what traffic depends on"
    );

    rig.known("beta").record_probe(
        &ProbeResult::Impossible("no root of the peer can be used".to_owned()),
        at(4),
    );
    assert_eq!(state(&rig), is(ConditionStatus::False, "ConfigurationError"));
    assert_eq!(condition(&rig).message, "no root of the peer can be used");
}

#[test]
fn a_probe_without_a_handshake_says_that_only_tcp_was_tried() {
    let mut rig = Rig::new();
    let ProbeResult::Gateways { outcomes, .. } = gateways(&[Ok(()), Err("timeout")]) else {
        unreachable!()
    };
    rig.known("beta")
        .record_probe(&ProbeResult::Gateways { outcomes, depth: ProbeDepth::Connection }, at(1));
    let message = condition(&rig).message;
    assert!(
        message.starts_with("only TCP was tried")
            && message.ends_with("; 192.0.2.2:15443: timeout"),
        "{message}"
    );
}

#[test]
fn a_result_is_not_reported_for_gateways_no_longer_in_force() {
    let mut rig = Rig::new();
    let known = rig.known("beta").private.take();
    assert_eq!(state(&rig), is(ConditionStatus::Unknown, "MetadataUnavailable"));
    rig.known("beta").private = known;
    rig.known("beta").record_probe(&gateways(&[Ok(())]), at(1));
    assert_eq!(state(&rig), is(ConditionStatus::True, "Succeeded"));
    rig.now = at(3600);
    assert_eq!(state(&rig), is(ConditionStatus::False, "MetadataUnavailable"));
}

#[test]
fn the_same_result_is_not_a_change() {
    let mut rig = Rig::new();
    rig.known("beta").record_probe(&gateways(&[Err("x")]), at(1));
    let first = rig.known("beta").clone();
    rig.known("beta").record_probe(&gateways(&[Err("x")]), at(60));
    let second = rig.known("beta").clone();
    assert!(!second.differs_from(&first));
    let dataplane = second.dataplane.as_ref().unwrap();
    assert_eq!(
        (dataplane.reason, dataplane.since, dataplane.at),
        (DataplaneReason::ProbeFailed, at(1), at(60))
    );

    rig.known("beta").record_probe(&gateways(&[Err("y")]), at(120));
    assert!(rig.known("beta").differs_from(&second));
    assert_eq!(rig.known("beta").dataplane.as_ref().unwrap().since, at(1));
    rig.known("beta").record_probe(&gateways(&[Ok(())]), at(180));
    assert_eq!(rig.known("beta").dataplane.as_ref().unwrap().since, at(180));
}

#[test]
fn a_probe_without_our_certificate_says_what_it_leaves_open() {
    let mut rig = Rig::new();
    let ProbeResult::Gateways { outcomes, .. } = gateways(&[Ok(())]) else { unreachable!() };
    rig.known("beta")
        .record_probe(&ProbeResult::Gateways { outcomes, depth: ProbeDepth::Server }, at(1));
    assert_eq!(state(&rig), is(ConditionStatus::True, "Succeeded"));
    assert_eq!(condition(&rig).message, fedgate_federation::knowledge::SERVER_ONLY);
}

#[test]
fn the_probe_asks_for_the_health_name_and_notes_whether_our_roots_are_acknowledged() {
    let mut rig = Rig::new();
    assert_eq!(
        target(&rig).map(|target| (target.health, target.acknowledges)),
        Some((false, None))
    );
    let health = format!("alliance-healthcheck-{}.d8-istio.svc.beta.example", uuid('2'));
    let services = vec![
        offered(&health, &[("http", 80)]),
        offered("web.shop.svc.beta.example", &[("http", 80)]),
    ];
    let mut document = private(2, &["192.0.2.9"], services);
    for (sequence, applied, expected) in
        [(2, vec![], false), (3, vec![rig.local.roots[0].fingerprint()], true)]
    {
        let extension = document.extension.as_mut().unwrap();
        (extension.sequence, extension.applied_roots) = (sequence, Some(applied));
        rig.absorb("beta", &document, at(1));
        let target = target(&rig).unwrap();
        assert_eq!((target.health, target.acknowledges), (true, Some(expected)));
        assert_eq!(target.service.unwrap().host.as_str(), health);
    }
}

#[test]
fn a_probe_succeeds_if_any_gateway_works() {
    assert!(gateways(&[Err("timeout"), Ok(())]).succeeded());
    assert!(!gateways(&[Err("timeout"), Err("refused")]).succeeded());
    assert!(!gateways(&[]).succeeded());
    assert!(!ProbeResult::Impossible("no root of the peer can be used".to_owned()).succeeded());
}
