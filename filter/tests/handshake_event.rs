//! The life cycle on a host that reports the end of a handshake. It has neither ticks nor VMs.

mod support;

use fedgate_core::Options;
use fedgate_filter::host::{Action, ConnectionId, Host, Identity, Level, Status};
use fedgate_filter::metrics::{counters, gauges};
use fedgate_filter::{Configuration, Gateway, Stream};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use support::{ALPHA, DB, GAMMA, PEERS, WEB, json, later, table, usual};

#[derive(Debug, Default)]
struct Known {
    server_name: String,
    passed_through: bool,
    identity: Option<Identity>,
    cluster: Option<String>,
    filter_state: BTreeMap<String, String>,
    resumed: bool,
    closed: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    acting: Cell<ConnectionId>,
    connections: RefCell<BTreeMap<ConnectionId, Known>>,
    counters: RefCell<BTreeMap<String, u64>>,
    takes_clusters: Cell<bool>,
    log: RefCell<Vec<(Level, String)>>,
}

#[derive(Debug, Clone, Default)]
struct Proxy(Rc<State>);

impl Proxy {
    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(self.0.connections.borrow_mut().get_mut(&self.0.acting.get()).expect("a connection"))
    }
}

impl Host for Proxy {
    fn act_for(&self, connection: ConnectionId) -> bool {
        self.0.acting.set(connection);
        self.0.connections.borrow().contains_key(&connection)
    }

    fn server_name(&self) -> Option<Vec<u8>> {
        self.with(|known| Some(known.server_name.clone().into_bytes()))
    }

    fn is_passed_through(&self) -> bool {
        self.with(|known| known.passed_through)
    }

    fn identity(&self) -> Option<Identity> {
        self.with(|known| known.identity.clone())
    }

    fn set_filter_state(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        let value = String::from_utf8_lossy(value).into_owned();
        self.with(|known| known.filter_state.insert(name.to_owned(), value));
        Ok(())
    }

    fn set_cluster(&self, cluster: &str) -> Result<(), Status> {
        self.with(|known| known.cluster = Some(cluster.to_owned()));
        if self.0.takes_clusters.get() { Ok(()) } else { Err(Status(1)) }
    }

    fn resume(&self) -> Result<(), Status> {
        self.with(|known| known.resumed = true);
        Ok(())
    }

    fn close(&self, reason: &str) -> Result<(), Status> {
        self.with(|known| {
            assert_eq!(known.closed.replace(reason.to_owned()), None, "closed twice")
        });
        Ok(())
    }

    fn define_counter(&self, name: &str) -> Option<u32> {
        let mut counters = self.0.counters.borrow_mut();
        counters.entry(name.to_owned()).or_default();
        counters.keys().position(|found| found == name).map(|position| position as u32)
    }

    fn increment(&self, counter: u32, by: u64) {
        *self.0.counters.borrow_mut().values_mut().nth(counter as usize).expect("a counter") += by;
    }

    fn logs(&self, _: Level) -> bool {
        true
    }

    fn log(&self, level: Level, line: &str) {
        self.0.log.borrow_mut().push((level, line.to_owned()));
    }
}

/// One thread of a gateway, with its connections.
struct Thread {
    proxy: Proxy,
    gateway: Rc<Gateway<Proxy>>,
    streams: BTreeMap<ConnectionId, Stream<Proxy>>,
}

impl Thread {
    fn with(json: &str) -> Self {
        let proxy = Proxy::default();
        proxy.0.takes_clusters.set(true);
        // Metrics of this proxy must be defined in advance.
        let configuration = Configuration::read(json.as_bytes()).unwrap();
        let names = counters(Some(&configuration)).into_iter().map(|name| (name, 0));
        proxy.0.counters.replace(names.collect());
        let gateway = Rc::new(Gateway::new(proxy.clone()));
        gateway.adopt(Arc::new(configuration));
        Self { proxy, gateway, streams: BTreeMap::new() }
    }

