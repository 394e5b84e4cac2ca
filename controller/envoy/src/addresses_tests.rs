use super::*;
use fedgate_federation::federate::{Protocol, ServerIdentity};
use std::sync::Arc;

fn import(service: &str) -> Import {
    let service = ServiceName::parse(service).unwrap();
    let owner = fedgate_federation::federate::owner(&service);
    let trust_domain = fedgate_core::TrustDomain::parse(owner).unwrap();
    Import {
        peer: fedgate_core::PeerName::parse("peer").unwrap(),
        service,
        port_name: "http".into(),
        protocol: Protocol::Http,
        gateways: [].into(),
        passthrough: false,
        server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
        trust_domain,
    }
}

fn given(
    range: &str,
    previous: &BTreeMap<Hostname, IpAddr>,
    imports: &[&str],
    peers: &[&str],
) -> HostAddresses {
    let imports = imports.iter().map(|service| import(service)).collect();
    let range = AddressRange::parse(range).unwrap();
    let hosts = NamedHosts { imports: &imports, federated: &[] };
    allocate_addresses(&range, previous, hosts, &peers.iter().copied().collect())
}

const RANGE: &str = "127.96.0.0/16";

fn federated(name: &str) -> FederatedService {
    FederatedService {
        namespace: "shop".into(),
        name: name.into(),
        source: None,
        host: Hostname::parse(&format!("{name}.shop.global")).unwrap(),
        ports: Vec::new(),
    }
}

/// The operator chose these names, and peers choose how many imports there are.
#[test]
fn a_federated_name_finds_an_address_and_keeps_it_however_many_imports_come() {
    let range = AddressRange::parse("127.96.0.0/24").unwrap();
    let peers = BTreeSet::from(["beta.example"]);
    let imports = |count: usize| -> Imports {
        (0..count).map(|n| import(&format!("s{n}.shop.svc.beta.example:80"))).collect()
    };
    let names = [federated("web"), federated("api")];
    let few = imports(1);
    let hosts = NamedHosts { imports: &few, federated: &names[..1] };
    let first = allocate_addresses(&range, &BTreeMap::new(), hosts, &peers);
    let many = imports(300);
    let hosts = NamedHosts { imports: &many, federated: &names };
    let second = allocate_addresses(&range, &first.reserved, hosts, &peers);
    let web = &names[0].host;
    assert_eq!(second.addresses[web], first.addresses[web]);
    assert!(second.addresses.contains_key(&names[1].host));
    let distinct: BTreeSet<_> = second.reserved.values().collect();
    assert_eq!(distinct.len(), second.reserved.len(), "no two hosts share an address");
    let without = lacking(&range, hosts, &second.addresses).unwrap();
    assert!(without.contains(".svc.beta.example"), "{without}");
}

#[test]
fn a_host_has_one_address_for_all_its_ports_and_keeps_it() {
    let all = [
        "web.shop.svc.beta.example:80",
        "web.shop.svc.beta.example:443",
        "api.shop.svc.beta.example:80",
    ];
    let first = given(RANGE, &BTreeMap::new(), &all, &["beta.example"]);
    assert_eq!(first.addresses.len(), 2);
    let range = AddressRange::parse(RANGE).unwrap();
    assert!(first.addresses.values().all(|address| range.contains(*address)));
    // Its first port goes, and another host comes.
    let changed = ["web.shop.svc.beta.example:443", "new.shop.svc.beta.example:80"];
    let second = given(RANGE, &first.reserved, &changed, &["beta.example"]);
    let web = Hostname::parse("web.shop.svc.beta.example").unwrap();
    assert_eq!(second.addresses[&web], first.addresses[&web]);
    assert_eq!(second.reserved.len(), 3, "the removed host's address stays its own");
}

#[test]
fn an_address_never_passes_to_another_peer_that_is_there() {
    let hosts: Vec<_> = (0..200).map(|n| format!("s{n}.shop.svc.beta.example:80")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let range = "127.96.0.0/24";
    let first = given(range, &BTreeMap::new(), &hosts, &["beta.example", "gamma.example"]);
    let taken: BTreeSet<_> = first.reserved.values().copied().collect();
    assert_eq!(taken.len(), 128, "a single peer gets half of the range");
    let others: Vec<_> = hosts.iter().map(|host| host.replace("beta", "gamma")).collect();
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    let second = given(range, &first.reserved, &others, &["beta.example", "gamma.example"]);
    assert!(!second.addresses.is_empty());
    assert!(second.addresses.values().all(|address| !taken.contains(address)));
    // Once beta is no peer, its addresses are free.
    let third = given(range, &first.reserved, &others, &["gamma.example"]);
    assert!(third.addresses.len() > second.addresses.len());
}

#[test]
fn addresses_outside_of_the_range_are_assigned_anew() {
    let hosts = ["web.shop.svc.beta.example:80"];
    let first = given(RANGE, &BTreeMap::new(), &hosts, &["beta.example"]);
    let second = given("240.1.0.0/16", &first.reserved, &hosts, &["beta.example"]);
    assert!(second.addresses.values().all(|address| address.to_string().starts_with("240.1.")));
    let six = given("fd00:f::/112", &first.reserved, &hosts, &["beta.example"]);
    assert!(six.addresses.values().all(|address| address.to_string().starts_with("fd00:f::")));
}

#[test]
fn first_and_last_address_of_a_network_are_not_used() {
    for (range, first, last, size) in [
        ("127.96.0.0/24", "127.96.0.1", "127.96.0.254", 254),
        ("240.96.0.0/16", "240.96.0.1", "240.96.255.254", 65_534),
        ("240.0.0.0/8", "240.0.0.1", "240.0.255.254", 65_534),
        ("fd00::/64", "fd00::1", "fd00::fffe", 65_534),
        ("fd00::/120", "fd00::1", "fd00::fe", 254),
    ] {
        let read = AddressRange::parse(range).unwrap();
        let (begin, end) = read.offsets().into_inner();
        assert_eq!(read.address(begin).to_string(), first, "{range}");
        assert_eq!(read.address(end).to_string(), last, "{range}");
        assert_eq!(read.size(), size);
        assert_eq!(read.offset(read.address(end)), Some(end));
        assert_eq!(read.offset("10.0.0.1".parse().unwrap()), None);
        assert_eq!(read.to_string(), range);
    }
}

#[test]
fn a_wrong_range_is_refused_with_what_was_expected() {
    for (text, expected) in [
        ("127.96.0.0", "240.96.0.0/16"),
        ("127.96.1.0/16", "127.96.0.0/16"),
        ("127.96.0.0/25", "254 addresses"),
        ("fd00::/121", "254 addresses"),
        ("224.0.0.0/8", "single hosts"),
        ("0.0.0.0/8", "single hosts"),
        ("soon", "240.96.0.0/16"),
    ] {
        let error = AddressRange::parse(text).unwrap_err();
        assert!(error.contains(expected) && error.contains(text), "{error}");
    }
}
