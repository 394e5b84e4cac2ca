//! The module behind a fake Envoy: a connection from its start to its end, and panics at each
//! function of the ABI.

use super::fake::{
    EVENT_CONNECTED, EVENT_EARLY_DATA, EVENT_REMOTE_CLOSE, FakeConfiguration, FakeConnection,
    STATUS_CONTINUE, STATUS_STOP, logged,
};
use super::provoked::ASKED;
use super::*;
use fedgate_core::{
    Callers, Grant, Mode, Options, Peer, PeerName, ServiceName, TableBuilder, TrustDomain,
    write_configuration,
};
use std::sync::atomic::Ordering;

const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/cart";
const DELTA: &str = "spiffe://delta.example/ns/shop/sa/cart";
const SNI: &str = "outbound_.80_._.web.shop.svc.beta.example";

/// A configuration in which delta has a grant on `web`, and alpha is a peer with or without one.
fn configuration(generation: u64, granted: bool) -> String {
    let mut builder = TableBuilder::new(TrustDomain::parse("beta.example").unwrap());
    let [alpha, delta] = ["alpha", "delta"].map(|name| {
        let trust_domain = TrustDomain::parse(&format!("{name}.example")).unwrap();
        let name = PeerName::parse(name).unwrap();
        let peer = builder.peer(Peer { name, trust_domain, mode: Mode::Enforce }).unwrap();
        Grant { peer, callers: Callers::Any }
    });
    let grants = if granted { vec![alpha, delta] } else { vec![delta] };
    let web = ServiceName::parse("web.shop.svc.beta.example:80").unwrap();
    builder.export(web, grants).unwrap();
    let table = fedgate_core::Table::read(builder.build(generation).unwrap()).unwrap();
    serde_json::to_string(&write_configuration(&table, Options::default())).unwrap()
}

/// An Envoy with one filter, and the configurations that it has loaded, the newest one last.
struct Envoy {
    filter: &'static str,
    configurations: Vec<(Box<FakeConfiguration>, *const c_void)>,
}

impl Envoy {
    /// Filters with different names do not share a table, so each test has its own.
    fn start(filter: &'static str) -> Self {
        let mut envoy = Self { filter, configurations: Vec::new() };
        assert!(envoy.load(&configuration(1, true)));
        logged();
        envoy
    }

    /// Loads a configuration; returns false if the module refuses it.
    fn load(&mut self, json: &str) -> bool {
        let fake = Box::new(FakeConfiguration::default());
        let configured = envoy_dynamic_module_on_network_filter_config_new(
            std::ptr::from_ref(&*fake).cast_mut().cast(),
            Buffer::of(self.filter.as_bytes()),
            Buffer::of(json.as_bytes()),
        );
        if !configured.is_null() {
            self.configurations.push((fake, configured));
        }
        !configured.is_null()
    }

    /// A new connection; `None` if the module gives no object for it.
    fn accept(&self, server_name: &str, uri_sans: &[&str]) -> Option<Client> {
        let fake = Box::new(FakeConnection {
            server_name: server_name.to_owned(),
            uri_sans: uri_sans.iter().map(|&name| name.to_owned()).collect(),
            ..FakeConnection::default()
        });
        let (_, configured) = self.configurations.last().unwrap();
        let module = envoy_dynamic_module_on_network_filter_new(*configured, fake.pointer());
        fake.module.set(module);
        (!module.is_null()).then(|| Client(fake))
    }

    /// A connection of alpha that has finished its handshake.
    fn admitted(&self) -> Client {
        self.admitted_of(ALPHA)
    }

    fn admitted_of(&self, caller: &str) -> Client {
        let client = self.accept(SNI, &[caller]).unwrap();
        assert_eq!(client.new_connection(), STATUS_STOP);
        client.event(EVENT_CONNECTED);
        assert!(client.0.continued.get());
        client
    }

    fn gauge(&self, name: &str) -> Option<u64> {
        let gauges = self.configurations.last().unwrap().0.gauges.borrow();
        gauges.iter().find(|(found, _)| found.ends_with(name)).map(|(_, value)| *value)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        for (_, configured) in &self.configurations {
            envoy_dynamic_module_on_network_filter_config_destroy(*configured);
        }
    }
}

/// A connection. Envoy destroys it when dropped.
struct Client(Box<FakeConnection>);

