//! Compares grants with a naive twin: policies, annotations and callers from small pools, decided
//! by the plainest possible code.

use crate::grants::{GRANTED, NOT_GRANTED};
use crate::rig::{Rig, domain, found, name, port, service};
use fedgate_core::{Mode, Outcome, Reason as Word, decide};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::object::{
    CallerSpec, FederationPolicySpec, LabelSelector, LabelSelectorOperator,
    LabelSelectorRequirement, PEERS_ANNOTATION, PolicyBody, PolicyObject, PortRef, ServiceObject,
    ServiceRule,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    policies: Vec<FederationPolicySpec>,
    admitted: Vec<Option<Vec<&'static str>>>,
}

fn some_of(pool: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    proptest::option::of(proptest::sample::subsequence(pool, 1..=pool.len()).prop_map(owned))
}

fn requirement() -> impl Strategy<Value = LabelSelectorRequirement> {
    use LabelSelectorOperator::{DoesNotExist, Exists, In, NotIn};
    let operator = proptest::sample::select(vec![In, NotIn, Exists, DoesNotExist]);
    (proptest::sample::select(vec!["tier", "team"]), operator).prop_map(|(key, operator)| {
        LabelSelectorRequirement {
            key: key.to_owned(),
            operator,
            values: if matches!(operator, In | NotIn) { vec!["a".to_owned()] } else { vec![] },
        }
    })
}

fn rule() -> impl Strategy<Value = ServiceRule> {
    let ports = proptest::option::of(proptest::sample::select(vec![
        PortRef::Number(80),
        PortRef::Name("http".to_owned()),
        PortRef::Number(1),
    ]));
    let selector = proptest::option::of(proptest::collection::vec(requirement(), 0..2));
    (some_of(&["shop", "s*", "other", "*"]), selector, ports).prop_map(
        |(namespaces, expressions, port)| ServiceRule {
            namespaces,
            selector: expressions.map(|match_expressions| LabelSelector {
                match_expressions,
                ..LabelSelector::default()
            }),
            ports: port.map(|port| vec![port]),
        },
    )
}

fn caller() -> impl Strategy<Value = CallerSpec> {
    let pool = || {
        proptest::option::of(proptest::sample::select(vec![
            "shop".to_owned(),
            "w*".to_owned(),
            "*".to_owned(),
        ]))
    };
    (pool(), pool())
        .prop_map(|(namespace, service_account)| CallerSpec { namespace, service_account })
}

fn spec() -> impl Strategy<Value = FederationPolicySpec> {
    let list = |strategy| proptest::option::of(proptest::collection::vec(strategy, 1..3));
    let callers = proptest::option::of(proptest::collection::vec(caller(), 1..3));
    let mode = proptest::option::of(proptest::sample::select(vec![Mode::Enforce, Mode::Audit]));
    (some_of(&["beta", "gamma", "delta"]), list(rule().boxed()), callers, mode).prop_map(
        |(peers, services, callers, mode)| FederationPolicySpec { peers, services, callers, mode },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let admitted =
        proptest::option::of(proptest::sample::subsequence(vec!["beta", "gamma"], 1..=2));
    (proptest::collection::vec(spec(), 0..4), proptest::collection::vec(admitted, 4))
        .prop_map(|(policies, admitted)| Case { policies, admitted })
}

/// Four Services with different labels and ports, in two namespaces.
fn rig_of(case: &Case) -> Rig {
    let mut rig = Rig::new();
    rig.objects.services = (0..4)
        .map(|n| {
            let mut one =
                service(&format!("s{n}"), vec![port("http", if n == 3 { 81 } else { 80 })]);
            one.namespace = if n % 2 == 0 { "shop" } else { "other" }.to_owned();
            one.labels.insert(
                if n < 2 { "tier" } else { "team" }.to_owned(),
                if n == 1 { "b" } else { "a" }.to_owned(),
            );
            if let Some(peers) = &case.admitted[n] {
                one.annotations.insert(PEERS_ANNOTATION.to_owned(), peers.join(","));
            }
            one
        })
        .collect();
    let object = |(n, spec): (usize, &FederationPolicySpec)| PolicyObject {
        name: format!("p{n}"),
        source: None,
        body: PolicyBody::Spec(spec.clone()),
    };
    rig.objects.policies = case.policies.iter().enumerate().map(object).collect();
    rig
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len()
                && text.starts_with(before)
                && text.ends_with(after)
        }
    }
}

