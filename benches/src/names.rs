//! Names like those that people and programs choose in large clusters.

use fastrand::Rng;
use fedgate_core::ServiceName;
use std::collections::BTreeSet;

/// The naming scheme of a cluster's services. All hosts have 40 to 60 bytes, in 1,000 namespaces
/// (`checkout-team-17.svc.beta.example`). A quarter of the services have two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Words and a number: `payment-gateway-12`.
    Words,
    /// Words and a hash, as in the names of replica sets and preview environments:
    /// `payment-gateway-5f9c7d8b6d`. No two names share a hash, so these names compress worst.
    Hashes,
    /// Two thirds of the first kind, one third of the second.
    Mixed,
}

const NAMESPACES: usize = 1_000;
const LENGTHS: std::ops::RangeInclusive<usize> = 40..=60;
const PORTS: [u16; 8] = [80, 80, 80, 443, 8080, 8443, 9090, 5432];

const WORDS: [&str; 48] = [
    "account",
    "admin",
    "alert",
    "api",
    "audit",
    "auth",
    "backend",
    "billing",
    "broker",
    "cache",
    "cart",
    "catalog",
    "checkout",
    "config",
    "customer",
    "delivery",
    "edge",
    "events",
    "export",
    "frontend",
    "gateway",
    "identity",
    "import",
    "index",
    "inventory",
    "invoice",
    "ledger",
    "mail",
    "media",
    "metrics",
    "notify",
    "orders",
    "payment",
    "pricing",
    "profile",
    "proxy",
    "queue",
    "report",
    "search",
    "session",
    "shipping",
    "stock",
    "storage",
    "stream",
    "tracking",
    "users",
    "warehouse",
    "worker",
];

/// `count` distinct services, in an order that does not depend on their names. The result is the
/// same each time.
pub fn services(kind: Kind, count: usize) -> Vec<ServiceName> {
    let mut rng = Rng::with_seed(0xfed);
    let namespace = |number: usize, rng: &mut Rng| format!("{}-team-{number}", word(rng));
    let namespaces: Vec<String> =
        (0..NAMESPACES).map(|number| namespace(number, &mut rng)).collect();
    let (mut used, mut services) = (BTreeSet::new(), Vec::with_capacity(count));
    while services.len() < count {
        let namespace = &namespaces[rng.usize(..NAMESPACES)];
        let host = format!("{}.{namespace}.svc.beta.example", label(kind, &mut rng));
        if !LENGTHS.contains(&host.len()) {
            continue;
        }
        for _ in 0..if rng.u8(..4) == 0 { 2 } else { 1 } {
            let text = format!("{host}:{}", PORTS[rng.usize(..PORTS.len())]);
            if let Some(service) = ServiceName::parse(&text).ok().filter(|_| services.len() < count)
                && used.insert(text)
            {
                services.push(service);
            }
        }
    }
    services
}

fn label(kind: Kind, rng: &mut Rng) -> String {
    let hash = match kind {
        Kind::Words => false,
        Kind::Hashes => true,
        Kind::Mixed => rng.u8(..3) == 0,
    };
    let words = format!("{}-{}", word(rng), word(rng));
    if hash {
        format!("{words}-{:010x}", rng.u64(..1 << 40))
    } else {
        format!("{words}-{}", rng.u16(1..200))
    }
}

fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.usize(..WORDS.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_distinct_and_reproducible() {
        let services = services(Kind::Mixed, 5_000);
        assert_eq!(services.iter().collect::<BTreeSet<_>>().len(), 5_000);
        assert!(services.iter().all(|service| LENGTHS.contains(&service.host.as_str().len())));
        assert_eq!(services, super::services(Kind::Mixed, 5_000));
    }
}
