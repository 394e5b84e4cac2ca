//! For any sequence of events, no connection gets further than the table in force allows.

mod support;

use fedgate_core::{Options, ServiceName, decide, read_configuration};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use support::*;

const URIS: [&str; 4] = [ALPHA, GAMMA, "spiffe://delta.example/ns/shop/sa/web", ""];
const SERVICES: [&str; 3] = [WEB, DB, "other.shop.svc.beta.example:80"];

#[derive(Debug, Clone)]
enum Step {
    Connect(usize),
    Show(usize, usize),
    Finish(usize, usize),
    Down(usize),
    Up(usize),
    HangUp(usize),
    Tick(u64),
    Configure(u8),
    ConfigureElsewhere(u8),
    ConfigureBadly,
    Fail(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..6_usize;
    prop_oneof![
        4 => (0..SERVICES.len()).prop_map(Step::Connect),
        2 => (client(), 0..URIS.len()).prop_map(|(c, u)| Step::Show(c, u)),
        4 => (client(), 0..URIS.len()).prop_map(|(c, u)| Step::Finish(c, u)),
        4 => client().prop_map(Step::Down),
        4 => client().prop_map(Step::Up),
        1 => client().prop_map(Step::HangUp),
        4 => prop_oneof![Just(5), Just(500), Just(20_000)].prop_map(Step::Tick),
        1 => any::<u8>().prop_map(Step::Configure),
        1 => any::<u8>().prop_map(Step::ConfigureElsewhere),
        1 => Just(Step::ConfigureBadly),
    ]
}

fn step_with_failures() -> impl Strategy<Value = Step> {
    prop_oneof![8 => step(), 1 => (0..CALLS.len()).prop_map(Step::Fail)]
}

const CALLS: [&str; 9] = [
    "property",
    "set_property",
    "call_foreign_function",
    "shared_data",
    "set_shared_data",
    "set_tick_period",
    "act_for",
    "resume_downstream",
    "define_metric",
];

/// Each bit of `grants` is one peer's grant on one service.
fn configuration(generation: u64, grants: u8) -> String {
    let granted = |service: usize, peer: usize| grants & 1 << (service * 2 + peer) != 0;
    let exports: Vec<String> = (0..3)
        .filter(|&service| granted(service, 0) || granted(service, 1))
        .map(|service| {
            let peers = ["alpha", "gamma"]
                .into_iter()
                .enumerate()
                .filter(|&(peer, _)| granted(service, peer));
            format!(
                "{}={}",
                SERVICES[service],
                peers.map(|(_, name)| name).collect::<Vec<_>>().join("+")
            )
        })
        .collect();
    json(
        &table(generation, PEERS, &exports.iter().map(String::as_str).collect::<Vec<_>>()),
        Options::default(),
    )
}

struct World {
    gateway: Gateway,
    beside: Gateway,
    /// The newest configuration that this VM has certainly adopted.
    adopted: String,
    /// Those that other VMs have published since.
    published: Vec<String>,
    generation: u64,
    clients: Vec<u32>,
    /// Each client's requested service, and the identity proven by its handshake.
    facts: BTreeMap<u32, (usize, Option<usize>)>,
}

impl World {
    fn new() -> Self {
        let adopted = configuration(1, 0b01_0101);
        let gateway = Gateway::with(&adopted);
        let beside = Gateway::beside(&gateway.process);
        Self {
            gateway,
            beside,
            adopted,
            published: vec![],
            generation: 1,
            clients: vec![],
            facts: BTreeMap::new(),
        }
    }

    fn client(&self, n: usize) -> Option<u32> {
        self.clients.iter().rev().nth(n).copied()
    }