fn twin_rule(rule: &ServiceRule, service: &ServiceObject) -> bool {
    let spec = &service.ports[0];
    let namespaces = rule
        .namespaces
        .as_ref()
        .is_none_or(|list| list.iter().any(|p| glob(p, &service.namespace)));
    let ports = rule.ports.as_ref().is_none_or(|list| {
        list.contains(&PortRef::Number(spec.port))
            || list.contains(&PortRef::Name("http".to_owned()))
    });
    let labels = rule.selector.as_ref().is_none_or(|s| {
        s.match_expressions.iter().all(|e| {
            let value = service.labels.get(&e.key);
            match e.operator {
                LabelSelectorOperator::In => value.is_some_and(|v| e.values.contains(v)),
                LabelSelectorOperator::NotIn => !value.is_some_and(|v| e.values.contains(v)),
                LabelSelectorOperator::Exists => value.is_some(),
                LabelSelectorOperator::DoesNotExist => value.is_none(),
            }
        })
    });
    namespaces && ports && labels
}

fn twin(
    case: &Case,
    n: usize,
    service: &ServiceObject,
    peer: &str,
    caller: Option<(&str, &str)>,
) -> (Outcome, Word) {
    if case.admitted[n].as_ref().is_some_and(|list| !list.contains(&peer)) {
        return NOT_GRANTED;
    }
    let selecting: Vec<_> = case
        .policies
        .iter()
        .filter(|p| p.peers.as_ref().is_none_or(|list| list.iter().any(|n| n == peer)))
        .collect();
    if selecting.is_empty() {
        return GRANTED;
    }
    let audit = selecting.iter().all(|p| p.mode == Some(Mode::Audit));
    let refused = if audit { Outcome::Audited } else { Outcome::Refused };
    let allowing: Vec<_> = selecting
        .iter()
        .filter(|p| {
            p.services.as_ref().is_none_or(|list| list.iter().any(|r| twin_rule(r, service)))
        })
        .collect();
    if allowing.is_empty() {
        return (refused, Word::NotGranted);
    }
    let matches = |c: &CallerSpec| {
        caller.is_some_and(|(ns, sa)| {
            glob(c.namespace.as_deref().unwrap_or("*"), ns)
                && glob(c.service_account.as_deref().unwrap_or("*"), sa)
        })
    };
    match allowing.iter().any(|p| p.callers.as_ref().is_none_or(|list| list.iter().any(matches))) {
        true => GRANTED,
        false => (refused, Word::CallerNotGranted),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_table_decides_as_the_model(case in case()) {
        let rig = rig_of(&case);
        let federation = rig.federate();
        prop_assert!(found(&federation.findings, Reason::InvalidPolicy).is_empty());
        let table = federation.table.as_ref().unwrap();
        for (n, service) in rig.objects.services.iter().enumerate() {
            let host = format!("{}.{}.svc.alpha.example", service.name, service.namespace);
            let sni = format!("outbound_.{}_._.{host}", service.ports[0].port);
            for peer in ["beta", "gamma"] {
                for caller in [Some(("shop", "web")), Some(("other", "api")), None] {
                    let path = caller.map_or("workload/1".to_owned(), |(ns, sa)| format!("ns/{ns}/sa/{sa}"));
                    let decision = decide(table, Some(&sni), Some(&format!("spiffe://{peer}.example/{path}")));
                    prop_assert_eq!((decision.outcome, decision.reason), twin(&case, n, service, peer, caller));
                }
                // An export is announced to a peer exactly if some caller of it could reach it.
                let known = federation.private_documents[&name(peer)].services.iter().any(|s| s.hostname.as_str() == host);
                let reachable = table.export(&host, fedgate_core::ServicePort::new(service.ports[0].port).unwrap())
                    .is_some_and(|export| table.grants(export).iter().any(|(row, _)| row.trust_domain == domain(&format!("{peer}.example")).as_str()));
                prop_assert_eq!(known, reachable);
            }
        }
    }
}
