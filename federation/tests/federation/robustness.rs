//! `federate` answers whatever comes in, and imports stay under their peer's trust domain.

use crate::rig::Rig;
use crate::rig::{
    TIMES, at, beta, federation_object, key, name, private, public, root, token_audience, uuid,
};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{Limits, PrivateDocument, PublicDocument, SpiffeBundle};
use fedgate_federation::knowledge::{DocumentKind, ExchangeReason, PeerKnowledge};
use fedgate_federation::object::{
    IstioFederationSpec, Named, Peer, PolicyObject, ServiceObject, ServicePortSpec,
};
use fedgate_federation::token::{DEFAULT_LEEWAY, verify};
use proptest::prelude::*;
use std::sync::LazyLock;

static ROOTS: LazyLock<Vec<Root>> = LazyLock::new(|| (0..3).map(|_| root()).collect());

/// Names that are right, foreign or wrong.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("web.shop.svc.beta.example".to_owned()),
        Just("web.shop.svc.gamma.example".to_owned()),
        Just("web.shop.svc.alpha.example".to_owned()),
        Just("evil.svc.beta.example.gamma.example".to_owned()),
        "[a-z.]{0,12}\\.svc\\.(beta|gamma)\\.example",
        "\\PC{0,40}",
    ]
}

fn row() -> impl Strategy<Value = serde_json::Value> {
    let ports = proptest::collection::vec(("[a-z-]{0,6}", any::<u16>()), 0..3);
    (host(), ports).prop_map(|(hostname, ports)| {
        let ports: Vec<_> = ports
            .into_iter()
            .map(|(name, port)| serde_json::json!({"name": name, "port": port}))
            .collect();
        serde_json::json!({"hostname": hostname, "ports": ports})
    })
}

fn private_body() -> impl Strategy<Value = Vec<u8>> {
    let gateway = ("(192\\.0\\.2\\.1|[0-9.]{0,9}|\\PC{0,9})", any::<u16>())
        .prop_map(|(address, port)| serde_json::json!({"address": address, "port": port}));
    let extension = proptest::option::of((0u64..5, 0u64..4));
    let whole = (
        proptest::collection::vec(gateway, 0..3),
        proptest::collection::vec(row(), 0..6),
        extension,
    )
        .prop_map(|(gateways, services, extension)| {
            let mut value =
                serde_json::json!({"ingressGateways": gateways, "publicServices": services});
            if let Some((sequence, wrong)) = extension {
                let count = services.len() as u64 + wrong.saturating_sub(2);
                value["fedgate"] = serde_json::json!({"sequence": sequence, "serviceCount": count});
            }
            value.to_string().into_bytes()
        });
    prop_oneof![4 => whole, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
}

#[derive(Debug, Clone)]
enum Step {
    Public { peer: usize, uuid: char, roots: usize },
    Private { peer: usize, body: Vec<u8> },
    Failed { peer: usize },
    NotModified { peer: usize },
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..2, proptest::sample::select(vec!['1', '2', '3']), 0usize..3)
            .prop_map(|(peer, uuid, roots)| Step::Public { peer, uuid, roots }),
        (0usize..2, private_body()).prop_map(|(peer, body)| Step::Private { peer, body }),
        (0usize..2).prop_map(|peer| Step::Failed { peer }),
        (0usize..2).prop_map(|peer| Step::NotModified { peer }),
        (-100i64..4000).prop_map(Step::Wait),
    ]
}

fn take(knowledge: &mut PeerKnowledge, peer: &Peer, step: &Step, now: i64) {
    let limits = Limits::default();
    match step {
        Step::Public { uuid, roots, .. } => {
            let document =
                public(*uuid, 2, peer.trust_domain.as_str(), vec![ROOTS[*roots].clone()]);
            knowledge.absorb_public(
                peer,
                &document.to_json(),
                Default::default(),
                &limits,
                at(now),
            );
        }
        Step::Private { body, .. } => {
            knowledge.absorb_private(peer, body, Default::default(), &limits, &TIMES, at(now));
        }
        Step::Failed { .. } => knowledge.record_failure(
            DocumentKind::Public,
            ExchangeReason::FetchFailed,
            "x",
            at(now),
        ),
        Step::NotModified { .. } => knowledge.record_not_modified(DocumentKind::Private, at(now)),
        Step::Wait(_) => {}
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9-]{0,8}",
        "[a-z]{1,5}\\.example",
        "https://[a-z]{1,5}\\.test/[a-z/]{0,5}",
        "\\PC{0,30}"
    ]
}

