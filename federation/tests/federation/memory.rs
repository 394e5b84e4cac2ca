//! Memory makes a compilation cheaper and never changes its result.

use crate::rig::{Rig, at, domain, gateway, hostname, name, offered, public, root, uuid};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{PrivateDocument, WorkloadIdentity};
use fedgate_federation::federate::{Memory, federate_again};
use proptest::prelude::*;
use std::sync::LazyLock;

static ROOTS: LazyLock<Vec<Root>> = LazyLock::new(|| (0..2).map(|_| root()).collect());

const PEERS: [&str; 2] = ["beta", "gamma"];

/// A change of one input. Numbers choose among a few values, so that old ones come back.
#[derive(Debug, Clone)]
enum Step {
    Services { peer: usize, services: Vec<u16> },
    Gateways { peer: usize, gateways: Vec<usize> },
    Passthrough { peer: usize, service: u16 },
    Identity { peer: usize, is_named: bool },
    Public { peer: usize, uuid: usize, root: usize },
    LookedUp { peer: usize, address: u8 },
    OwnGateway { gateway: usize },
    Objects { present: usize },
    TrustDomain { swapped: bool },
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..PEERS.len();
    prop_oneof![
        (peer(), proptest::collection::vec(0u16..4, 0..4))
            .prop_map(|(peer, services)| Step::Services { peer, services }),
        (peer(), proptest::collection::vec(0usize..3, 0..3))
            .prop_map(|(peer, gateways)| Step::Gateways { peer, gateways }),
        (peer(), 0u16..4).prop_map(|(peer, service)| Step::Passthrough { peer, service }),
        (peer(), any::<bool>()).prop_map(|(peer, is_named)| Step::Identity { peer, is_named }),
        (peer(), 0usize..3, 0usize..2).prop_map(|(peer, uuid, root)| Step::Public {
            peer,
            uuid,
            root
        }),
        (peer(), 1u8..3).prop_map(|(peer, address)| Step::LookedUp { peer, address }),
        (0usize..3).prop_map(|gateway| Step::OwnGateway { gateway }),
        (0usize..3).prop_map(|present| Step::Objects { present }),
        any::<bool>().prop_map(|swapped| Step::TrustDomain { swapped }),
        (0i64..2000).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn announced(number: usize) -> &'static str {
    ["192.0.2.1", "192.0.2.9", "gw.example"][number]
}

fn trust_domain(peer: usize) -> String {
    format!("{}.example", PEERS[peer])
}

fn host(peer: usize, service: u16) -> String {
    format!("s{service}.shop.svc.{}", trust_domain(peer))
}

fn document(rig: &mut Rig, peer: usize) -> &mut PrivateDocument {
    &mut rig.known(PEERS[peer]).private.as_mut().unwrap().document
}

fn apply(rig: &mut Rig, step: &Step) {
    match step {
        Step::Services { peer, services } => {
            let service =
                |service: &u16| offered(&host(*peer, *service), &[("http", 80 + service)]);
            document(rig, *peer).services = services.iter().map(service).collect();
        }
        Step::Gateways { peer, gateways } => {
            let gateways = gateways.iter().map(|number| gateway(announced(*number)));
            document(rig, *peer).gateways = gateways.collect();
        }
        Step::Passthrough { peer, service } => {
            let host = hostname(&host(*peer, *service));
            document(rig, *peer).extension.as_mut().unwrap().passthrough_hosts = vec![host];
        }
        Step::Identity { peer, is_named } => {
            let uri = format!("spiffe://{}/ns/istio-system/sa/gateway", trust_domain(*peer));
            let identity = WorkloadIdentity::parse(&uri).unwrap();
            let named = is_named.then_some(identity).into_iter().collect();
            document(rig, *peer).extension.as_mut().unwrap().gateway_identities = named;
        }
        Step::Public { peer, uuid, root } => {
            let (digit, root) = (['2', '3', '4'][*uuid], ROOTS[*root].clone());
            let document = public(digit, digit as u8, &trust_domain(*peer), vec![root]);
            rig.known(PEERS[*peer]).public.as_mut().unwrap().document = document;
        }
        Step::LookedUp { peer, address } => {
            let now = rig.now;
            rig.looked_up(PEERS[*peer], &[("gw.example", &[&format!("192.0.2.{address}")])], now);
        }
        Step::OwnGateway { gateway: number } => {
            rig.local.gateways = vec![gateway(announced(*number))];
        }
        Step::Objects { present } => {
            let objects = Rig::new().objects.federations;
            rig.objects.federations = objects.into_iter().take(*present).collect();
        }
        Step::TrustDomain { swapped } => {
            let domains = if *swapped {
                ["gamma.example", "beta.example"]
            } else {
                ["beta.example", "gamma.example"]
            };
            for (object, domain) in rig.objects.federations.iter_mut().zip(domains) {
                object.spec.trust_domain = domain.to_owned();
            }
            let knowledge = rig.knowledge.values_mut().zip(domains);
            knowledge.for_each(|(known, text)| known.trust_domain = domain(text));
        }
        Step::Wait { seconds } => rig.now = at(rig.now.as_second() - at(0).as_second() + seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_run_with_memory_says_the_same_as_one_without(steps in proptest::collection::vec(step(), 0..20)) {
        let (mut rig, mut memory) = (Rig::new(), Memory::default());
        rig.local.cluster_uuid = uuid('9');
        for step in &steps {
            apply(&mut rig, step);
            let again = federate_again(&rig.inputs(), &mut memory);
            let whole = rig.federate();
            prop_assert_eq!(format!("{again:#?}"), format!("{whole:#?}"), "after {:?}", step);
            rig.previous = whole.published;
        }
    }
}

#[test]
fn only_the_imports_of_a_changed_peer_are_made_again() {
    let (mut rig, mut memory) = (Rig::new(), Memory::default());
    let first = federate_again(&rig.inputs(), &mut memory);
    apply(&mut rig, &Step::Services { peer: 0, services: vec![1, 2] });
    let second = federate_again(&rig.inputs(), &mut memory);
    let same = |peer| {
        let [before, after] =
            [&first, &second].map(|run| run.imports.of(&trust_domain(peer)).as_ptr());
        before == after
    };
    assert!(!same(0) && same(1));
    assert_eq!(second.imports.of("beta.example").len(), 2);
    // What is gone is forgotten.
    rig.objects.federations.clear();
    rig.knowledge.remove(&name("beta"));
    assert!(federate_again(&rig.inputs(), &mut memory).imports.is_empty());
    assert_eq!(format!("{memory:?}"), format!("{:?}", Memory::default()));
}
