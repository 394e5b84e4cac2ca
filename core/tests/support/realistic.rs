//! Exports as in large clusters: names of 40 to 60 bytes in 1,000 namespaces.

use fastrand::Rng;
use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Pattern, Peer, PeerIndex, ServiceName, TableBuilder,
};
use std::collections::BTreeSet;

const WORDS: [&str; 40] = [
    "account",
    "admin",
    "api",
    "audit",
    "auth",
    "backend",
    "billing",
    "cache",
    "cart",
    "catalog",
    "checkout",
    "config",
    "customer",
    "delivery",
    "events",
    "export",
    "frontend",
    "gateway",
    "identity",
    "import",
    "inventory",
    "invoice",
    "ledger",
    "mail",
    "metrics",
    "notify",
    "orders",
    "payment",
    "pricing",
    "profile",
    "queue",
    "report",
    "search",
    "session",
    "shipping",
    "stock",
    "storage",
    "tracking",
    "users",
    "warehouse",
];
const PORTS: [u16; 8] = [80, 80, 80, 443, 8080, 8443, 9090, 5432];
const NAMESPACES: usize = 1_000;
const PEERS: usize = 50;
const CALLER_SETS: usize = 100;
const GRANT_SETS: usize = 200;

/// The naming scheme of a realistic cluster's services.
#[derive(Debug, Clone, Copy)]
pub enum Names {
    /// Like `payment-gateway-12`.
    Words,
    /// Like `payment-gateway-5f9c7d8b6d`, as replica sets are named.
    Hexadecimal,
}

/// `count` exports, each on one or a few ports. They share 200 grant sets, made of 100 caller sets,
/// among 50 peers.
pub fn builder(names: Names, count: usize) -> TableBuilder {
    let mut rng = Rng::with_seed(1);
    let mut builder = TableBuilder::new("beta.example".parse().unwrap());
    let peers: Vec<PeerIndex> =
        (0..PEERS).map(|number| builder.peer(peer(number)).unwrap()).collect();
    let callers: Vec<Callers> = (0..CALLER_SETS).map(|_| callers(&mut rng)).collect();
    let sets: Vec<Vec<Grant>> =
        (0..GRANT_SETS).map(|_| grants(&mut rng, &peers, &callers)).collect();
    for service in services(names, count) {
        builder.export(service, sets[rng.usize(..sets.len())].clone()).unwrap();
    }
    builder
}

/// `count` distinct services.
pub fn services(names: Names, count: usize) -> BTreeSet<ServiceName> {
    let mut rng = Rng::with_seed(2);
    let namespaces: Vec<String> = (0..NAMESPACES)
        .map(|number| format!("{}-{}-{number}", word(&mut rng), word(&mut rng)))
        .collect();
    let mut services = BTreeSet::new();
    while services.len() < count {
        let namespace = &namespaces[rng.usize(..namespaces.len())];
        let host = format!("{}.{namespace}.svc.beta.example", service(names, &mut rng));
        for _ in 0..if rng.u8(..4) == 0 { 2 } else { 1 } {
            let name = format!("{host}:{}", PORTS[rng.usize(..PORTS.len())]);
            if (40..=60).contains(&host.len()) && services.len() < count {
                services.insert(ServiceName::parse(&name).unwrap());
            }
        }
    }
    services
}

fn service(names: Names, rng: &mut Rng) -> String {
    match names {
        Names::Words => format!("{}-{}-{}", word(rng), word(rng), rng.u8(1..100)),
        Names::Hexadecimal => format!("{}-{}-{:010x}", word(rng), word(rng), rng.u64(..1 << 40)),
    }
}

fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.usize(..WORDS.len())]
}

fn peer(number: usize) -> Peer {
    Peer {
        name: format!("peer-{number}").parse().unwrap(),
        trust_domain: format!("cluster-{number}.example").parse().unwrap(),
        mode: if number.is_multiple_of(10) { Mode::Audit } else { Mode::Enforce },
    }
}

fn grants(rng: &mut Rng, peers: &[PeerIndex], callers: &[Callers]) -> Vec<Grant> {
    let mut chosen: Vec<PeerIndex> = peers.iter().copied().filter(|_| rng.bool()).collect();
    rng.shuffle(&mut chosen);
    chosen
        .into_iter()
        .map(|peer| Grant { peer, callers: callers[rng.usize(..callers.len())].clone() })
        .collect()
}

fn callers(rng: &mut Rng) -> Callers {
    let pattern = |rng: &mut Rng| CallerPattern {
        namespace: Pattern::parse(&format!("{}-*", word(rng))).unwrap(),
        service_account: Pattern::parse(if rng.bool() { "*" } else { word(rng) }).unwrap(),
    };
    match rng.u8(..3) {
        0 => Callers::Any,
        _ => Callers::Only((0..rng.usize(..4)).map(|_| pattern(rng)).collect()),
    }
}