fn objects()
-> impl Strategy<Value = (Vec<Named<IstioFederationSpec>>, Vec<ServiceObject>, Vec<serde_json::Value>)>
{
    let federation =
        (text(), text(), text()).prop_map(|(name, trust_domain, metadata_endpoint)| Named {
            name,
            source: None,
            annotations: Default::default(),
            spec: IstioFederationSpec { trust_domain, metadata_endpoint, ..Default::default() },
        });
    let port = (proptest::option::of(text()), any::<u16>())
        .prop_map(|(name, port)| ServicePortSpec { name, port, ..Default::default() });
    let service = (text(), text(), text(), proptest::collection::vec(port, 0..3)).prop_map(
        |(namespace, name, annotation, ports)| {
            let mut service = crate::rig::service(&name, ports);
            service.namespace = namespace;
            service.annotations.insert("fedgate.dev/peers".to_owned(), annotation);
            service
        },
    );
    let policy = (text(), text())
        .prop_map(|(peer, namespace)| serde_json::json!({"peers": [peer], "services": [{"namespaces": [namespace]}]}));
    (
        proptest::collection::vec(federation, 0..4),
        proptest::collection::vec(service, 0..4),
        proptest::collection::vec(policy, 0..2),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn imports_stay_under_their_peers_trust_domain(steps in proptest::collection::vec(step(), 0..12)) {
        let mut rig = Rig::new();
        let peers = ["beta", "gamma"].map(|name| Peer::parse(rig.object(name)).unwrap().0);
        let mut now = 10;
        for step in &steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Public { peer, .. } | Step::Private { peer, .. } | Step::Failed { peer } | Step::NotModified { peer } => {
                    take(rig.known(peers[*peer].name.as_str()), &peers[*peer], step, now);
                }
            }
            rig.now = at(now);
            let federation = rig.federate();
            rig.previous = federation.published.clone();
            for import in federation.imports.iter() {
                let suffix = format!(".svc.{}.example", import.peer);
                prop_assert!(import.service.host.as_str().ends_with(&suffix), "{import:?}");
                prop_assert!(federation.bundles.contains_key(&import.trust_domain) && !import.gateways.is_empty());
            }
            let ours = uuid('1');
            prop_assert!(!federation.members.contains_key(&ours));
            prop_assert!(federation.peers.iter().all(|report| token_audience(&federation, &report.peer.name) != Some(&ours)));
            // The same inputs give the same outputs.
            let again = rig.federate();
            prop_assert_eq!((federation.imports, federation.findings), (again.imports, again.findings));
        }
    }

    #[test]
    fn any_objects_are_handled((federations, services, policies) in objects()) {
        let mut rig = Rig::new();
        rig.objects.federations.extend(federations);
        rig.objects.services.extend(services);
        let read = |(n, spec): (usize, &serde_json::Value)| PolicyObject::read(format!("p{n}"), None, spec).0;
        rig.objects.policies = policies.iter().enumerate().map(read).collect();
        let federation = rig.federate();
        let table = federation.table.as_ref().unwrap();
        prop_assert_eq!(table.rows() as usize, federation.exports.len());
        prop_assert!(table.peer_count() >= 2);
        for (service, _) in table.exports() {
            prop_assert!(service.host.as_str().ends_with(".svc.alpha.example"));
        }
    }

    #[test]
    fn any_bytes_are_handled(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let limits = Limits::default();
        let _ = PublicDocument::parse(&bytes, &beta(), &limits);
        let _ = PrivateDocument::parse(&bytes, &crate::rig::domain("beta.example"), &beta(), &limits);
        let _ = SpiffeBundle::parse(&bytes, &limits);
        let _ = Root::from_der(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = fedgate_federation::bundle::roots_from_pem(&format!("-----BEGIN CERTIFICATE-----{text}"), 100);
        prop_assert!(verify(&text, &uuid('1'), |_| Some(key(1).public()), at(0), DEFAULT_LEEWAY).is_err());
        let _ = Peer::parse(&federation_object(&text, &text));
    }

    #[test]
    fn a_damaged_certificate_is_handled(index in 0usize..600, byte in any::<u8>()) {
        let mut der = ROOTS[0].der().to_vec();
        let index = index % der.len();
        der[index] = byte;
        let _ = Root::from_der(&der);
    }

    #[test]
    fn an_accepted_document_round_trips(body in private_body()) {
        let trust_domain = crate::rig::domain("beta.example");
        let parse = |body: &[u8]| PrivateDocument::parse(body, &trust_domain, &beta(), &Limits::default());
        if let Ok(parsed) = parse(&body) {
            // Dropped rows change the count.
            let count = parsed.document.services.len() as u64;
            let mut document = parsed.document;
            if let Some(extension) = &mut document.extension {
                extension.service_count = count;
            }
            let again = parse(&document.to_json()).unwrap();
            prop_assert_eq!(again.findings.len(), 0);
            prop_assert_eq!(again.document, document);
        }
    }
}

#[test]
fn a_hostile_peer_does_not_affect_the_others() {
    let mut rig = Rig::new();
    let rows: Vec<_> = (0..2000)
        .map(|n| crate::rig::offered(&format!("x{n}.shop.svc.gamma.example"), &[("http", 80)]))
        .collect();
    let document = private(9, &["192.0.2.9"], rows);
    rig.absorb("beta", &document, at(1));
    let federation = rig.federate();
    assert_eq!(
        federation.imports.iter().map(|import| &import.peer).collect::<Vec<_>>(),
        [&name("gamma")]
    );
}
