//! A proxy to run the filter in. It has state, and carries out the filter's requests in the same
//! order as Envoy.
//!
//! [`Process`] is what all VMs share, [`Gateway`] is one VM with its plugins, and [`Client`] is one
//! connection with its handshake and the tcp_proxy behind the filter.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate of its own and uses a part"
)]
#![allow(unused_imports, reason = "as above")]

mod host;
mod tables;

pub use host::{Context, FakeHost, Process, State};
pub use tables::*;

use fedgate_core::ServiceName;
use fedgate_filter::host::{Action, Level};
use fedgate_filter::vm::host::{ContextId, Property};
use fedgate_filter::vm::{Root, Stream, Vm};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// One VM.
pub struct Gateway {
    pub process: Rc<Process>,
    host: FakeHost,
    vm: Rc<Vm<FakeHost>>,
    roots: BTreeMap<ContextId, Root<FakeHost>>,
    /// Root contexts whose plugin is no longer configured; each ends with its last connection.
    replaced: BTreeSet<ContextId>,
    pub clients: BTreeMap<ContextId, Client>,
    next: ContextId,
    /// The largest number of closes that one callback requested.
    pub most_closes: usize,
}

/// What the proxy knows about one connection.
pub struct Client {
    stream: Stream<FakeHost>,
    root: ContextId,
    pub paused: bool,
    /// Set once tcp_proxy has started: the cluster that was set by then, or its own.
    pub upstream: Option<String>,
}

impl Gateway {
    pub fn new() -> Self {
        Self::beside(&Rc::default())
    }

    /// Another VM of the same process.
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

    /// Configures a plugin and returns its root context. A valid configuration replaces the
    /// plugin's root context, which lives on as long as its connections.
    pub fn configure(&mut self, root_id: &str, json: &str) -> Option<ContextId> {
        let id = self.allocate();
        let properties = BTreeMap::from([(Property::RootId, root_id.as_bytes().to_vec())]);
        let context =
            Context { root: id, configuration: json.into(), properties, ..Context::default() };
        self.host.0.contexts.borrow_mut().insert(id, context);
        let mut root = self.vm.root(id);
        self.host.0.effective.set(id);
        if !root.on_configure() {
            return None;
        }
        let same =
            |(&other, _): (&ContextId, &Root<_>)| (self.root_id(other) == root_id).then_some(other);
        let before: Vec<_> = self.roots.iter().filter_map(same).collect();
        self.roots.insert(id, root);
        self.replaced.extend(before);
        self.settle();
        Some(id)
    }

    pub fn connect(&mut self, service: &str) -> ContextId {
        self.connect_by_name(&ServiceName::parse(service).expect("a service").sni())
    }

    /// Opens a connection to the newest plugin, up to its ClientHello.
    pub fn connect_by_name(&mut self, server_name: &str) -> ContextId {
        let root =
            *self.roots.keys().rev().find(|root| !self.replaced.contains(root)).expect("a plugin");
        self.connect_at(root, server_name.as_bytes())
    }

    pub fn connect_at(&mut self, root: ContextId, server_name: &[u8]) -> ContextId {
        self.connect_with(root, server_name, BTreeMap::new())
    }

    /// Opens a connection to the newest plugin on a chain that passes TLS through.
    pub fn connect_passing_through(&mut self, service: &str) -> ContextId {
        let root =
            *self.roots.keys().rev().find(|root| !self.replaced.contains(root)).expect("a plugin");
        let server_name = ServiceName::parse(service).expect("a service").sni();
        let properties = BTreeMap::from([(Property::PassedThrough, b"passed".to_vec())]);
        self.connect_with(root, server_name.as_bytes(), properties)
    }

    fn connect_with(
        &mut self,
        root: ContextId,
        server_name: &[u8],
        mut properties: BTreeMap<Property, Vec<u8>>,
    ) -> ContextId {
        let id = self.allocate();
        if !server_name.is_empty() {
            properties.insert(Property::ServerName, server_name.to_vec());
        }
        self.host
            .0
            .contexts
            .borrow_mut()
            .insert(id, Context { root, properties, ..Context::default() });
        let stream = self.roots[&root].stream(id);
        self.clients.insert(id, Client { stream, root, paused: false, upstream: None });
        let action = self.call(id, Stream::on_new_connection);
        self.act(id, action);
        self.settle();
        id
    }

