use super::*;
use fedgate_federation::federate::{Import, Protocol, ServerIdentity};
use proptest::prelude::*;
use std::sync::Arc;

fn service_of(peer: &str, number: usize) -> ServiceName {
    ServiceName::parse(&format!("s{number}.shop.svc.{peer}.example:80")).unwrap()
}

fn service(number: usize) -> ServiceName {
    service_of("beta", number)
}

fn of(peer: &str, numbers: impl IntoIterator<Item = usize>) -> BTreeSet<ServiceName> {
    numbers.into_iter().map(|number| service_of(peer, number)).collect()
}

fn services(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<ServiceName> {
    of("beta", numbers)
}

fn imports(services: &BTreeSet<ServiceName>) -> Imports {
    let import = |service: &ServiceName| {
        let trust_domain = fedgate_core::TrustDomain::parse(owner(service)).unwrap();
        Import {
            peer: fedgate_core::PeerName::parse("peer").unwrap(),
            service: service.clone(),
            port_name: "http".into(),
            protocol: Protocol::Http,
            gateways: [].into(),
            passthrough: false,
            server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
            trust_domain,
        }
    };
    services.iter().map(import).collect()
}

fn free(_: u16) -> bool {
    true
}

const PEERS: [&str; 4] = ["beta.example", "gamma.example", "delta.example", "epsilon.example"];

/// An allocation with all peers present and no limit on open ports.
fn given(
    previous: &BTreeMap<ServiceName, u16>,
    imports: &BTreeSet<ServiceName>,
    range: RangeInclusive<u16>,
    is_free: impl FnMut(u16) -> bool,
) -> Allocation {
    allocate(
        &PortRequest {
            previous,
            imports: &self::imports(imports),
            peers: &PEERS.into(),
            taken: &BTreeSet::new(),
            range,
            most: usize::MAX,
        },
        is_free,
    )
}

fn count(allocation: &Allocation, peer: &str) -> usize {
    allocation.ports.keys().filter(|service| owner(service) == format!("{peer}.example")).count()
}

#[test]
fn an_import_keeps_its_port_when_others_change() {
    let first = given(&BTreeMap::new(), &services(0..5), 15_000..=15_199, free);
    let second = given(&first.reserved, &services(3..50), 15_000..=15_199, free);
    let third = given(&second.reserved, &services(0..5), 15_000..=15_199, free);
    assert_eq!(first.ports, third.ports);
    assert_eq!(second.ports[&service(3)], first.ports[&service(3)]);
}

#[test]
fn a_port_in_use_is_not_assigned_anew_but_kept_by_its_import() {
    let first = given(&BTreeMap::new(), &services([0]), 15_000..=15_003, free);
    let port = first.ports[&service(0)];
    let second = given(&first.reserved, &services([0, 1]), 15_000..=15_003, |other| other != port);
    assert_eq!(second.ports[&service(0)], port);
    assert_ne!(second.ports[&service(1)], port);
}

#[test]
fn one_peer_leaves_ports_for_present_and_future_peers() {
    let range = 15_100..=15_999;
    let all =
        |more: &[BTreeSet<ServiceName>]| more.iter().flatten().cloned().collect::<BTreeSet<_>>();
    let (beta, gamma) = (services(0..1000), of("gamma", 0..20));
    let first = given(&BTreeMap::new(), &all(&[beta.clone(), gamma.clone()]), range.clone(), free);
    assert_eq!((count(&first, "beta"), count(&first, "gamma")), (441, 20));

    // Beta comes first, alone, and announces everything. The others come later, one of them just as
    // greedy.
    let alone = given(&BTreeMap::new(), &beta, range.clone(), free);
    assert_eq!(count(&alone, "beta"), 451);
    let later = all(&[beta.clone(), gamma.clone(), of("delta", 0..1000)]);
    let later = given(&alone.reserved, &later, range.clone(), free);
    assert_eq!(["beta", "gamma", "delta"].map(|peer| count(&later, peer)), [451, 20, 215]);
    assert!(
        alone.ports.iter().all(|(service, port)| later.ports[service] == *port),
        "nobody's port is taken away"
    );
    let last = all(&[beta, gamma, of("delta", 0..1000), of("epsilon", 0..50)]);
    assert_eq!(count(&given(&later.reserved, &last, range, free), "epsilon"), 50);
}

/// A peer that announces other names each hour reserves no more than its share, and takes no other
/// peer's place.
#[test]
fn reservations_count_in_a_peers_share_and_pass_only_to_its_imports() {
    let range = 15_000..=15_039;
    let gamma = of("gamma", 0..5);
    let first = given(&BTreeMap::new(), &gamma, range.clone(), free);
    let mut reserved = first.reserved.clone();
    for round in 0..20 {
        // Gamma's document is missing for a while.
        let beta = services(round * 40..round * 40 + 40);
        let next = given(&reserved, &beta, range.clone(), free);
        assert_eq!(next.ports.len(), 18, "round {round}");
        reserved = next.reserved;
    }
    let back = given(&reserved, &gamma, range.clone(), free);
    assert_eq!(back.ports, first.ports);
    // Once gamma itself is gone, anyone may take over its reservations, within the share.
    let peers = ["beta.example"].into();
    let full: BTreeMap<_, _> = of("gamma", 0..40).into_iter().zip(15_000..).collect();
    let request = PortRequest {
        previous: &full,
        imports: &imports(&services(0..3)),
        peers: &peers,
        taken: &BTreeSet::new(),
        range,
        most: usize::MAX,
    };
    assert_eq!(allocate(&request, free).ports.len(), 3);
    assert!(
        allocate(&PortRequest { peers: &PEERS.into(), ..request }, free).ports.is_empty(),
        "not while it is a peer"
    );
}

#[test]
fn open_ports_are_limited_by_envoys_descriptors() {
    let range = 15_100..=15_999;
    let imports: BTreeSet<_> = services(0..100).union(&of("gamma", 0..5)).cloned().collect();
    let request = PortRequest {
        previous: &BTreeMap::new(),
        imports: &self::imports(&imports),
        peers: &PEERS.into(),
        taken: &BTreeSet::new(),
        range,
        most: 40,
    };
    let few = allocate(&request, free);
    assert_eq!(["beta", "gamma"].map(|peer| count(&few, peer)), [18, 5]);
    // Fewer than before: those that stay keep their ports, and the others their reservations.
    let wide = allocate(&PortRequest { most: 1000, ..request.clone() }, free);
    let fewer =
        allocate(&PortRequest { previous: &wide.reserved, most: 20, ..request.clone() }, free);
    assert_eq!(["beta", "gamma"].map(|peer| count(&fewer, peer)), [15, 5]);
    assert!(fewer.ports.iter().all(|(service, port)| wide.ports[service] == *port));
    assert_eq!(
        allocate(&PortRequest { previous: &fewer.reserved, most: 1000, ..request }, free).ports,
        wide.ports
    );
}

/// `a-0.a.shop` comes before `s0.shop` by name.
#[test]
fn the_pods_of_a_service_do_not_take_the_ports_of_others() {
    let pod = |n| ServiceName::parse(&format!("a-{n}.a.shop.svc.beta.example:80")).unwrap();
    let pods: BTreeSet<_> = (0..50).map(pod).collect();
    let all: BTreeSet<_> = pods.iter().cloned().chain(services(0..5)).collect();
    let allocation = given(&BTreeMap::new(), &all, 1000..=1019, free);
    assert_eq!(count(&allocation, "beta"), 11);
    assert!(services(0..5).iter().all(|service| allocation.ports.contains_key(service)));

    // Those that have a port already keep it first if only a few can be open.
    let request = PortRequest {
        previous: &allocation.reserved,
        imports: &imports(&all),
        peers: &PEERS.into(),
        taken: &BTreeSet::new(),
        range: 1000..=1019,
        most: 5,
    };
    let few: BTreeSet<_> = allocate(&request, free).ports.into_keys().collect();
    assert_eq!(few, services(0..5));
}

#[test]
fn a_new_range_moves_all_imports() {
    let first = given(&BTreeMap::new(), &services(0..3), 15_000..=15_009, free);
    let second = given(&first.reserved, &services(0..3), 16_000..=16_009, free);
    assert!(
        second.ports.values().all(|port| (16_000..=16_009).contains(port))
            && second.ports.len() == 3
    );
}

#[test]
fn the_first_choice_follows_from_the_name() {
    let lost = given(&BTreeMap::new(), &services([7]), 15_000..=15_999, free);
    let kept = given(&BTreeMap::new(), &services([7, 8]), 15_000..=15_999, free);
    assert_eq!(lost.ports[&service(7)], kept.ports[&service(7)]);
    let everything = given(&BTreeMap::new(), &services([7]), 0..=u16::MAX, free);
    assert_eq!(everything.ports.len(), 1);
}

#[test]
#[allow(clippy::reversed_empty_ranges, reason = "it is what a wrong setting says")]
fn an_empty_range_has_no_ports() {
    let none = given(&BTreeMap::new(), &services(0..2), 15_001..=15_000, free);
    assert!(none.ports.is_empty());
}

#[test]
fn a_services_owner_is_its_trust_domain() {
    for (name, expected) in
        [("svc.svc.svc.beta.example:80", "beta.example"), ("a.b.svc.svc.example:1", "svc.example")]
    {
        assert_eq!(owner(&ServiceName::parse(name).unwrap()), expected);
    }
}

proptest! {
    #[test]
    fn ports_are_unique_and_within_the_range(
        rounds in prop::collection::vec(prop::collection::btree_set((0usize..3, 0usize..30), 0..40), 1..6),
        used in prop::collection::btree_set(15_000u16..15_020, 0..10),
        most in 0usize..30,
    ) {
        let mut reserved = BTreeMap::new();
        for round in rounds {
            let imports: BTreeSet<_> = round.into_iter().map(|(peer, n)| service_of(["beta", "gamma", "delta"][peer], n)).collect();
            let request =
                PortRequest { previous: &reserved, imports: &self::imports(&imports), peers: &PEERS.into(), taken: &BTreeSet::new(), range: 15_000..=15_019, most };
            let next = allocate(&request, |port| !used.contains(&port));
            let distinct: BTreeSet<_> = next.reserved.values().collect();
            prop_assert_eq!(distinct.len(), next.reserved.len());
            prop_assert!(next.reserved.values().all(|port| (15_000..15_020).contains(port) && !used.contains(port)));
            prop_assert!(next.ports.keys().all(|service| imports.contains(service)));
            prop_assert!(next.ports.len() <= most);
            for (service, port) in &next.ports {
                prop_assert!(reserved.get(service).is_none_or(|before| before == port));
                // A port of another peer must not become this one's.
                let before = reserved.iter().find(|(_, other)| *other == port);
                prop_assert!(before.is_none_or(|(other, _)| owner(other) == owner(service)));
            }
            reserved = next.reserved;
        }
    }
}

mod of_names {
    use super::*;
    use crate::allocate_federated;
    use fedgate_federation::federate::{FederatedPort, FederatedService, Imports, Protocol};

    fn name(number: usize) -> FederatedService {
        let service: ServiceName = format!("n{number}.shop.global:80").parse().unwrap();
        let host = service.host.clone();
        let protocol = Protocol::Http;
        let port = FederatedPort {
            service,
            port_name: "http".into(),
            protocol,
            check: None,
            members: Vec::new(),
        };
        FederatedService {
            namespace: "shop".into(),
            name: format!("n{number}"),
            source: None,
            host,
            ports: vec![port],
        }
    }

    #[test]
    fn a_name_keeps_its_port_and_takes_none_of_an_import() {
        let range = 15_000..=15_009;
        let first = given(&BTreeMap::new(), &services(0..4), range.clone(), free);
        let used: BTreeSet<_> = first.ports.values().copied().collect();
        let names = [name(1), name(2)];
        let imports = imports(&services(0..4));
        let allocate = |names: &[FederatedService], previous: &BTreeMap<_, _>| {
            allocate_federated(names, previous, &imports, &range, free)
        };
        let ports = allocate(&names, &first.reserved);
        assert_eq!(ports.len(), 2);
        assert!(ports.values().all(|port| range.contains(port) && !used.contains(port)));
        let mut reserved = first.reserved.clone();
        reserved.extend(ports.clone());
        assert_eq!(allocate(&names, &reserved), ports);
        assert_eq!(allocate(&names[1..], &reserved).len(), 1);
        // Imports take no port of a name.
        let taken: BTreeSet<u16> = ports.values().copied().collect();
        let more = super::imports(&services(0..20));
        let request = PortRequest {
            previous: &first.reserved,
            imports: &more,
            peers: &PEERS.into(),
            range: range.clone(),
            taken: &taken,
            most: usize::MAX,
        };
        let next = crate::allocate(&request, free);
        assert!(next.ports.values().all(|port| !taken.contains(port)));
    }

    #[test]
    fn a_name_takes_the_port_of_a_service_that_is_gone_but_of_no_other() {
        let range = 15_000..=15_001;
        let held: BTreeMap<_, _> = services(0..2).into_iter().zip(range.clone()).collect();
        let present = imports(&services(0..2));
        let allocate =
            |imports: &Imports| allocate_federated(&[name(1)], &held, imports, &range, free);
        assert!(allocate(&present).is_empty());
        assert_eq!(allocate(&imports(&services(0..1))).len(), 1);
    }
}