    fn connect(&mut self, service: &str) -> (ConnectionId, Action) {
        let id = self.streams.len() as ConnectionId;
        let server_name = fedgate_core::ServiceName::parse(service).unwrap().sni();
        let known = Known { server_name, ..Known::default() };
        self.proxy.0.connections.borrow_mut().insert(id, known);
        self.streams.insert(id, Stream::new(id, Rc::clone(&self.gateway)));
        let action = self.call(id, Stream::on_new_connection);
        (id, action)
    }

    fn handshake(&mut self, id: ConnectionId, uri_san: &str) {
        let identity = Identity { uri_san: Some(uri_san.to_owned()) };
        self.proxy.act_for(id);
        self.proxy.with(|known| known.identity = Some(identity));
        self.call(id, Stream::on_handshake);
    }

    fn call<T>(&mut self, id: ConnectionId, callback: fn(&mut Stream<Proxy>) -> T) -> T {
        self.proxy.act_for(id);
        callback(self.streams.get_mut(&id).unwrap())
    }

    fn adopt(&self, json: &str) {
        self.gateway.adopt(Arc::new(Configuration::read(json.as_bytes()).unwrap()));
    }

    fn known<T>(&self, id: ConnectionId, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.proxy.0.connections.borrow()[&id])
    }

    fn closed(&self, id: ConnectionId) -> Option<String> {
        self.known(id, |known| known.closed.clone())
    }

    fn counted(&self, name: &str) -> u64 {
        self.proxy.0.counters.borrow().get(name).copied().unwrap_or_default()
    }
}

#[test]
fn the_end_of_the_handshake_decides() {
    let mut thread = Thread::with(&usual());
    let (granted, action) = thread.connect(DB);
    assert_eq!(action, Action::Pause);
    thread.handshake(granted, ALPHA);
    assert!(thread.known(granted, |known| known.resumed));
    assert_eq!(
        thread.known(granted, |known| known.cluster.clone()).as_deref(),
        Some("outbound|3306||db.shop.svc.beta.example")
    );
    for callback in [Stream::on_upstream_data, Stream::on_downstream_data] {
        assert_eq!(thread.call(granted, callback), Action::Continue);
    }

    let (refused, _) = thread.connect(DB);
    thread.handshake(refused, GAMMA);
    assert_eq!(thread.closed(refused).as_deref(), Some("not_granted"));
    assert!(thread.known(refused, |known| !known.resumed && known.cluster.is_none()));
    assert_eq!(thread.call(refused, Stream::on_upstream_data), Action::Pause);
}

/// Envoy never sends data before it reports the handshake; if it did, the caller would be unknown.
#[test]
fn data_before_the_handshake_is_refused() {
    let mut thread = Thread::with(&usual());
    let (client, _) = thread.connect(WEB);
    assert_eq!(thread.call(client, Stream::on_upstream_data), Action::Pause);
    assert_eq!(thread.call(client, Stream::on_downstream_data), Action::Pause);
    assert_eq!(thread.closed(client).as_deref(), Some("no_identity"));
    thread.handshake(client, ALPHA);
    assert!(!thread.known(client, |known| known.resumed), "the decision stands");
}

#[test]
fn a_second_handshake_event_changes_nothing() {
    let mut thread = Thread::with(&usual());
    let (client, _) = thread.connect(WEB);
    thread.handshake(client, ALPHA);
    thread.handshake(client, GAMMA);
    assert_eq!(thread.closed(client), None);
    assert_eq!(thread.counted("fedgate.connections.outcome.allowed.reason.granted"), 1);
}

#[test]
fn a_refusal_before_the_handshake_names_its_reason() {
    let mut thread = Thread::with(&usual());
    let (client, action) = thread.connect("other.shop.svc.beta.example:80");
    assert_eq!(
        (action, thread.closed(client).as_deref()),
        (Action::Pause, Some("unknown_service"))
    );
}

