//! Who may reach an export, case by case.

use crate::rig::{Rig, found, name, the};
use fedgate_core::{Decision, Outcome, Reason as Word, decide};
use fedgate_core::{MAX_CALLER_PATTERNS, Mode};
use fedgate_federation::Federation;
use fedgate_federation::federate::Export;
use fedgate_federation::grant::Access;
use fedgate_federation::object::{PEERS_ANNOTATION, PeerSelection, PolicyBody, PolicyObject};
use fedgate_federation::{FindingReason as Reason, Severity};
use serde_json::json;

fn policy(name: &str, spec: serde_json::Value) -> PolicyObject {
    let (policy, finding) = PolicyObject::read(name, None, &spec);
    assert_eq!(finding, None);
    policy
}

/// The decision on a call to `web:80`.
fn call<'f>(federation: &'f Federation, peer: &str, caller: &str) -> Decision<'f> {
    let san = format!("spiffe://{peer}.example/{caller}");
    decide(
        federation.table.as_ref().unwrap(),
        Some("outbound_.80_._.web.shop.svc.alpha.example"),
        Some(&san),
    )
}

fn outcome(federation: &Federation, peer: &str) -> (Outcome, Word) {
    let decision = call(federation, peer, "ns/shop/sa/web");
    (decision.outcome, decision.reason)
}

pub(crate) const GRANTED: (Outcome, Word) = (Outcome::Allowed, Word::Granted);
pub(crate) const NOT_GRANTED: (Outcome, Word) = (Outcome::Refused, Word::NotGranted);
const AUDITED: (Outcome, Word) = (Outcome::Audited, Word::NotGranted);

fn web(federation: &Federation) -> &Export {
    federation
        .exports
        .iter()
        .find(|export| export.service.to_string() == "web.shop.svc.alpha.example:80")
        .unwrap()
}

fn access(federation: &Federation, peer: &str) -> Access {
    web(federation).grant_of(&name(peer)).unwrap().access.clone()
}

/// The hosts and ports that are announced to a peer.
fn announced(federation: &Federation, peer: &str) -> Vec<String> {
    let services = federation.private_documents[&name(peer)].services.iter();
    services
        .flat_map(|s| {
            s.ports
                .iter()
                .map(|p| format!("{}:{}", s.hostname.as_str().split('.').next().unwrap(), p.port))
        })
        .collect()
}

#[test]
fn without_policies_an_export_is_public_to_all_peers() {
    let federation = Rig::new().federate();
    for peer in ["beta", "gamma"] {
        assert_eq!(outcome(&federation, peer), GRANTED);
        assert_eq!(access(&federation, peer), Access::Public);
        assert_eq!(announced(&federation, peer), ["db:5432", "web:80", "web:9000"]);
    }
    assert_eq!(outcome(&federation, "delta"), (Outcome::Refused, Word::UnknownPeer));
}

#[test]
fn the_owner_narrows_to_some_peers() {
    let mut rig = Rig::new();
    let annotate = |rig: &mut Rig, text: &str| {
        rig.objects.services[0].annotations.insert(PEERS_ANNOTATION.to_owned(), text.to_owned());
        rig.federate()
    };
    for text in ["beta", " beta ,delta", "beta,beta"] {
        let federation = annotate(&mut rig, text);
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (GRANTED, NOT_GRANTED),
            "{text}"
        );
        assert_eq!(access(&federation, "gamma"), Access::OwnerExcludes);
        assert_eq!(announced(&federation, "gamma"), ["db:5432"]);
    }
    let field = Some("metadata.annotations[fedgate.dev/peers]");
    let unknown = annotate(&mut rig, "beta,delta");
    assert_eq!(the(&unknown.findings, Reason::UnknownPeer).field.as_deref(), field);
    // Invalid names admit no peer.
    for text in ["", "*", "Beta", "beta gamma"] {
        let federation = annotate(&mut rig, text);
        let finding = the(&federation.findings, Reason::InvalidAnnotation);
        assert_eq!(finding.field.as_deref(), field, "{text}");
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (NOT_GRANTED, NOT_GRANTED),
            "{text}"
        );
    }
}

