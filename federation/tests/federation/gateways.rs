//! The addresses of a peer's gateways. Whatever the peer announces, none of our own addresses is
//! used, and names lead where they were looked up.

use crate::rig::{Rig, at, condition_of, dkp, found, gateway, name, offered, private, the};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{GatewayAddress, GatewayHost};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::own::{OwnAddresses, OwnListener};

/// alpha, whose egress listens on loopback and whose gateway listens on all addresses. beta
/// announces `gateways`.
fn rig(gateways: &[(&str, u16)]) -> Rig {
    let mut rig = Rig::new();
    let own = |name: &str, address: &str, ports| OwnListener {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        ports,
        is_gateway: name == "the gateway",
    };
    rig.local.own_addresses = OwnAddresses {
        listeners: vec![
            own("the egress", "127.0.0.1", 15_100..=15_999),
            own("the gateway", "0.0.0.0", 443..=443),
        ],
        hosts: ["192.0.2.50".parse().unwrap()].into(),
        networks: vec!["10.96.0.0/16".parse().unwrap()],
    };
    let mut document = private(2, &[], vec![offered("web.shop.svc.beta.example", &[("http", 80)])]);
    document.gateways = gateways.iter().map(|(host, port)| announced(host, *port)).collect();
    rig.absorb("beta", &document, at(1));
    rig
}

fn announced(host: &str, port: u16) -> GatewayAddress {
    GatewayAddress {
        address: GatewayHost::parse(host).unwrap(),
        port: fedgate_core::ServicePort::new(port).unwrap(),
    }
}

/// The addresses that beta's import is forwarded to.
fn addresses(rig: &Rig) -> Vec<String> {
    let federation = rig.federate();
    let import = federation.imports.iter().find(|import| import.peer == name("beta"));
    import
        .into_iter()
        .flat_map(|import| import.addresses())
        .map(|address| address.to_string())
        .collect()
}

fn dataplane(rig: &Rig) -> Condition {
    condition_of(&rig.federate(), "beta", ConditionType::DataplaneConnectionReady)
}

#[test]
fn a_peers_gateway_at_one_of_our_listeners_is_refused() {
    let own = [
        ("127.0.0.1", 15_100),
        ("::ffff:127.0.0.1", 15_500),
        ("127.0.0.9", 443),
        ("192.0.2.50", 443),
        ("::1", 443),
        ("10.96.0.1", 443),
        // The gateway that alpha announces to its peers.
        ("192.0.2.1", 15_443),
    ];
    for (host, port) in own {
        let rig = rig(&[(host, port)]);
        assert_eq!(addresses(&rig), [""; 0], "{host}:{port}");
        let federation = rig.federate();
        let finding = the(&federation.findings, Reason::OwnGateway);
        assert_eq!(
            (finding.object.name.as_str(), finding.field.as_deref()),
            ("beta", Some("ingressGateways"))
        );
        assert_eq!(the(&federation.findings, Reason::NoGateways).object.name, "beta");
        assert!(!federation.probe_targets.contains_key(&name("beta")), "it is not probed either");
        let condition = dataplane(&rig);
        assert_eq!(
            (condition.status, condition.reason.as_str()),
            (ConditionStatus::False, "MetadataUnavailable")
        );
        assert!(
            condition.message.contains("expected an address of the peer"),
            "{}",
            condition.message
        );
        assert!(
            federation.imports.iter().any(|import| import.peer == name("gamma")),
            "the others stay"
        );
    }
    for (host, port) in
        [("127.0.0.1", 15_099), ("127.0.0.2", 15_100), ("192.0.2.51", 443), ("192.0.2.1", 443)]
    {
        assert_eq!(addresses(&rig(&[(host, port)])), [format!("{host}:{port}")]);
    }
}

#[test]
fn the_good_gateways_of_a_peer_are_kept() {
    let rig = rig(&[("127.0.0.1", 15_100), ("192.0.2.9", 15_443)]);
    assert_eq!(addresses(&rig), ["192.0.2.9:15443"]);
    assert_eq!(found(&rig.federate().findings, Reason::NoGateways).len(), 0);
    assert_eq!(dataplane(&rig).reason, "Pending");
}

#[test]
fn a_name_is_used_only_after_its_lookup() {
    let mut rig = rig(&[("gw.beta.example", 15_443)]);
    let federation = rig.federate();
    assert_eq!(
        federation.gateway_names[&name("beta")]
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        ["gw.beta.example"]
    );
    assert!(!federation.gateway_names.contains_key(&name("gamma")));
    assert_eq!(addresses(&rig), [""; 0]);
    assert_eq!(
        found(&federation.findings, Reason::NoGateways).len(),
        0,
        "it will be known in a moment"
    );
    let condition = dataplane(&rig);
    assert_eq!(
        (condition.status, condition.reason.as_str()),
        (ConditionStatus::Unknown, "Pending")
    );

    let answers = ["192.0.2.9", "2001:db8::9", "::ffff:192.0.2.9", "192.0.2.9"];
    rig.looked_up("beta", &[("gw.beta.example", &answers)], at(2));
    assert_eq!(addresses(&rig), ["192.0.2.9:15443", "[2001:db8::9]:15443"]);
}

#[test]
fn a_name_that_leads_to_us_or_to_no_host_is_reported() {
    let mut rig = rig(&[("gw.beta.example", 15_443)]);
    rig.looked_up(
        "beta",
        &[("gw.beta.example", &["127.0.0.1", "169.254.169.254", "192.0.2.9"])],
        at(2),
    );
    assert_eq!(addresses(&rig), ["192.0.2.9:15443"]);
    let findings = rig.federate().findings;
    let own = &the(&findings, Reason::OwnGateway).message;
    assert!(
        own.starts_with(
            "gateway gw.beta.example:15443 leads to 127.0.0.1:15443, which is the egress"
        ),
        "{own}"
    );
    let none = &the(&findings, Reason::InvalidGateway).message;
    assert!(none.contains("gw.beta.example:15443 leads to 169.254.169.254"), "{none}");
    for ip in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "255.255.255.255",
    ] {
        rig.looked_up("beta", &[("gw.beta.example", &[ip])], at(3));
        assert_eq!(addresses(&rig), [""; 0], "{ip}");
    }
}

