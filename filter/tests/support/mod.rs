//! A proxy to run the filter in: it has state, and carries out what the filter asks for in the order in which Envoy does.
//!
//! [`Process`] is what all VMs share, [`Gateway`] one VM with its plugins, [`Client`] one connection with its handshake
//! and the tcp_proxy behind the filter.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part")]

use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Options, Pattern, Peer, PeerName, ServiceName, Table, TableBuilder,
    TrustDomain, write_configuration,
};
use fedgate_filter::host::{Action, ContextId, Host, Level, MetricKind, Property, Status};
use fedgate_filter::{Root, Stream, Vm};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub const WEB: &str = "web.shop.svc.beta.example:80";
pub const DB: &str = "db.shop.svc.beta.example:3306";
pub const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/web";
pub const GAMMA: &str = "spiffe://gamma.example/ns/shop/sa/web";

/// What outlives a VM.
#[derive(Debug, Default)]
pub struct Process {
    pub shared: RefCell<BTreeMap<String, Vec<u8>>>,
    pub metrics: RefCell<Vec<(String, u64)>>,
    pub now: Cell<Duration>,
}

impl Process {
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.borrow();
        metrics.iter().find(|(found, _)| found == name).map(|(_, value)| *value).unwrap_or_default()
    }

    pub fn metric_names(&self, prefix: &str) -> Vec<String> {
        let names = self.metrics.borrow().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        names.into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    pub fn pass(&self, time: Duration) {
        self.now.set(self.now.get() + time);
    }
}

/// One context of the proxy.
#[derive(Debug, Default, Clone)]
pub struct Context {
    pub root: ContextId,
    pub properties: BTreeMap<Property, Vec<u8>>,
    pub configuration: Vec<u8>,
    pub tick_period: Duration,
    pub filter_state: BTreeMap<String, String>,
    pub cluster: Option<String>,
    pub asked_to_resume: bool,
    pub asked_to_close: bool,
}

#[derive(Debug)]
struct State {
    process: Rc<Process>,
    contexts: RefCell<BTreeMap<ContextId, Context>>,
    effective: Cell<ContextId>,
    /// What the filter asked to be resumed or closed.
    asked: RefCell<BTreeSet<ContextId>>,
    failing: RefCell<BTreeSet<&'static str>>,
    calls: RefCell<Vec<&'static str>>,
    log: RefCell<Vec<(Level, String)>>,
}

/// The proxy as one VM sees it.
#[derive(Debug, Clone)]
pub struct FakeHost(Rc<State>);

impl FakeHost {
    fn call(&self, name: &'static str) -> Result<(), Status> {
        self.0.calls.borrow_mut().push(name);
        if self.0.failing.borrow().contains(name) { Err(Status(12)) } else { Ok(()) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Context) -> T) -> T {
        act(self.0.contexts.borrow_mut().get_mut(&self.0.effective.get()).expect("acts for a context that is there"))
    }
}

impl Host for FakeHost {
    fn configuration(&self) -> Vec<u8> {
        self.with(|context| context.configuration.clone())
    }

    fn property(&self, property: Property) -> Option<Vec<u8>> {
        self.call("property").ok()?;
        self.with(|context| context.properties.get(&property).cloned())
    }

    fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        self.call("set_property")?;
        let value = String::from_utf8(value.to_vec()).expect("filter state is text");
        self.with(|context| context.filter_state.insert(name.to_owned(), value));
        Ok(())
    }

    fn call_foreign_function(&self, name: &str, argument: &[u8]) -> Result<(), Status> {
        self.call("call_foreign_function")?;
        assert_eq!(name, "set_envoy_filter_state");
        let rest = argument.strip_prefix(b"\x0a\x17envoy.tcp_proxy.cluster\x12").expect("the cluster's key");
        let (length, value) = rest.split_first().expect("a length");
        assert_eq!(usize::from(*length), value.len());
        self.with(|context| context.cluster = Some(String::from_utf8(value.to_vec()).expect("a name")));
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Option<Vec<u8>> {
        self.call("shared_data").ok()?;
        self.0.process.shared.borrow().get(key).cloned()
    }

    fn set_shared_data(&self, key: &str, value: &[u8]) -> Result<(), Status> {
        self.call("set_shared_data")?;
        self.0.process.shared.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn now(&self) -> Duration {
        self.0.process.now.get()
    }

    /// As in cpp-host, the period is that of the root of the context that the filter acts for.
    fn set_tick_period(&self, period: Duration) {
        if self.call("set_tick_period").is_ok() {
            let root = self.with(|context| context.root);
            self.0.contexts.borrow_mut().get_mut(&root).expect("the root is there").tick_period = period;
        }
    }

    fn act_for(&self, context: ContextId) -> bool {
        let there = self.call("act_for").is_ok() && self.0.contexts.borrow().contains_key(&context);
        if there {
            self.0.effective.set(context);
        }
        there
    }

    fn resume_downstream(&self) -> Result<(), Status> {
        self.call("resume_downstream")?;
        self.with(|context| context.asked_to_resume = true);
        self.0.asked.borrow_mut().insert(self.0.effective.get());
        Ok(())
    }

    fn close_downstream(&self) -> Result<(), Status> {
        self.call("close_downstream")?;
        self.with(|context| {
            assert!(!context.asked_to_close, "closed twice");
            context.asked_to_close = true;
        });
        self.0.asked.borrow_mut().insert(self.0.effective.get());
        Ok(())
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> Option<u32> {
        self.call("define_metric").ok()?;
        let mut metrics = self.0.process.metrics.borrow_mut();
        let place = metrics.iter().position(|(found, _)| found == name).unwrap_or_else(|| {
            metrics.push((name.to_owned(), 0));
            metrics.len() - 1
        });
        Some(place as u32)
    }

    fn increment_metric(&self, metric: u32, by: u64) {
        self.0.process.metrics.borrow_mut()[metric as usize].1 += by;
    }

    fn record_metric(&self, metric: u32, value: u64) {
        self.0.process.metrics.borrow_mut()[metric as usize].1 = value;
    }

    fn logs(&self, _: Level) -> bool {
        true
    }

    fn log(&self, level: Level, line: &str) {
        self.0.log.borrow_mut().push((level, line.to_owned()));
    }
}

/// One VM.
pub struct Gateway {
    pub process: Rc<Process>,
    host: FakeHost,
    vm: Rc<Vm<FakeHost>>,
    roots: BTreeMap<ContextId, Root<FakeHost>>,
    /// The root contexts whose plugin is no longer configured; they end with their last connection.
    replaced: BTreeSet<ContextId>,
    pub clients: BTreeMap<ContextId, Client>,
    next: ContextId,
    /// The most closes that one callback asked for.
    pub most_closes: usize,
}

/// What the proxy knows of one connection.
pub struct Client {
    stream: Stream<FakeHost>,
    root: ContextId,
    pub paused: bool,
    /// tcp_proxy has started, with the cluster that was set by then, or its own.
    pub upstream: Option<String>,
}

impl Gateway {
    pub fn new() -> Self {
        Self::beside(&Rc::default())
    }

    /// A VM of the same process.
    pub fn beside(process: &Rc<Process>) -> Self {
        let host = FakeHost(Rc::new(State {
            process: Rc::clone(process),
            contexts: RefCell::default(),
            effective: Cell::new(0),
            asked: RefCell::default(),
            failing: RefCell::default(),
            calls: RefCell::default(),
            log: RefCell::default(),
        }));
        let vm = Vm::new(host.clone());
        let process = Rc::clone(process);
        Self {
            process,
            host,
            vm,
            roots: BTreeMap::new(),
            replaced: BTreeSet::new(),
            clients: BTreeMap::new(),
            next: 1,
            most_closes: 0,
        }
    }

    /// A VM whose plugin `fedgate` has this table.
    pub fn with(json: &str) -> Self {
        let mut gateway = Self::new();
        gateway.configure("fedgate", json).expect("a good configuration");
        gateway
    }

    /// Configures a plugin; a good configuration replaces the plugin's root context, which lives on as long as its
    /// connections. Returns the root context.
    pub fn configure(&mut self, root_id: &str, json: &str) -> Option<ContextId> {
        let id = self.allocate();
        let properties = BTreeMap::from([(Property::RootId, root_id.as_bytes().to_vec())]);
        let context = Context { root: id, configuration: json.into(), properties, ..Context::default() };
        self.host.0.contexts.borrow_mut().insert(id, context);
        let mut root = self.vm.root(id);
        self.host.0.effective.set(id);
        if !root.on_configure() {
            return None;
        }
        let same = |(&other, _): (&ContextId, &Root<_>)| (self.root_id(other) == root_id).then_some(other);
        let before: Vec<_> = self.roots.iter().filter_map(same).collect();
        self.roots.insert(id, root);
        self.replaced.extend(before);
        self.settle();
        Some(id)
    }

    pub fn connect(&mut self, service: &str) -> ContextId {
        self.connect_by_name(&ServiceName::parse(service).expect("a service").sni())
    }

    /// A connection to the newest plugin, up to its ClientHello.
    pub fn connect_by_name(&mut self, server_name: &str) -> ContextId {
        let root = *self.roots.keys().rev().find(|root| !self.replaced.contains(root)).expect("a plugin");
        self.connect_at(root, server_name.as_bytes())
    }

    pub fn connect_at(&mut self, root: ContextId, server_name: &[u8]) -> ContextId {
        let id = self.allocate();
        let mut properties = BTreeMap::from([(Property::TlsVersion, b"TLSv1.3".to_vec())]);
        if !server_name.is_empty() {
            properties.insert(Property::ServerName, server_name.to_vec());
        }
        self.host.0.contexts.borrow_mut().insert(id, Context { root, properties, ..Context::default() });
        let stream = self.roots[&root].stream(id);
        self.clients.insert(id, Client { stream, root, paused: false, upstream: None });
        let action = self.call(id, Stream::on_new_connection);
        self.act(id, action);
        self.settle();
        id
    }

    /// The client has sent its certificate, and nothing yet that proves that it is its own.
    pub fn show_certificate(&self, client: ContextId, uri_san: &str) {
        self.set(client, Property::CertificatePresented, &[1]);
        self.set(client, Property::UriSan, uri_san.as_bytes());
    }

    /// The client's handshake is finished.
    pub fn handshake(&self, client: ContextId, uri_san: &str) {
        self.show_certificate(client, uri_san);
        self.set(client, Property::CertificateVerified, &[1]);
    }

    pub fn set(&self, id: ContextId, property: Property, value: &[u8]) {
        if let Some(context) = self.host.0.contexts.borrow_mut().get_mut(&id) {
            context.properties.insert(property, value.to_vec());
        }
    }

    /// The client sends data; returns whether they get to tcp_proxy.
    pub fn downstream_data(&mut self, client: ContextId) -> bool {
        self.data(client, Stream::on_downstream_data)
    }

    /// tcp_proxy writes data; returns whether they get to the client.
    pub fn upstream_data(&mut self, client: ContextId) -> bool {
        self.data(client, Stream::on_upstream_data)
    }

    fn data(&mut self, client: ContextId, callback: fn(&mut Stream<FakeHost>) -> Action) -> bool {
        if !self.clients.contains_key(&client) {
            return false;
        }
        let action = self.call(client, callback);
        if action == Action::Continue {
            self.act(client, action);
        }
        self.settle();
        action == Action::Continue
    }

    /// The usual client: handshake, then data. Returns whether they get through.
    pub fn call_as(&mut self, uri_san: &str, service: &str) -> bool {
        let client = self.connect(service);
        self.handshake(client, uri_san);
        self.downstream_data(client)
    }

    /// The client goes away.
    pub fn hang_up(&mut self, client: ContextId) {
        if self.clients.contains_key(&client) {
            self.end(client);
        }
        self.settle();
    }

    /// Ticks every root context that wants to be ticked, once, and lets `time` pass before.
    pub fn tick_after(&mut self, time: Duration) {
        self.process.pass(time);
        for id in self.roots.keys().copied().collect::<Vec<_>>() {
            if self.context(id).is_some_and(|context| context.tick_period > Duration::ZERO) {
                self.host.0.effective.set(id);
                if let Some(root) = self.roots.get_mut(&id) {
                    root.on_tick();
                }
                self.settle();
            }
        }
    }

    pub fn tick(&mut self) {
        self.tick_after(Duration::from_millis(5));
    }

    /// Ticks until nothing is due any more.
    pub fn tick_until_calm(&mut self) {
        self.tick();
        for _ in 0..1_000 {
            if self.period() >= Duration::from_millis(5) {
                return;
            }
            self.tick_after(Duration::from_millis(1));
        }
    }

    /// The shortest tick period of all root contexts.
    pub fn period(&self) -> Duration {
        let periods = self.roots.keys().filter_map(|&id| self.context(id)).map(|context| context.tick_period);
        periods.filter(|period| !period.is_zero()).min().unwrap_or(Duration::MAX)
    }

    pub fn context(&self, id: ContextId) -> Option<Context> {
        self.host.0.contexts.borrow().get(&id).cloned()
    }

    /// The access log's view of a connection, also of one that is closed.
    pub fn filter_state(&self, id: ContextId, name: &str) -> Option<String> {
        self.context(id)?.filter_state.get(&format!("fedgate.{name}")).cloned()
    }

    pub fn reason(&self, id: ContextId) -> String {
        self.filter_state(id, "reason").unwrap_or_default()
    }

    pub fn is_open(&self, id: ContextId) -> bool {
        self.clients.contains_key(&id)
    }

    /// The cluster that tcp_proxy connected to.
    pub fn upstream(&self, id: ContextId) -> Option<String> {
        self.clients.get(&id)?.upstream.clone()
    }

    pub fn fail(&self, call: &'static str) {
        self.host.0.failing.borrow_mut().insert(call);
    }

    /// The host calls since the last time.
    pub fn take_calls(&self) -> Vec<&'static str> {
        self.host.0.calls.take()
    }

    pub fn log(&self, level: Level) -> Vec<String> {
        let log = self.host.0.log.borrow();
        log.iter().filter(|(found, _)| *found == level).map(|(_, line)| line.clone()).collect()
    }

    pub fn roots(&self) -> Vec<ContextId> {
        self.roots.keys().copied().collect()
    }

    /// The next context gets this number.
    pub fn reuse(&mut self, id: ContextId) {
        self.next = id;
    }

    fn allocate(&mut self) -> ContextId {
        self.next += 1;
        self.next - 1
    }

    fn root_id(&self, root: ContextId) -> String {
        let context = self.context(root).expect("a context");
        String::from_utf8(context.properties[&Property::RootId].clone()).expect("a name")
    }

    fn call<T>(&mut self, id: ContextId, callback: fn(&mut Stream<FakeHost>) -> T) -> T {
        self.host.0.effective.set(id);
        callback(&mut self.clients.get_mut(&id).expect("a client").stream)
    }

    fn act(&mut self, id: ContextId, action: Action) {
        let cluster = self.context(id).and_then(|context| context.cluster);
        let client = self.clients.get_mut(&id).expect("a client");
        client.paused = action == Action::Pause;
        if !client.paused && client.upstream.is_none() {
            client.upstream = Some(cluster.unwrap_or_else(|| "black-hole".to_owned()));
        }
    }

    /// Carries out what the last callback asked for.
    fn settle(&mut self) {
        let asked: Vec<_> = self.host.0.asked.take().into_iter().filter(|id| self.clients.contains_key(id)).collect();
        let those = |wanted: fn(&Context) -> bool| -> Vec<ContextId> {
            asked.iter().copied().filter(|&id| self.context(id).is_some_and(|context| wanted(&context))).collect()
        };
        let (resumed, closed) = (those(|context| context.asked_to_resume), those(|context| context.asked_to_close));
        self.most_closes = self.most_closes.max(closed.len());
        for id in resumed {
            assert!(!closed.contains(&id), "resumed and closed");
            self.host.0.contexts.borrow_mut().get_mut(&id).expect("a context").asked_to_resume = false;
            self.act(id, Action::Continue);
        }
        for id in closed {
            self.end(id);
        }
        self.end_roots();
    }

    fn end(&mut self, id: ContextId) {
        self.call(id, Stream::on_done);
        self.clients.remove(&id);
    }

    fn end_roots(&mut self) {
        if self.replaced.is_empty() {
            return;
        }
        let used: BTreeSet<_> = self.clients.values().map(|client| client.root).collect();
        for id in self.replaced.difference(&used).copied().collect::<Vec<_>>() {
            self.host.0.effective.set(id);
            self.roots.remove(&id).expect("a root").on_done();
            self.replaced.remove(&id);
            let ticks_on = !self.context(id).expect("a context").tick_period.is_zero();
            assert!(!ticks_on || self.host.0.failing.borrow().contains("set_tick_period"), "its timer fires for ever");
            self.host.0.contexts.borrow_mut().remove(&id);
        }
    }
}

/// A table in words: `peers` as `name=trust domain` or `name:audit=trust domain`, `exports` as `service=peer+peer`, where a
/// peer may be `name(namespace/service account)` or `name()` for nobody.
pub fn table(generation: u64, peers: &[&str], exports: &[&str]) -> Table {
    let mut builder = TableBuilder::new(TrustDomain::parse("beta.example").unwrap());
    let mut indexes = BTreeMap::new();
    for peer in peers {
        let (name, trust_domain) = peer.split_once('=').unwrap();
        let (name, mode) = name.strip_suffix(":audit").map_or((name, Mode::Enforce), |name| (name, Mode::Audit));
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let peer = Peer { name: PeerName::parse(name).unwrap(), trust_domain, mode };
        indexes.insert(name, builder.peer(peer).unwrap());
    }
    for export in exports {
        let (service, grants) = export.split_once('=').unwrap();
        let grants = grants.split('+').filter(|grant| !grant.is_empty()).map(|grant| {
            let (name, callers) = grant.split_once('(').map_or((grant, None), |(name, rest)| (name, Some(rest)));
            Grant { peer: indexes[name], callers: callers.map_or(Callers::Any, callers_of) }
        });
        builder.export(ServiceName::parse(service).unwrap(), grants.collect()).unwrap();
    }
    Table::read(builder.build(generation).unwrap()).unwrap()
}

fn callers_of(text: &str) -> Callers {
    let patterns = text.trim_end_matches(')').split(',').filter(|pattern| !pattern.is_empty()).map(|pattern| {
        let (namespace, account) = pattern.split_once('/').unwrap();
        CallerPattern {
            namespace: Pattern::parse(namespace).unwrap(),
            service_account: Pattern::parse(account).unwrap(),
        }
    });
    Callers::Only(patterns.collect())
}

pub fn json(table: &Table, options: Options) -> String {
    serde_json::to_string(&write_configuration(table, options)).unwrap()
}

pub const PEERS: &[&str] = &["alpha=alpha.example", "gamma=gamma.example"];

/// The usual configuration: alpha may reach `web` and `db`, gamma is a peer without a grant.
pub fn usual() -> String {
    json(
        &table(1, PEERS, &["web.shop.svc.beta.example:80=alpha", "db.shop.svc.beta.example:3306=alpha"]),
        Options::default(),
    )
}

/// A later one: `web` is gamma's now, `db` as before.
pub fn later() -> String {
    json(
        &table(2, PEERS, &["web.shop.svc.beta.example:80=gamma", "db.shop.svc.beta.example:3306=alpha"]),
        Options::default(),
    )
}

impl Gateway {
    /// The newest plugin is withdrawn while an older one has connections.
    pub fn end_newest_root(&mut self) {
        let newest = *self.roots.keys().next_back().expect("a root");
        self.replaced.insert(newest);
        self.settle();
    }
}