#[test]
fn a_selected_peer_gets_only_what_policies_allow() {
    let mut rig = Rig::new();
    rig.objects.policies =
        vec![policy("db-only", json!({"peers": ["beta"], "services": [{"ports": ["tcp-sql"]}]}))];
    let federation = rig.federate();
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (NOT_GRANTED, GRANTED)
    );
    assert_eq!(
        access(&federation, "beta"),
        Access::NoPolicyAllows { selected_by: vec!["db-only".into()] }
    );
    assert_eq!(announced(&federation, "beta"), ["db:5432"]);
    // A second policy adds to the first.
    rig.objects
        .policies
        .push(policy("web", json!({"services": [{"namespaces": ["sh*"], "ports": [80]}]})));
    let federation = rig.federate();
    assert_eq!((outcome(&federation, "beta"), outcome(&federation, "gamma")), (GRANTED, GRANTED));
    assert!(
        matches!(access(&federation, "beta"), Access::Allowed { policies, .. } if policies == ["web".into()])
    );
    assert_eq!(announced(&federation, "beta"), ["db:5432", "web:80"]);
    assert_eq!(announced(&federation, "gamma"), ["web:80"]);
}

#[test]
fn owner_and_administrator_must_both_agree() {
    let mut rig = Rig::new();
    rig.objects.policies = vec![policy("all", json!({}))];
    rig.objects.services[0].annotations.insert(PEERS_ANNOTATION.to_owned(), "beta".to_owned());
    let federation = rig.federate();
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (GRANTED, NOT_GRANTED)
    );
}

#[test]
fn only_matching_callers_are_granted() {
    let mut rig = Rig::new();
    let callers = json!([{"namespace": "shop", "serviceAccount": "web-*"}, {"namespace": "ops"}]);
    rig.objects.policies = vec![policy("callers", json!({"peers": ["beta"], "callers": callers}))];
    let federation = rig.federate();
    let reason = |peer, caller| call(&federation, peer, caller).reason;
    assert_eq!(reason("beta", "ns/shop/sa/web-1"), Word::Granted);
    assert_eq!(reason("beta", "ns/ops/sa/any"), Word::Granted);
    for other in ["ns/shop/sa/api", "ns/dev/sa/web-1", "workload/web-1"] {
        assert_eq!(reason("beta", other), Word::CallerNotGranted, "{other}");
    }
    assert_eq!(reason("gamma", "workload/web-1"), Word::Granted);
    // Policies add up.
    rig.objects
        .policies
        .push(policy("more", json!({"peers": ["beta"], "callers": [{"serviceAccount": "api"}]})));
    assert_eq!(call(&rig.federate(), "beta", "ns/shop/sa/api").reason, Word::Granted);
    rig.objects.policies.push(policy("any", json!({"peers": ["beta"]})));
    assert_eq!(call(&rig.federate(), "beta", "workload/x").reason, Word::Granted);
}

#[test]
fn audit_reports_and_lets_through() {
    let mut rig = Rig::new();
    rig.objects.policies = vec![policy(
        "trial",
        json!({"peers": ["beta"], "services": [{"ports": [5432]}], "mode": "Audit"}),
    )];
    let federation = rig.federate();
    assert_eq!(outcome(&federation, "beta"), AUDITED);
    assert_eq!(federation.peer(&name("beta")).unwrap().mode, Mode::Audit);
    assert_eq!(announced(&federation, "beta"), ["db:5432", "web:80", "web:9000"]);
    assert_eq!(federation.peer(&name("beta")).unwrap().granted_exports, 1);
    // It does not overrule the owner.
    rig.objects.services[0].annotations.insert(PEERS_ANNOTATION.to_owned(), "gamma".to_owned());
    let federation = rig.federate();
    assert_eq!(outcome(&federation, "beta"), NOT_GRANTED);
    assert_eq!(announced(&federation, "beta"), ["db:5432"]);
}