#[test]
fn a_failed_lookup_keeps_the_last_good_addresses_until_the_staleness_limit() {
    let mut rig = rig(&[("gw.beta.example", 15_443)]);
    rig.not_found("beta", "gw.beta.example", "no name server answers", at(2));
    assert_eq!(addresses(&rig), [""; 0]);
    let first = rig.federate().findings;
    assert!(the(&first, Reason::GatewayNotFound).message.contains("no name server answers"));
    assert!(dataplane(&rig).message.contains("gw.beta.example:15443 cannot be looked up"));

    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.9"])], at(3));
    assert_eq!(found(&rig.federate().findings, Reason::GatewayNotFound).len(), 0);
    rig.not_found("beta", "gw.beta.example", "NXDOMAIN", at(4));
    assert_eq!(addresses(&rig), ["192.0.2.9:15443"]);
    let findings = rig.federate().findings;
    let finding = the(&findings, Reason::GatewayNotFound);
    assert_eq!(finding.severity, fedgate_federation::Severity::Warning);

    // The documents keep being confirmed, but the address does not.
    let now = at(3 + 3600);
    rig.now = now;
    for document in [
        fedgate_federation::knowledge::DocumentKind::Public,
        fedgate_federation::knowledge::DocumentKind::Private,
    ] {
        rig.known("beta").record_not_modified(document, now);
    }
    assert_eq!(addresses(&rig), [""; 0]);
    rig.now = at(10);
    assert!(rig.federate().next_change <= Some(at(3 + 3600)));
}

#[test]
fn reordered_addresses_are_no_change_and_unannounced_names_are_dropped() {
    let mut rig = rig(&[("gw.beta.example", 15_443)]);
    let new: Vec<_> =
        rig.known("beta").new_names().iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(new, ["gw.beta.example"]);
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.9", "192.0.2.8"])], at(2));
    let first = rig.known("beta").clone();
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.8", "192.0.2.9"])], at(60));
    assert!(!rig.known("beta").differs_from(&first), "a resolver rotates addresses");
    assert!(!rig.known("beta").needs_saving(Some(&first), &crate::rig::TIMES));
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.8", "192.0.2.9"])], at(2 + 900));
    assert!(
        rig.known("beta").needs_saving(Some(&first), &crate::rig::TIMES),
        "after a restart it would look older than it is"
    );
    for (then, is_fresher) in [(2 + 3599, false), (2 + 3600, true)] {
        let known = rig.known("beta");
        assert_eq!(known.is_fresher_than(&first, &crate::rig::TIMES, at(then)), is_fresher);
    }
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.7"])], at(1000));
    assert!(rig.known("beta").differs_from(&first));
    rig.looked_up("beta", &[("other.beta.example", &["192.0.2.7"])], at(1001));
    let names: Vec<_> = rig.known("beta").names.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["gw.beta.example"]);
    assert!(rig.known("beta").new_names().is_empty());
}

#[test]
fn addresses_are_limited_and_unique() {
    let names: Vec<_> = (0..20).map(|number| format!("gw{number}.beta.example")).collect();
    let mut rig = rig(&names.iter().map(|name| (name.as_str(), 15_443)).collect::<Vec<_>>());
    let answers: Vec<Vec<String>> =
        (0..20).map(|net| (0..20).map(|host| format!("10.0.{net}.{host}")).collect()).collect();
    let answers: Vec<Vec<&str>> =
        answers.iter().map(|ips| ips.iter().map(String::as_str).collect()).collect();
    let outcomes: Vec<_> =
        names.iter().zip(&answers).map(|(name, ips)| (name.as_str(), ips.as_slice())).collect();
    rig.looked_up("beta", &outcomes, at(2));
    let all = addresses(&rig);
    assert_eq!(all.len(), 64);
    assert_eq!(
        all.iter().filter(|address| address.starts_with("10.0.0.")).count(),
        8,
        "of one name"
    );
    let same: Vec<_> = names.iter().map(|name| (name.as_str(), &["192.0.2.9"][..])).collect();
    rig.looked_up("beta", &same, at(3));
    assert_eq!(addresses(&rig), ["192.0.2.9:15443"]);
}

#[test]
fn our_own_gateway_is_refused_by_name_as_well() {
    let mut rig = rig(&[("gw.alpha.example", 15_443)]);
    rig.local.gateways = vec![announced("gw.alpha.example", 15_443)];
    rig.looked_up("beta", &[("gw.alpha.example", &["192.0.2.9"])], at(2));
    assert_eq!(addresses(&rig), [""; 0]);
    the(&rig.federate().findings, Reason::OwnGateway);
    assert!(rig.federate().gateway_names.is_empty());
    rig.local.gateways = vec![gateway("192.0.2.1")];
    assert_eq!(addresses(&rig), ["192.0.2.9:15443"]);
}

#[test]
fn the_gateways_of_a_dkp_peer_are_judged_as_well() {
    let mut rig = rig(&[("127.0.0.1", 15_100)]);
    let document = rig.known("beta").private.as_ref().unwrap().document.clone();
    rig.known("beta").private = None;
    rig.absorb("beta", &dkp(document), at(2));
    the(&rig.federate().findings, Reason::OwnGateway);
}
