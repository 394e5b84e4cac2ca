//! The exports of one cluster, with grants to many peers.

use crate::names::{Kind, services};
use fastrand::Rng;
use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Options, Outcome, Pattern, Peer, Reason, ServiceName,
    Table, TableBuilder, write_configuration,
};
use std::collections::BTreeMap;

pub const PEERS: usize = 50;
/// The number of distinct grant sets that the exports share: a team usually gives the same grants
/// to everything it owns.
const GRANT_SETS: usize = 200;

/// Exports and their grants, before they become a table or one of its alternatives.
#[derive(Debug, Clone)]
pub struct Exports {
    /// The services, in no particular order.
    pub services: Vec<ServiceName>,
    /// The grant set number of each service.
    pub set_of: Vec<usize>,
    /// The grant sets: callers by peer number.
    pub sets: Vec<BTreeMap<usize, Callers>>,
}

/// A connection to decide, with the expected answer.
#[derive(Debug, Clone)]
pub struct Question {
    pub server_name: String,
    pub uri_san: String,
    pub outcome: Outcome,
    pub reason: Reason,
}

impl Exports {
    /// Generates `count` exports to [`PEERS`] peers. About half of the peers have a grant on each
    /// export: some for all callers, others for a namespace pattern. The result is the same each
    /// time.
    pub fn new(kind: Kind, count: usize) -> Self {
        let mut rng = Rng::with_seed(0x9a7e);
        let sets = (0..GRANT_SETS).map(|_| grant_set(&mut rng)).collect();
        let set_of = (0..count).map(|_| rng.usize(..GRANT_SETS)).collect();
        Self { services: services(kind, count), set_of, sets }
    }

    /// The table with generation 1.
    ///
    /// # Panics
    /// If these exports do not form a table, which is a mistake in the generator.
    pub fn table(&self) -> Table {
        self.table_of(1)
    }

    /// The table with this generation.
    ///
    /// # Panics
    /// If these exports do not form a table, which is a mistake in the generator.
    #[allow(clippy::unwrap_used, reason = "generated names are valid")]
    pub fn table_of(&self, generation: u64) -> Table {
        let mut builder = TableBuilder::new("beta.example".parse().unwrap());
        let peers: Vec<_> = (0..PEERS).map(|number| builder.peer(peer(number)).unwrap()).collect();
        for (service, &set) in self.services.iter().zip(&self.set_of) {
            let grant = |(&number, callers): (&usize, &Callers)| Grant {
                peer: peers[number],
                callers: callers.clone(),
            };
            builder.export(service.clone(), self.sets[set].iter().map(grant).collect()).unwrap();
        }
        Table::read(builder.build(generation).unwrap()).unwrap()
    }

    /// # Panics
    /// Never: a configuration can always be written as JSON.
    #[allow(clippy::unwrap_used, reason = "a configuration is JSON")]
    pub fn configuration(&self) -> String {
        serde_json::to_string(&write_configuration(&self.table(), Options::default())).unwrap()
    }

    /// Calls that pass, to services throughout the table.
    pub fn allowed(&self, count: usize) -> Vec<Question> {
        self.ask(count, |service, grants| {
            let (&peer, _) = grants.iter().find(|(_, callers)| **callers == Callers::Any)?;
            Some(Question {
                outcome: Outcome::Allowed,
                reason: Reason::Granted,
                ..question(service, peer)
            })
        })
    }

    /// Calls by peers without a grant, which are refused after the handshake.
    pub fn refused_late(&self, count: usize) -> Vec<Question> {
        self.ask(count, |service, grants| {
            let peer = (0..PEERS).find(|peer| !grants.contains_key(peer))?;
            Some(Question {
                outcome: Outcome::Refused,
                reason: Reason::NotGranted,
                ..question(service, peer)
            })
        })
    }

    /// Calls to services that are not exported but have almost the name of an export. They are
    /// refused before the handshake.
    pub fn refused_early(&self, count: usize) -> Vec<Question> {
        self.ask(count, |service, _| {
            let server_name = service.sni().replacen(".svc.", "x.svc.", 1);
            let unknown = question(service, 0);
            Some(Question {
                server_name,
                outcome: Outcome::Refused,
                reason: Reason::UnknownService,
                ..unknown
            })
        })
    }

    /// Questions about services at equal distances. If there are only few services, they repeat.
    fn ask(
        &self,
        count: usize,
        about: impl Fn(&ServiceName, &BTreeMap<usize, Callers>) -> Option<Question>,
    ) -> Vec<Question> {
        let step = (self.services.len() / count).max(1);
        let service = |number: usize| number * step % self.services.len();
        let ask = |number| about(&self.services[number], &self.sets[self.set_of[number]]);
        (0..).map(service).filter_map(ask).take(count).collect()
    }
}

/// The trust domain of a peer.
pub fn trust_domain(peer: usize) -> String {
    format!("peer-{peer:02}.example")
}

fn question(service: &ServiceName, peer: usize) -> Question {
    Question {
        server_name: service.sni(),
        uri_san: format!("spiffe://{}/ns/shop/sa/web-1", trust_domain(peer)),
        outcome: Outcome::Refused,
        reason: Reason::UnknownService,
    }
}

#[allow(clippy::unwrap_used, reason = "generated names are valid")]
fn peer(number: usize) -> Peer {
    Peer {
        name: format!("peer-{number:02}").parse().unwrap(),
        trust_domain: trust_domain(number).parse().unwrap(),
        mode: Mode::Enforce,
    }
}

fn grant_set(rng: &mut Rng) -> BTreeMap<usize, Callers> {
    let granted: Vec<usize> = (0..PEERS).filter(|_| rng.bool()).collect();
    granted.into_iter().map(|peer| (peer, callers(rng))).collect()
}

#[allow(clippy::unwrap_used, reason = "generated patterns are valid")]
fn callers(rng: &mut Rng) -> Callers {
    if rng.u8(..3) > 0 {
        return Callers::Any;
    }
    let namespace = Pattern::parse(&format!("team-{}-*", rng.u8(..50))).unwrap();
    Callers::Only(
        [CallerPattern { namespace, service_account: Pattern::parse("*").unwrap() }].into(),
    )
}
