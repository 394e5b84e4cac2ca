//! A federation for tests: cluster beta's gateway, its exports, and its peers.
//!
//! Peers: `alpha` and `gamma` are in enforce mode, `delta` is in audit mode. `stranger` is not a
//! peer.
//!
//! | service | alpha | gamma | delta |
//! | --- | --- | --- | --- |
//! | `web` | all | - | owner admits it, no policy grants it |
//! | `db` | namespace `shop`, accounts `web-*` | all | namespace `shop`, accounts `web-*` |
//! | `feed` (its server sends first) | all | all | - |
//! | `lonely` | - | - | - |

use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Options, Pattern, Peer, ServiceName, Table, TableBuilder,
};
use fedgate_wasm_host::{Certificate, Client, ConnectionId, FilterModule, Metering, Plugin, Proxy};
use std::collections::BTreeMap;

pub(crate) const WEB: &str = "web.shop.svc.beta.example:80";
pub(crate) const DB: &str = "db.shop.svc.beta.example:5432";
pub(crate) const FEED: &str = "feed.shop.svc.beta.example:9000";
pub(crate) const LONELY: &str = "lonely.shop.svc.beta.example:80";

pub(crate) const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/web-1";
pub(crate) const ALPHA_OTHER: &str = "spiffe://alpha.example/ns/shop/sa/batch";
pub(crate) const GAMMA: &str = "spiffe://gamma.example/ns/shop/sa/web-1";
pub(crate) const DELTA: &str = "spiffe://delta.example/ns/shop/sa/batch";
pub(crate) const STRANGER: &str = "spiffe://stranger.example/ns/shop/sa/web-1";

/// The listener that all tests use.
pub(crate) const LISTENER: &str = "federation";

#[derive(Debug, Clone)]
pub(crate) struct Exports {
    pub(crate) generation: u64,
    pub(crate) peers: BTreeMap<String, Mode>,
    pub(crate) grants: BTreeMap<String, BTreeMap<String, Callers>>,
    pub(crate) passed_through: Vec<String>,
    pub(crate) options: Options,
}

impl Exports {
    /// A table without exports and peers.
    pub(crate) fn none(generation: u64) -> Self {
        Self {
            generation,
            peers: BTreeMap::new(),
            grants: BTreeMap::new(),
            passed_through: Vec::new(),
            options: Options::default(),
        }
    }

    /// The table described above.
    pub(crate) fn standard(generation: u64) -> Self {
        let no_caller = || Callers::Only([].into());
        Self::none(generation)
            .peer("alpha", Mode::Enforce)
            .peer("gamma", Mode::Enforce)
            .peer("delta", Mode::Audit)
            .grant(WEB, "alpha", Callers::Any)
            .grant(WEB, "delta", no_caller())
            .grant(DB, "alpha", callers("shop", "web-*"))
            .grant(DB, "gamma", Callers::Any)
            .grant(DB, "delta", callers("shop", "web-*"))
            .grant(FEED, "alpha", Callers::Any)
            .grant(FEED, "gamma", Callers::Any)
            .export(LONELY)
    }

    pub(crate) fn peer(mut self, name: &str, mode: Mode) -> Self {
        self.peers.insert(name.to_owned(), mode);
        self
    }

    pub(crate) fn export(mut self, service: &str) -> Self {
        self.grants.entry(service.to_owned()).or_default();
        self
    }

    pub(crate) fn grant(mut self, service: &str, peer: &str, callers: Callers) -> Self {
        self.grants.entry(service.to_owned()).or_default().insert(peer.to_owned(), callers);
        self
    }

    pub(crate) fn passing_through(mut self, service: &str) -> Self {
        self.passed_through.push(service.to_owned());
        self
    }

    pub(crate) fn without_grant(mut self, service: &str, peer: &str) -> Self {
        self.grants.get_mut(service).unwrap().remove(peer).unwrap();
        self
    }