impl Client {
    fn new_connection(&self) -> u32 {
        envoy_dynamic_module_on_network_filter_new_connection(self.0.pointer(), self.0.module.get())
    }

    fn read(&self) -> u32 {
        envoy_dynamic_module_on_network_filter_read(self.0.pointer(), self.0.module.get(), 1, false)
    }

    fn write(&self) -> u32 {
        envoy_dynamic_module_on_network_filter_write(
            self.0.pointer(),
            self.0.module.get(),
            1,
            false,
        )
    }

    fn event(&self, event: u32) {
        envoy_dynamic_module_on_network_filter_event(self.0.pointer(), self.0.module.get(), event);
    }

    fn wake(&self) {
        envoy_dynamic_module_on_network_filter_scheduled(self.0.pointer(), self.0.module.get(), 0);
    }

    fn closed(&self) -> Option<String> {
        self.0.closed.borrow().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        envoy_dynamic_module_on_network_filter_destroy(self.0.module.get());
    }
}

#[test]
fn a_granted_connection_continues_after_its_handshake() {
    let envoy = Envoy::start("granted");
    let client = envoy.accept(SNI, &[ALPHA]).unwrap();
    assert_eq!(client.new_connection(), STATUS_STOP);
    assert!(!client.0.continued.get() && client.0.cluster.borrow().is_none());
    client.event(EVENT_CONNECTED);
    let cluster = client.0.cluster.borrow().clone();
    assert_eq!(cluster.as_deref(), Some("outbound|80||web.shop.svc.beta.example"));
    assert!(client.0.continued.get());
    assert_eq!(
        (client.read(), client.write(), client.closed()),
        (STATUS_CONTINUE, STATUS_CONTINUE, None)
    );
    assert!(client.0.counted.get() > 0);
    client.event(EVENT_REMOTE_CLOSE);
    assert_eq!((envoy.gauge("generation"), envoy.gauge("threads")), (Some(1), Some(3)));
}

#[test]
fn a_refused_connection_is_closed_with_its_reason() {
    let envoy = Envoy::start("refused");
    let stranger = "spiffe://gamma.example/ns/shop/sa/cart";
    let early = |server_name| {
        let client = envoy.accept(server_name, &[ALPHA]).unwrap();
        (client.new_connection(), client.closed())
    };
    let closed = |reason: &str| Some(format!("fedgate_{reason}"));
    assert_eq!(early(""), (STATUS_STOP, closed("no_sni")));
    let unknown = "outbound_.80_._.other.shop.svc.beta.example";
    assert_eq!(early(unknown), (STATUS_STOP, closed("unknown_service")));
    for (names, reason) in [
        (&[stranger][..], "unknown_peer"),
        (&[ALPHA, stranger], "bad_identity"),
        (&[], "no_identity"),
    ] {
        let client = envoy.accept(SNI, names).unwrap();
        assert_eq!((client.new_connection(), client.closed()), (STATUS_STOP, None));
        client.event(EVENT_CONNECTED);
        assert_eq!(client.closed(), closed(reason));
        assert_eq!((client.read(), client.write()), (STATUS_STOP, STATUS_STOP));
        assert!(!client.0.continued.get() && client.0.cluster.borrow().is_none());
    }
}

/// Each call costs every connection. Say in the commit that adds one what it is worth.
#[test]
fn a_connection_makes_no_more_calls_than_these() {
    const LOG: [&str; 5] = ["set_filter_state_bytes"; 5];
    const NAMES: [&str; 2] = ["get_ssl_uri_sans_size", "get_ssl_uri_sans"];
    const COUNTERS: [&str; 2] = ["increment_counter"; 2];
    let envoy = Envoy::start("calls");
    // It holds the waker of this thread.
    let _other = envoy.admitted();
    let granted = envoy.accept(SNI, &[ALPHA]).unwrap();
    granted.new_connection();
    granted.event(EVENT_CONNECTED);
    assert_eq!((granted.read(), granted.write()), (STATUS_CONTINUE, STATUS_CONTINUE));
    let expected = [
        &["get_requested_server_name"][..],
        &NAMES,
        &["set_filter_state_typed"],
        &LOG,
        &COUNTERS,
        &["continue_reading"],
    ];
    assert_eq!(*granted.0.calls.borrow(), expected.concat());

    let early = envoy.accept("outbound_.80_._.other.shop.svc.beta.example", &[ALPHA]).unwrap();
    early.new_connection();
    let expected =
        [&["get_requested_server_name"][..], &LOG[1..], &COUNTERS[1..], &["close_with_details"]];
    assert_eq!(*early.0.calls.borrow(), expected.concat());
}