    /// The client has sent its certificate, but has not yet proved that it holds the key.
    pub fn show_certificate(&self, client: ContextId, uri_san: &str) {
        self.set(client, Property::FirstUriSan, uri_san.as_bytes());
    }

    /// The client's handshake is finished, and the listener has recorded its identity.
    pub fn handshake(&self, client: ContextId, uri_san: &str) {
        self.show_certificate(client, uri_san);
        self.set(
            client,
            Property::PeerUriSans,
            if uri_san.is_empty() { b"-" } else { uri_san.as_bytes() },
        );
    }

    pub fn set(&self, id: ContextId, property: Property, value: &[u8]) {
        if let Some(context) = self.host.0.contexts.borrow_mut().get_mut(&id) {
            context.properties.insert(property, value.to_vec());
        }
    }

    /// The client sends data; returns true if it reaches tcp_proxy.
    pub fn downstream_data(&mut self, client: ContextId) -> bool {
        self.data(client, Stream::on_downstream_data)
    }

    /// tcp_proxy writes data; returns true if it reaches the client.
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

    /// The usual client: a handshake, then data. Returns true if the data gets through.
    pub fn call_as(&mut self, uri_san: &str, service: &str) -> bool {
        let client = self.connect(service);
        self.handshake(client, uri_san);
        self.downstream_data(client)
    }

    /// The client disconnects.
    pub fn hang_up(&mut self, client: ContextId) {
        if self.clients.contains_key(&client) {
            self.end(client);
        }
        self.settle();
    }

    /// Lets `time` pass, then ticks once every root context that has a period.
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

    /// Ticks until nothing more is due.
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
        let periods =
            self.roots.keys().filter_map(|&id| self.context(id)).map(|context| context.tick_period);
        periods.filter(|period| !period.is_zero()).min().unwrap_or(Duration::MAX)
    }

    pub fn context(&self, id: ContextId) -> Option<Context> {
        self.host.0.contexts.borrow().get(&id).cloned()
    }

    /// The access log's view of a connection, whether open or closed.
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

    pub fn succeed(&self, call: &'static str) {
        self.host.0.failing.borrow_mut().remove(call);
    }

    /// The host calls since the last call of this function.
    pub fn take_calls(&self) -> Vec<&'static str> {
        self.host.0.calls.take()
    }

    pub fn log(&self, level: Level) -> Vec<String> {
        let log = self.host.0.log.borrow();
        log.iter().filter(|(found, _)| *found == level).map(|(_, line)| line.clone()).collect()
    }

    /// Withdraws the newest plugin while an older one has connections.
    pub fn end_newest_root(&mut self) {
        let newest = *self.roots.keys().next_back().expect("a root");
        self.replaced.insert(newest);
        self.settle();
    }

    pub fn roots(&self) -> Vec<ContextId> {
        self.roots.keys().copied().collect()
    }

    /// Assigns this number to the next context.
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

    /// Carries out what the last callback requested.
    fn settle(&mut self) {
        let asked: Vec<_> = self
            .host
            .0
            .asked
            .take()
            .into_iter()
            .filter(|id| self.clients.contains_key(id))
            .collect();
        let those = |wanted: fn(&Context) -> bool| -> Vec<ContextId> {
            asked
                .iter()
                .copied()
                .filter(|&id| self.context(id).is_some_and(|context| wanted(&context)))
                .collect()
        };
        let (resumed, closed) =
            (those(|context| context.asked_to_resume), those(|context| context.asked_to_close));
        self.most_closes = self.most_closes.max(closed.len());
        for id in resumed {
            assert!(!closed.contains(&id), "resumed and closed");
            self.host.0.contexts.borrow_mut().get_mut(&id).expect("a context").asked_to_resume =
                false;
            self.act(id, Action::Continue);
        }
        for id in closed {
            self.end(id);
        }
        self.end_roots();
    }

    fn end(&mut self, id: ContextId) {
        self.host.0.effective.set(id);
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
            assert!(
                !ticks_on || self.host.0.failing.borrow().contains("set_tick_period"),
                "its timer fires for ever"
            );
            self.host.0.contexts.borrow_mut().remove(&id);
        }
    }
}