    pub(crate) fn without_export(mut self, service: &str) -> Self {
        self.grants.remove(service).unwrap();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn table(&self) -> Vec<u8> {
        let mut builder = TableBuilder::new("beta.example".parse().unwrap());
        let mut indices = BTreeMap::new();
        for (name, &mode) in &self.peers {
            let trust_domain = format!("{name}.example").parse().unwrap();
            let peer = Peer { name: name.parse().unwrap(), trust_domain, mode };
            indices.insert(name, builder.peer(peer).unwrap());
        }
        for (service, grants) in &self.grants {
            let grant = |(peer, callers): (&String, &Callers)| Grant {
                peer: indices[peer],
                callers: callers.clone(),
            };
            builder
                .export(ServiceName::parse(service).unwrap(), grants.iter().map(grant).collect())
                .unwrap();
        }
        for service in &self.passed_through {
            builder.passthrough(ServiceName::parse(service).unwrap()).unwrap();
        }
        builder.build(self.generation).unwrap()
    }

    pub(crate) fn json(&self) -> String {
        let table = Table::read(self.table()).unwrap();
        serde_json::to_string(&fedgate_core::write_configuration(&table, self.options)).unwrap()
    }

    pub(crate) fn plugin(&self) -> Plugin {
        Plugin::new("fedgate", self.json())
    }
}

pub(crate) fn callers(namespace: &str, service_account: &str) -> Callers {
    let (namespace, service_account) =
        (Pattern::parse(namespace).unwrap(), Pattern::parse(service_account).unwrap());
    Callers::Only([CallerPattern { namespace, service_account }].into())
}

/// A proxy without a listener yet.
pub(crate) fn proxy() -> Proxy {
    Proxy::new(FilterModule::shared(Metering::Fuel))
}

/// A proxy whose listener has this table.
pub(crate) fn gateway(exports: &Exports) -> Proxy {
    let mut proxy = proxy();
    proxy.configure(LISTENER, exports.plugin()).unwrap();
    proxy
}

/// Gives the listener a new table.
pub(crate) fn update(proxy: &mut Proxy, exports: &Exports) {
    proxy.configure(LISTENER, exports.plugin()).unwrap();
}

pub(crate) fn sni(service: &str) -> String {
    ServiceName::parse(service).unwrap().sni()
}

pub(crate) fn cluster(service: &str) -> String {
    ServiceName::parse(service).unwrap().cluster()
}

pub(crate) fn certificate(uri_san: &str) -> Certificate {
    Certificate::new(&[uri_san])
}

/// A client that calls `service` as `uri_san`.
pub(crate) fn client(service: &str, uri_san: &str) -> Client {
    Client::calling(&sni(service)).with(&certificate(uri_san))
}

/// Connects; the handshake has not begun.
pub(crate) fn connect(proxy: &mut Proxy, service: &str, uri_san: &str) -> ConnectionId {
    proxy.connect(LISTENER, client(service, uri_san))
}

/// Connects, finishes the handshake and sends a first request.
pub(crate) fn call(proxy: &mut Proxy, client: Client) -> ConnectionId {
    let connection = proxy.connect(LISTENER, client);
    proxy.client_finishes_handshake(connection);
    proxy.client_sends(connection, b"hello");
    connection
}

/// A connection that was decided, passed and is open.
pub(crate) fn open(proxy: &mut Proxy, service: &str, uri_san: &str) -> ConnectionId {
    let connection = call(proxy, client(service, uri_san));
    assert_passes(proxy, connection, service);
    connection
}

/// The outcome and reason in the access log.
pub(crate) fn outcome_and_reason(proxy: &Proxy, connection: ConnectionId) -> (&str, &str) {
    let stream = proxy.stream(connection);
    let state = |key| stream.filter_state(key).unwrap_or("-");
    (state("wasm.fedgate.outcome"), state("wasm.fedgate.reason"))
}

pub(crate) fn is_open(proxy: &Proxy, connection: ConnectionId) -> bool {
    proxy.stream(connection).ending().is_none()
}

/// Asserts that the connection is open and goes to the service.
#[track_caller]
pub(crate) fn assert_passes(proxy: &Proxy, connection: ConnectionId, service: &str) {
    let stream = proxy.stream(connection);
    assert_eq!(stream.ending(), None, "{:?}", outcome_and_reason(proxy, connection));
    assert_eq!(stream.upstream(), Some(cluster(service).as_str()));
}

/// Asserts that the filter closed the connection for this reason, and that the service was never
/// contacted.
#[track_caller]
pub(crate) fn assert_refused(proxy: &Proxy, connection: ConnectionId, reason: &str) {
    let stream = proxy.stream(connection);
    assert_eq!(
        stream.ending(),
        Some(fedgate_wasm_host::Ending::ByFilter),
        "{:?}",
        outcome_and_reason(proxy, connection)
    );
    assert_eq!(outcome_and_reason(proxy, connection), ("refused", reason));
    assert_eq!(stream.upstream(), None, "the service was touched");
    assert_eq!(stream.at_client(), b"", "the client got data");
}

/// The counter of decided connections.
pub(crate) fn decided(proxy: &Proxy, outcome: &str, reason: &str) -> u64 {
    proxy
        .metric(&format!("fedgate.connections.outcome.{outcome}.reason.{reason}"))
        .unwrap_or_default()
}

/// The counter of a peer's decided connections.
pub(crate) fn decided_for(proxy: &Proxy, outcome: &str, peer: &str) -> u64 {
    proxy
        .metric(&format!("fedgate.peer_connections.outcome.{outcome}.peer.{peer}"))
        .unwrap_or_default()
}