#[test]
fn any_policy_that_enforces_wins() {
    let mut rig = Rig::new();
    let audit = policy(
        "audit",
        json!({"peers": ["beta"], "services": [{"ports": [5432]}], "mode": "Audit"}),
    );
    for other in [
        policy("enforce", json!({"services": [{"ports": [5432]}]})),
        PolicyObject {
            name: "broken".to_owned(),
            source: None,
            body: PolicyBody::Unreadable(PeerSelection::All),
        },
        policy("invalid", json!({"peers": ["beta", "-"], "mode": "Audit"})),
    ] {
        rig.objects.policies = vec![audit.clone(), other.clone()];
        assert_eq!(outcome(&rig.federate(), "beta"), NOT_GRANTED, "{other:?}");
    }
    rig.objects.policies = vec![audit, policy("other-peer", json!({"peers": ["gamma"]}))];
    assert_eq!(outcome(&rig.federate(), "beta"), AUDITED);
}

#[test]
fn an_empty_list_in_a_policy_says_how_to_allow_nothing() {
    for spec in [
        json!({"callers": []}),
        json!({"services": [{"namespaces": []}]}),
        json!({"services": [{"ports": []}]}),
    ] {
        let mut rig = Rig::new();
        rig.objects.policies = vec![policy("p", spec.clone())];
        let finding = the(&rig.federate().findings, Reason::InvalidPolicy).clone();
        assert!(finding.message.contains("services: []"), "{spec}: {finding}");
    }
}

#[test]
fn an_invalid_policy_denies_and_never_allows() {
    for spec in [
        json!({"peers": ["beta"], "callers": []}),
        json!({"peers": ["beta"], "services": [{"namespaces": []}]}),
        json!({"peers": ["beta"], "services": [{"namespaces": ["Shop"]}]}),
        json!({"peers": ["beta"], "services": [{"ports": []}]}),
        json!({"peers": ["beta"], "services": [{"selector": {"matchLabels": {"": "x"}}}]}),
        json!({"peers": ["beta"], "services": [{"selector": {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}}]}),
        json!({"peers": ["beta"], "services": [{"selector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist", "values": ["x"]}]}}]}),
        json!({"peers": ["beta"], "services": [{"selector": {"matchExpressions": [{"key": "", "operator": "DoesNotExist"}]}}]}),
        json!({"peers": ["beta"], "callers": [{"namespace": "Shop"}]}),
        json!({"peers": ["beta"], "callers": [{"serviceAccount": ""}]}),
        json!({"peers": ["beta", "Gamma"]}),
        json!({"peers": ["beta"], "callers": vec![json!({}); 1001]}),
    ] {
        let mut rig = Rig::new();
        rig.objects.policies = vec![policy("p", spec.clone())];
        let federation = rig.federate();
        the(&federation.findings, Reason::InvalidPolicy);
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (NOT_GRANTED, GRANTED),
            "{spec}"
        );
    }
    for spec in [json!({"peers": []}), json!({"peers": ["Beta"]})] {
        let mut rig = Rig::new();
        rig.objects.policies = vec![policy("p", spec.clone())];
        let federation = rig.federate();
        the(&federation.findings, Reason::InvalidPolicy);
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (NOT_GRANTED, NOT_GRANTED),
            "{spec}"
        );
    }
}

#[test]
fn an_empty_list_of_services_allows_nothing() {
    let mut rig = Rig::new();
    rig.objects.policies = vec![policy("nothing", json!({"peers": ["beta"], "services": []}))];
    let federation = rig.federate();
    assert!(federation.findings.iter().all(|finding| finding.reason != Reason::InvalidPolicy));
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (NOT_GRANTED, GRANTED)
    );
    assert!(announced(&federation, "beta").is_empty());
    // For all peers, and then in audit mode.
    rig.objects.policies = vec![policy("nothing", json!({"services": []}))];
    let federation = rig.federate();
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (NOT_GRANTED, NOT_GRANTED)
    );
    rig.objects.policies = vec![policy("nothing", json!({"services": [], "mode": "Audit"}))];
    assert_eq!(outcome(&rig.federate(), "beta"), AUDITED);
}

#[test]
fn a_field_without_a_value_denies() {
    for spec in [
        json!({"peers": ["beta"], "services": null}),
        json!({"peers": ["beta"], "services": [{"namespaces": null}]}),
        json!({"peers": ["beta"], "services": [{"selector": {"matchLabels": {"app": null}}}]}),
        json!({"peers": ["beta"], "callers": [{"serviceAccount": null}]}),
    ] {
        let mut rig = Rig::new();
        let (broken, finding) = PolicyObject::read("p", None, &spec);
        assert!(finding.is_some_and(|finding| finding.message.contains("found nothing")), "{spec}");
        rig.objects.policies = vec![broken];
        let federation = rig.federate();
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (NOT_GRANTED, GRANTED),
            "{spec}"
        );
    }
}