/// Envoy shows the certificate before it has verified it.
#[test]
fn data_before_the_end_of_the_handshake_proves_nothing() {
    let envoy = Envoy::start("early");
    let client = envoy.accept(SNI, &[ALPHA]).unwrap();
    client.new_connection();
    client.event(EVENT_EARLY_DATA);
    assert!(!client.0.continued.get() && client.closed().is_none());
    assert_eq!(client.read(), STATUS_STOP);
    assert_eq!(client.closed().as_deref(), Some("fedgate_no_identity"));
    client.event(EVENT_CONNECTED);
    assert!(!client.0.continued.get() && client.0.cluster.borrow().is_none());
}

#[test]
fn a_new_table_wakes_the_thread_and_closes_what_it_revokes() {
    let mut envoy = Envoy::start("revoked");
    let [first, second] = [envoy.admitted(), envoy.admitted()];
    let woken = |client: &Client| client.0.woken.load(Ordering::SeqCst);
    assert!(!envoy.load("{}"), "what is no table is refused");
    assert_eq!((woken(&first), first.read()), (0, STATUS_CONTINUE), "and changes nothing");
    assert!(envoy.load(&configuration(2, false)));
    assert_eq!((woken(&first), woken(&second)), (1, 0), "one wakes the thread");
    first.wake();
    for client in [first, second] {
        assert!(client.closed().is_some_and(|details| details.starts_with("fedgate_")));
    }
    assert_eq!(envoy.gauge("generation"), Some(2));
}

#[test]
fn each_wake_up_closes_some_connections_and_asks_for_one_more_if_any_are_left() {
    let mut envoy = Envoy::start("many revoked");
    let waker = envoy.admitted_of(DELTA);
    let clients: Vec<_> = (0..150).map(|_| envoy.admitted()).collect();
    assert!(envoy.load(&configuration(2, false)));
    let woken = || waker.0.woken.load(Ordering::SeqCst);
    let closed = || clients.iter().filter(|client| client.closed().is_some()).count();
    assert_eq!((woken(), closed()), (1, 0));
    for expected in [(2, 64), (3, 128), (3, 150)] {
        waker.wake();
        assert_eq!((woken(), closed()), expected);
    }
}

/// Each wake-up may close the connection that has the waker.
#[test]
fn a_thread_whose_connections_are_all_revoked_closes_them_all() {
    let mut envoy = Envoy::start("all revoked");
    let clients: Vec<_> = (0..150).map(|_| envoy.admitted()).collect();
    assert!(envoy.load(&configuration(2, false)));
    let mut wake_ups = 0;
    while let Some(woken) = clients.iter().find(|it| it.0.woken.load(Ordering::SeqCst) > 0) {
        woken.0.woken.fetch_sub(1, Ordering::SeqCst);
        woken.wake();
        wake_ups += 1;
    }
    assert!(clients.iter().all(|client| client.closed().is_some()));
    assert!((3..=6).contains(&wake_ups), "{wake_ups}");
}

#[test]
fn the_waker_is_handed_on_when_its_connection_ends() {
    let mut envoy = Envoy::start("handed on");
    let (first, second) = (envoy.admitted(), envoy.admitted());
    drop(first);
    assert!(envoy.load(&configuration(2, false)));
    assert!(second.0.woken.load(Ordering::SeqCst) > 0);
    second.wake();
    assert!(second.closed().is_some());
}

/// Envoy destroys a connection some time after its close. A scheduler that another thread uses then
/// could make that thread the one that destroys it.
#[test]
fn the_waker_is_handed_on_at_the_close_already() {
    let mut envoy = Envoy::start("handed on at the close");
    for panics in ["", "event"] {
        let (first, second) = (envoy.admitted(), envoy.admitted());
        ASKED.set(panics);
        first.event(EVENT_REMOTE_CLOSE);
        ASKED.set("");
        assert!(envoy.load(&configuration(1, true)));
        let woken = |client: &Client| client.0.woken.load(Ordering::SeqCst);
        assert_eq!((woken(&first), woken(&second)), (0, 1), "{panics}");
    }
}