    fn do_step(&mut self, step: &Step) {
        match *step {
            Step::Connect(service) => {
                let client = self.gateway.connect(SERVICES[service]);
                self.clients.push(client);
                self.facts.insert(client, (service, None));
            }
            Step::Show(n, uri) => self.prove(n, uri, false),
            Step::Finish(n, uri) => self.prove(n, uri, true),
            Step::Down(n) => self.data(n),
            Step::Up(n) => {
                if let Some(client) = self.client(n) {
                    let started = self.gateway.upstream(client).is_some();
                    assert!(!self.gateway.upstream_data(client) || started);
                }
            }
            Step::HangUp(n) => {
                self.client(n).into_iter().for_each(|client| self.gateway.hang_up(client))
            }
            Step::Tick(milliseconds) => {
                self.gateway.tick_after(Duration::from_millis(milliseconds));
                self.gateway.tick_until_calm();
                // An earlier tick may or may not have looked for them.
                if milliseconds >= 500 {
                    self.adopted = self.published.pop().unwrap_or_else(|| self.adopted.clone());
                    self.published.clear();
                }
            }
            Step::Configure(grants) => {
                self.generation += 1;
                let json = configuration(self.generation, grants);
                self.gateway.configure("fedgate", &json).expect("a good configuration");
                self.published.clear();
                self.adopted = json;
            }
            Step::ConfigureElsewhere(grants) => {
                self.generation += 1;
                let json = configuration(self.generation, grants);
                self.beside.configure("fedgate", &json).expect("a good configuration");
                self.published.push(json);
            }
            Step::ConfigureBadly => assert_eq!(self.gateway.configure("fedgate", "{}"), None),
            Step::Fail(call) => self.gateway.fail(CALLS[call]),
        }
    }

    /// A proven identity does not change; one that was only presented may be someone else's.
    fn prove(&mut self, n: usize, uri: usize, proven: bool) {
        let Some(client) = self.client(n) else { return };
        if self.facts[&client].1.is_some() || !self.gateway.is_open(client) {
            return;
        }
        if proven {
            self.gateway.handshake(client, URIS[uri]);
            self.facts.get_mut(&client).unwrap().1 = Some(uri);
        } else {
            self.gateway.show_certificate(client, URIS[uri]);
        }
    }

    /// There is no data before the handshake is finished.
    fn data(&mut self, n: usize) {
        if let Some(client) = self.client(n)
            && self.facts[&client].1.is_some()
        {
            self.gateway.downstream_data(client);
        }
    }

    fn may_pass(&self, client: u32, configuration: &str) -> bool {
        let (service, uri) = self.facts[&client];
        let (table, _) = read_configuration(configuration.as_bytes()).unwrap();
        let sni = ServiceName::parse(SERVICES[service]).unwrap().sni();
        uri.is_some_and(|uri| decide(&table, Some(&sni), Some(URIS[uri])).outcome.passes())
    }

    /// Every tcp_proxy that has started and still receives data is allowed to.
    fn check(&mut self, allowed_by: &[String]) {
        for client in self.clients.clone() {
            let Some(cluster) = self.gateway.upstream(client) else { continue };
            let service = ServiceName::parse(SERVICES[self.facts[&client].0]).unwrap();
            assert_eq!(cluster, service.cluster());
            let allowed =
                allowed_by.iter().any(|configuration| self.may_pass(client, configuration));
            assert!(allowed || !self.gateway.downstream_data(client), "{client} gets through");
            assert!(allowed || !self.gateway.upstream_data(client), "{client} gets an answer");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_but_what_is_granted(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.do_step(step);
            let current: Vec<_> = world.published.iter().chain([&world.adopted]).cloned().collect();
            world.check(&current);
        }
    }

    /// A proxy that refuses host calls can cost connections, but never lets more pass. If it hides
    /// a new table, the previous one stays in force.
    #[test]
    fn a_failing_proxy_opens_nothing(steps in prop::collection::vec(step_with_failures(), 1..60)) {
        let mut world = World::new();
        let mut ever = vec![world.adopted.clone()];
        for step in &steps {
            world.do_step(step);
            ever.extend(world.published.last().cloned());
            ever.push(world.adopted.clone());
            world.check(&ever);
        }
    }
}