#[test]
fn a_misspelt_peer_is_an_error_if_it_leaves_a_peer_unrestricted() {
    let unknown_peer = |rig: &Rig| the(&rig.federate().findings, Reason::UnknownPeer).clone();
    for (name, expected) in [
        ("gama", "did you mean \"gamma\"?"),
        ("gamma.example", "did you mean \"gamma\"?"),
        ("epsilon", "fix the name, or create the object"),
    ] {
        let mut rig = Rig::new();
        rig.objects.policies = vec![policy("p", json!({"peers": ["beta", name], "services": []}))];
        let finding = unknown_peer(&rig);
        assert_eq!(
            (finding.severity, finding.field.as_deref()),
            (Severity::Error, Some("spec.peers[1]")),
            "{name}"
        );
        assert!(
            finding.message.contains(expected) && finding.message.contains("peer gamma"),
            "{finding}"
        );
        // If policies select every peer, no peer has all exports.
        rig.objects.policies.push(policy("all", json!({"services": []})));
        assert_eq!(unknown_peer(&rig).severity, Severity::Warning, "{name}");
    }
    let mut rig = Rig::new();
    rig.objects.policies = vec![policy("p", json!({"peers": ["beta"], "services": []}))];
    assert!(rig.federate().findings.iter().all(|finding| finding.reason != Reason::UnknownPeer));
}

#[test]
fn a_misspelt_peers_annotation_denies_all_peers() {
    let annotate = |key: &str| {
        let mut rig = Rig::new();
        rig.objects.services[0].annotations.insert(key.to_owned(), "beta".to_owned());
        rig.federate()
    };
    for key in
        ["fedgate.dev/peer", "fedgate.dev/Peers", "Fedgate.dev/peers", "fedgate.dev/allowed-peers"]
    {
        let federation = annotate(key);
        the(&federation.findings, Reason::InvalidAnnotation);
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (NOT_GRANTED, NOT_GRANTED),
            "{key}"
        );
    }
    for (key, findings) in
        [("fedgate.dev/gateway-mod", 1), ("fedgate.dev/colour", 1), ("example.com/peers", 0)]
    {
        let federation = annotate(key);
        assert_eq!(found(&federation.findings, Reason::InvalidAnnotation).len(), findings, "{key}");
        assert_eq!(
            (outcome(&federation, "beta"), outcome(&federation, "gamma")),
            (GRANTED, GRANTED),
            "{key}"
        );
    }
}

#[test]
fn an_unreadable_policy_denies_only_the_peers_it_names() {
    let mut rig = Rig::new();
    let (broken, finding) =
        PolicyObject::read("p", None, &json!({"peers": ["beta"], "service": []}));
    assert_eq!(finding.unwrap().reason, Reason::InvalidPolicy);
    rig.objects.policies = vec![broken];
    let federation = rig.federate();
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (NOT_GRANTED, GRANTED)
    );
}

#[test]
fn of_two_policies_with_the_same_name_only_the_first_allows_or_audits() {
    let mut rig = Rig::new();
    let mut second = policy("p", json!({"peers": ["beta", "gamma"], "mode": "Audit"}));
    second.source = Some("b.yaml".to_owned());
    rig.objects.policies =
        vec![second, policy("p", json!({"peers": ["beta"], "services": [{"ports": [80]}]}))];
    let federation = rig.federate();
    the(&federation.findings, Reason::DuplicateObject);
    assert_eq!(
        (outcome(&federation, "beta"), outcome(&federation, "gamma")),
        (GRANTED, NOT_GRANTED)
    );
}

#[test]
fn a_policy_that_names_an_unknown_peer_is_reported() {
    let mut rig = Rig::new();
    rig.objects.policies = vec![policy("p", json!({"peers": ["betta"]}))];
    let federation = rig.federate();
    assert_eq!(
        the(&federation.findings, Reason::UnknownPeer).field.as_deref(),
        Some("spec.peers[0]")
    );
    assert_eq!(outcome(&federation, "beta"), GRANTED);
}