#[test]
fn a_connection_destroyed_on_another_thread_is_not_touched() {
    let envoy = Envoy::start("elsewhere");
    let client = envoy.admitted();
    client.event(EVENT_REMOTE_CLOSE);
    let module = client.0.module.get().expose_provenance();
    let other = std::thread::spawn(move || {
        envoy_dynamic_module_on_network_filter_destroy(std::ptr::with_exposed_provenance(module));
        logged()
    });
    let lines = other.join().unwrap();
    assert!(lines[0].contains("destroyed on another thread"), "{lines:?}");
    // It is still there for the thread that it belongs to.
    drop(client);
    envoy.admitted();
}

#[test]
fn the_module_states_the_version_of_an_envoy_without_the_newer_functions() {
    // SAFETY: a static string.
    let version = unsafe { CStr::from_ptr(envoy_dynamic_module_on_program_init()) };
    assert_eq!(version, c"v0.1.0");
}

/// Makes the next calls of this function panic, runs `act`, and returns the lines logged.
#[track_caller]
fn panicking_in<T>(entry: &'static str, act: impl FnOnce() -> T) -> T {
    logged();
    ASKED.set(entry);
    let result = act();
    ASKED.set("");
    let lines = logged();
    let expected =
        format!("the filter panicked in {entry}; the connection or configuration is refused");
    assert!(lines.contains(&expected), "{lines:?}");
    result
}

#[test]
fn a_panic_closes_its_connection_and_no_other() {
    let envoy = Envoy::start("panics");
    let other = envoy.admitted();
    let fresh = || envoy.accept(SNI, &[ALPHA]).unwrap();
    type Call<'a> = &'a dyn Fn(&Client) -> u32;
    let cases: [(&str, Client, Call<'_>); 5] = [
        ("new_connection", fresh(), &Client::new_connection),
        ("read", envoy.admitted(), &Client::read),
        ("write", envoy.admitted(), &Client::write),
        ("event", fresh(), &|client| {
            client.event(EVENT_CONNECTED);
            STATUS_STOP
        }),
        ("scheduled", envoy.admitted(), &|client| {
            client.wake();
            STATUS_STOP
        }),
    ];
    for (entry, client, call) in cases {
        let passed = client.0.continued.get();
        assert_eq!(panicking_in(entry, || call(&client)), STATUS_STOP, "{entry}");
        assert_eq!(client.closed().as_deref(), Some("fedgate_failed"), "{entry}");
        assert_eq!(client.0.continued.get(), passed, "{entry}: the connection went on");
    }
    assert_eq!((other.read(), other.closed()), (STATUS_CONTINUE, None));
    envoy.admitted();
}

#[test]
fn a_panic_refuses_a_connection_or_a_configuration_that_begins() {
    let mut envoy = Envoy::start("panics at the start");
    let other = envoy.admitted();
    assert!(panicking_in("new", || envoy.accept(SNI, &[ALPHA])).is_none());
    assert!(!panicking_in("config_new", || envoy.load(&configuration(2, false))));
    assert_eq!(
        (other.read(), other.closed()),
        (STATUS_CONTINUE, None),
        "the last table is in force"
    );
    assert_eq!(envoy.gauge("generation"), Some(1));
    envoy.admitted();
}

#[test]
fn a_panic_at_the_end_goes_no_further() {
    let envoy = Envoy::start("panics at the end");
    let client = envoy.admitted();
    panicking_in("destroy", || drop(client));
    envoy.admitted();
    panicking_in("config_destroy", || drop(envoy));
}

/// Envoy may call the module from within one of its functions. A connection that is entered twice
/// panics, which is a fault like any other: it must not end Envoy.
#[test]
fn a_call_from_within_another_one_is_a_panic_that_is_caught() {
    let envoy = Envoy::start("nested");
    let client = envoy.accept(SNI, &[ALPHA]).unwrap();
    client.0.reenters.set(true);
    assert_eq!(client.new_connection(), STATUS_STOP);
    assert_eq!(client.closed().as_deref(), Some("fedgate_failed"));
    assert!(logged().iter().any(|line| line.contains("panicked in read")));
}