#[test]
fn a_connection_whose_cluster_is_refused_is_closed() {
    let mut thread = Thread::with(&usual());
    thread.proxy.0.takes_clusters.set(false);
    let (client, _) = thread.connect(WEB);
    thread.handshake(client, ALPHA);
    assert_eq!(thread.closed(client).as_deref(), Some("no_route"));
    assert!(!thread.known(client, |known| known.resumed));
    assert_eq!(thread.counted("fedgate.route_failures"), 1);
}

#[test]
fn a_new_table_closes_connections_a_few_at_a_time() {
    let mut thread = Thread::with(&usual());
    let clients: Vec<_> = (0..10).map(|_| thread.connect(WEB).0).collect();
    clients.iter().for_each(|&client| thread.handshake(client, ALPHA));
    let (other, _) = thread.connect(DB);
    thread.handshake(other, ALPHA);
    thread.adopt(&later());
    let closed =
        |thread: &Thread| clients.iter().filter(|&&client| thread.closed(client).is_some()).count();
    assert_eq!((closed(&thread), thread.gateway.has_closing()), (0, true));
    assert_eq!(thread.call(clients[0], Stream::on_downstream_data), Action::Pause, "blocked");
    for expected in [4, 8, 10] {
        thread.gateway.close_some(4);
        assert_eq!(closed(&thread), expected);
    }
    assert!(!thread.gateway.has_closing());
    assert_eq!(thread.closed(clients[0]).as_deref(), Some("not_granted"));
    assert_eq!(thread.closed(other), None);
    assert_eq!(thread.counted("fedgate.revoked_connections"), 10);
}

/// Proxies that take no new metrics later rely on these lists.
#[test]
fn every_counter_is_known_in_advance() {
    let mut thread = Thread::with(&usual());
    let before: Vec<_> = thread.proxy.0.counters.borrow().keys().cloned().collect();
    for uri_san in [ALPHA, GAMMA, "spiffe://delta.example/ns/a/sa/b", "x", ""] {
        let (client, _) = thread.connect(WEB);
        thread.handshake(client, uri_san);
    }
    let (left, _) = thread.connect(WEB);
    thread.call(left, Stream::on_done);
    assert_eq!(thread.counted("fedgate.undecided_connections"), 1);
    thread.adopt(&later());
    thread.gateway.close_some(10);
    let after: Vec<_> = thread.proxy.0.counters.borrow().keys().cloned().collect();
    assert_eq!(after, before);
    let configuration = Configuration::read(usual().as_bytes()).unwrap();
    assert_eq!(
        gauges(configuration.table()),
        [("fedgate.table.generation", 1), ("fedgate.table.rows", 2)]
    );
}

#[test]
fn a_new_table_is_logged_with_the_number_of_connections_that_it_closes() {
    let mut thread = Thread::with(&usual());
    for service in [WEB, WEB, DB] {
        let (client, _) = thread.connect(service);
        thread.handshake(client, ALPHA);
    }
    thread.adopt(&later());
    thread.adopt(&later());
    // Those that the table before closes are still open, and do not count again.
    thread.adopt(&json(&table(3, PEERS, &[]), Options::default()));
    let log = thread.proxy.0.log.borrow();
    let lines = log.iter().filter(|(_, line)| line.starts_with("table in force: generation "));
    let lines: Vec<_> =
        lines.map(|(level, line)| (*level, line.rsplit_once(", ").unwrap().1)).collect();
    assert_eq!(
        lines,
        [
            (Level::Debug, "2 peers; closes 0 of 0 open connections"),
            (Level::Info, "2 peers; closes 2 of 3 open connections"),
            (Level::Info, "2 peers; closes 1 of 3 open connections"),
        ]
    );
}

#[test]
fn dropping_a_stream_forgets_its_connection() {
    let mut thread = Thread::with(&usual());
    let (client, _) = thread.connect(WEB);
    thread.proxy.act_for(client);
    thread.streams.remove(&client);
    assert_eq!(thread.counted("fedgate.undecided_connections"), 1);
    thread.adopt(&json(&table(3, PEERS, &[]), Options::default()));
    assert!(!thread.gateway.has_closing());
}