#[test]
fn more_callers_than_a_grant_holds_are_refused() {
    let mut rig = Rig::new();
    let callers = |prefix: &str| {
        (0..600).map(|n| json!({"namespace": format!("{prefix}{n}")})).collect::<Vec<_>>()
    };
    rig.objects.policies = vec![
        policy("a", json!({"callers": callers("a")})),
        policy("b", json!({"callers": callers("b")})),
    ];
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::TooManyCallers).object.name, "b");
    assert_eq!(call(&federation, "beta", "ns/a599/sa/x").reason, Word::Granted);
    assert_eq!(call(&federation, "beta", "ns/b0/sa/x").reason, Word::CallerNotGranted);
}

#[test]
fn a_policy_may_name_as_many_callers_as_a_grant_holds() {
    let reasons = |count: usize| {
        let callers: Vec<_> = (0..count).map(|n| json!({"namespace": format!("n{n}")})).collect();
        let mut rig = Rig::new();
        rig.objects.policies = vec![policy("p", json!({"callers": callers}))];
        let federation = rig.federate();
        let last = call(&federation, "beta", &format!("ns/n{}/sa/x", count - 1)).reason;
        (last, found(&federation.findings, Reason::InvalidPolicy).len())
    };
    assert_eq!(reasons(MAX_CALLER_PATTERNS), (Word::Granted, 0));
    assert_eq!(reasons(MAX_CALLER_PATTERNS + 1), (Word::NotGranted, 1));
}

#[test]
fn a_grant_holds_its_maximum_of_callers_from_several_policies() {
    let mut rig = Rig::new();
    let callers = |prefix: &str, count: usize| {
        (0..count).map(|n| json!({"namespace": format!("{prefix}{n}")})).collect::<Vec<_>>()
    };
    rig.objects.policies = vec![
        policy("a", json!({"callers": callers("a", 400)})),
        policy("b", json!({"callers": callers("b", 600)})),
    ];
    let federation = rig.federate();
    assert!(found(&federation.findings, Reason::TooManyCallers).is_empty());
    for caller in ["ns/a399/sa/x", "ns/b599/sa/x"] {
        assert_eq!(call(&federation, "beta", caller).reason, Word::Granted, "{caller}");
    }
}

#[test]
fn label_selectors_work_as_in_kubernetes() {
    let selects = |selector: serde_json::Value| {
        let mut rig = Rig::new();
        rig.objects.services[0]
            .labels
            .extend([("tier".to_owned(), "front".to_owned()), ("empty".to_owned(), String::new())]);
        rig.objects.policies = vec![policy("p", json!({"services": [{"selector": selector}]}))];
        outcome(&rig.federate(), "beta") == GRANTED
    };
    let expression = |key: &str, operator: &str, values: &[&str]| {
        selects(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
    };
    assert!(selects(json!({})));
    assert!(selects(json!({"matchLabels": {"tier": "front"}})));
    assert!(!selects(json!({"matchLabels": {"tier": "back"}})));
    assert!(!selects(json!({"matchLabels": {"tier": "front", "other": ""}})));
    assert!(
        expression("tier", "In", &["back", "front"])
            && !expression("tier", "In", &["back"])
            && !expression("x", "In", &["back"])
    );
    assert!(
        expression("tier", "NotIn", &["back"])
            && !expression("tier", "NotIn", &["front"])
            && expression("x", "NotIn", &["front"])
    );
    assert!(expression("empty", "Exists", &[]) && !expression("x", "Exists", &[]));
    assert!(expression("x", "DoesNotExist", &[]) && !expression("tier", "DoesNotExist", &[]));
}

#[test]
fn a_grant_names_who_decided() {
    let mut rig = Rig::new();
    let text = |rig: &Rig| web(&rig.federate()).grant_of(&name("beta")).unwrap().to_string();
    assert_eq!(text(&rig), "the Service is exported, and no policy selects the peer");
    rig.objects.policies =
        vec![policy("a", json!({"services": [{"ports": [1]}]})), policy("b", json!({}))];
    assert_eq!(text(&rig), "allowed by FederationPolicy b");
    rig.objects.policies.pop();
    assert_eq!(text(&rig), "no policy allows it, and the peer is selected by FederationPolicy a");
}
