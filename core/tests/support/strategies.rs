//! Random models. Some names are typical; others are chosen to trip a search: prefixes of one
//! another, characters next to the dot in ASCII, names of maximum length.

use super::model::{Grants, Model};
use fedgate_core::{CallerPattern, Callers, Hostname, Mode, Pattern};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const PEERS: [&str; 6] =
    ["beta.example", "gamma.example", "beta.example.org", "b", "beta-example", "z_1"];

/// Models with up to 120 exports, which take up to four blocks of rows.
pub fn model() -> impl Strategy<Value = Model> {
    let grant_set = prop_oneof![5 => vec(callers(), PEERS.len()).prop_map(Some), 1 => Just(None)];
    (btree_map(select(&PEERS[..]), mode(), 0..PEERS.len()), vec(grant_set, 1..6), exports())
        .prop_map(|(peers, grant_sets, exports)| assemble(&peers, &grant_sets, exports))
}

type Exports = Vec<((String, u16), Index)>;

fn assemble(
    peers: &std::collections::BTreeMap<&str, Mode>,
    grant_sets: &[Option<Vec<Option<Callers>>>],
    exports: Exports,
) -> Model {
    let grants = |set: &Vec<Option<Callers>>| -> Grants {
        peers
            .keys()
            .zip(set)
            .filter_map(|(peer, callers)| Some((peer.to_string(), callers.clone()?)))
            .collect()
    };
    Model {
        peers: peers
            .iter()
            .map(|(domain, mode)| (domain.to_string(), (domain.replace('_', "-"), *mode)))
            .collect(),
        exports: exports
            .into_iter()
            .map(|(service, set)| (service, set.get(grant_sets).as_ref().map(grants)))
            .collect(),
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Enforce, Mode::Audit])
}

fn exports() -> impl Strategy<Value = Exports> {
    let count = prop_oneof![3 => 0..4usize, 3 => 0..40usize, 1 => 90..120usize];
    (count, hosts()).prop_flat_map(|(count, host)| {
        vec(((host, select(vec![1, 80, 443, 8080, u16::MAX])), any::<Index>()), count)
    })
}

/// One kind of host for the whole model, or a mixture.
fn hosts() -> impl Strategy<Value = BoxedStrategy<String>> {
    let mixture = prop_oneof![realistic(), adversarial(), longest()].boxed();
    select(vec![realistic().boxed(), adversarial().boxed(), mixture])
}

fn realistic() -> impl Strategy<Value = String> {
    "(web|api|db)(-[0-9a-f]{1,5})?\\.(shop|team-[1-3])\\.svc\\.alpha\\.example"
}

fn adversarial() -> impl Strategy<Value = String> {
    let label = "[ab0_]([ab0_-]{0,2}[ab0_])?";
    vec(label, 1..4).prop_map(|labels| labels.join("."))
}

/// Up to 236 bytes. With a port of five digits, the server name then reaches its maximum of 255
/// bytes.
fn longest() -> impl Strategy<Value = String> {
    ("[ab]{44}", 40..=44usize).prop_map(|(last, length)| {
        let label = "a".repeat(63);
        [&label, &label, &label, &last[..length]].join(".")
    })
}

/// No grant, any caller, or some patterns.
fn callers() -> impl Strategy<Value = Option<Callers>> {
    let pattern =
        ("[ab*]{1,3}", "[ab*]{1,3}").prop_map(|(namespace, service_account)| CallerPattern {
            namespace: Pattern::parse(&namespace).unwrap(),
            service_account: Pattern::parse(&service_account).unwrap(),
        });
    let patterns = btree_set(pattern, 0..4).prop_map(|patterns| Some(Callers::Only(patterns)));
    prop_oneof![Just(None), Just(Some(Callers::Any)), patterns]
}

/// Server names: of an exported service, of one that is slightly off, and arbitrary ones.
pub fn server_name() -> impl Strategy<Value = ServerName> {
    let change = prop_oneof![
        6 => Just(Change::None),
        1 => Just(Change::UpperCase),
        1 => (any::<Index>(), select(b"-._0abz".to_vec())).prop_map(|(index, byte)| Change::Replace(index, byte)),
        1 => (any::<Index>(), select(b"-._0abz".to_vec())).prop_map(|(index, byte)| Change::Insert(index, byte)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => select(vec![1, 79, 80, 81, 443, 8080, u16::MAX]).prop_map(Change::Port),
        1 => "\\PC{0,20}".prop_map(Change::Text),
    ];
    (any::<Index>(), change).prop_map(|(export, change)| ServerName { export, change })
}

/// A server name derived from a model.
#[derive(Debug, Clone)]
pub struct ServerName {
    export: Index,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    None,
    UpperCase,
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Port(u16),
    Text(String),
}

impl ServerName {
    pub fn of(&self, model: &Model) -> String {
        let exports: Vec<_> = model.exports.keys().cloned().collect();
        let (mut host, mut port) = match exports.is_empty() {
            true => ("web.shop.svc.alpha.example".to_owned(), 80),
            false => self.export.get(&exports).clone(),
        };
        match &self.change {
            Change::None => {}
            Change::UpperCase => host.make_ascii_uppercase(),
            Change::Replace(index, byte) => {
                let index = index.index(host.len());
                host.replace_range(index..=index, char::from(*byte).encode_utf8(&mut [0]));
            }
            Change::Insert(index, byte) => {
                host.insert(index.index(host.len() + 1), char::from(*byte))
            }
            Change::Remove(index) => drop(host.remove(index.index(host.len()))),
            Change::Port(other) => port = *other,
            Change::Text(text) => return text.clone(),
        }
        format!("outbound_.{port}_._.{host}")
    }
}

/// Valid host names of every kind.
pub fn host() -> impl Strategy<Value = String> {
    prop_oneof![realistic(), adversarial(), longest()]
        .prop_filter("a host", |host| Hostname::parse(host).is_ok())
}

/// Identities of peers, near misses, and arbitrary texts.
pub fn uri_san() -> impl Strategy<Value = Option<String>> {
    let trust_domain =
        prop_oneof![8 => select(&PEERS[..]).prop_map(str::to_owned), 1 => "[a-z.]{0,12}"];
    let istio =
        (trust_domain, "[ab]{0,3}", "[ab]{0,3}").prop_map(|(domain, namespace, account)| {
            Some(format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
        });
    let other_path =
        select(&PEERS[..]).prop_map(|domain| Some(format!("spiffe://{domain}/ns/a/sa/a/b")));
    prop_oneof![8 => istio, 1 => other_path, 1 => "\\PC{0,20}".prop_map(Some), 1 => Just(None)]
}
