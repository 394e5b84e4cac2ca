//! Configurations for tests, in a short notation.

use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Options, Pattern, Peer, PeerName, ServiceName, Table,
    TableBuilder, TrustDomain, write_configuration,
};
use std::collections::BTreeMap;

pub const WEB: &str = "web.shop.svc.beta.example:80";
pub const DB: &str = "db.shop.svc.beta.example:3306";
pub const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/web";
pub const GAMMA: &str = "spiffe://gamma.example/ns/shop/sa/web";

/// A table in a short notation. `peers` are `name=trust domain` or `name:audit=trust domain`;
/// `exports` are `service=peer+peer`, where a peer may be `name(namespace/service account)`, or
/// `name()` to admit no caller. A service alone is passthrough.
pub fn table(generation: u64, peers: &[&str], exports: &[&str]) -> Table {
    let mut builder = TableBuilder::new(TrustDomain::parse("beta.example").unwrap());
    let mut indexes = BTreeMap::new();
    for peer in peers {
        let (name, trust_domain) = peer.split_once('=').unwrap();
        let (name, mode) =
            name.strip_suffix(":audit").map_or((name, Mode::Enforce), |name| (name, Mode::Audit));
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let peer = Peer { name: PeerName::parse(name).unwrap(), trust_domain, mode };
        indexes.insert(name, builder.peer(peer).unwrap());
    }
    for export in exports {
        let Some((service, grants)) = export.split_once('=') else {
            builder.passthrough(ServiceName::parse(export).unwrap()).unwrap();
            continue;
        };
        let grants = grants.split('+').filter(|grant| !grant.is_empty()).map(|grant| {
            let (name, callers) =
                grant.split_once('(').map_or((grant, None), |(name, rest)| (name, Some(rest)));
            Grant { peer: indexes[name], callers: callers.map_or(Callers::Any, callers_of) }
        });
        builder.export(ServiceName::parse(service).unwrap(), grants.collect()).unwrap();
    }
    Table::read(builder.build(generation).unwrap()).unwrap()
}

fn callers_of(text: &str) -> Callers {
    let patterns = text.trim_end_matches(')').split(',').filter(|pattern| !pattern.is_empty()).map(
        |pattern| {
            let (namespace, account) = pattern.split_once('/').unwrap();
            CallerPattern {
                namespace: Pattern::parse(namespace).unwrap(),
                service_account: Pattern::parse(account).unwrap(),
            }
        },
    );
    Callers::Only(patterns.collect())
}

pub fn json(table: &Table, options: Options) -> String {
    serde_json::to_string(&write_configuration(table, options)).unwrap()
}

pub const PEERS: &[&str] = &["alpha=alpha.example", "gamma=gamma.example"];

/// The usual configuration: alpha may reach `web` and `db`; gamma is a peer without a grant.
pub fn usual() -> String {
    json(
        &table(
            1,
            PEERS,
            &["web.shop.svc.beta.example:80=alpha", "db.shop.svc.beta.example:3306=alpha"],
        ),
        Options::default(),
    )
}

/// A later configuration: `web` now belongs to gamma; `db` is as before.
pub fn later() -> String {
    json(
        &table(
            2,
            PEERS,
            &["web.shop.svc.beta.example:80=gamma", "db.shop.svc.beta.example:3306=alpha"],
        ),
        Options::default(),
    )
}
