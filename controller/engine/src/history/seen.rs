//! What was in force at one moment, in short, and the changes from one moment to the next.

use super::{Change, ChangeKind, MOST_AT_ONCE};
use crate::federated::FederatedServiceStatus;
use crate::in_force::InForce;
use fedgate_core::PeerName;
use fedgate_federation::federate::PeerReport;
use fedgate_federation::grant::PeerGrant;
use fedgate_federation::shown;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was in force at one moment, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    cluster: String,
    ours: Trust,
    peers: BTreeMap<String, SeenPeer>,
    /// The exports, each with what its grants are.
    exports: BTreeMap<String, Grants>,
    /// The names of FederatedServices, each with the members that take its calls.
    names: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Trust {
    uuid: String,
    key: String,
    roots: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SeenPeer {
    trust: Trust,
    ready: bool,
    imports: usize,
    /// The status and the reason of each condition, by type.
    conditions: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grants {
    granted: usize,
    /// Of all grants of the export. Equal grants have an equal one, also in another run.
    digest: u64,
}

impl Seen {
    /// What is in force.
    pub(super) fn of(in_force: &InForce) -> Self {
        let local = &in_force.local;
        let ready = in_force.ready_peers();
        let peers = in_force.federation.peers.iter().map(|report| {
            let is_ready = ready.contains(&report.peer.name);
            (report.peer.name.to_string(), SeenPeer::of(report, is_ready))
        });
        Self {
            cluster: local.trust_domain.to_string(),
            ours: Trust {
                uuid: local.cluster_uuid.to_string(),
                key: local.authn_key.fingerprint().to_string(),
                roots: local.roots.iter().map(|root| root.fingerprint().to_string()).collect(),
            },
            peers: peers.collect(),
            exports: exports(in_force),
            names: in_force.federated().map(|name| takers(&name)).collect(),
        }
    }

    /// Takes peers that are not settled as they were before.
    pub(super) fn keep_unsettled(&mut self, before: &Self, is_settled: impl Fn(&PeerName) -> bool) {
        for (name, peer) in &mut self.peers {
            let is_unsettled = PeerName::parse(name).is_ok_and(|name| !is_settled(&name));
            if let Some(before) = before.peers.get(name).filter(|_| is_unsettled) {
                peer.clone_from(before);
            }
        }
    }

    /// What has changed since `before`.
    pub(super) fn since(&self, before: &Self, now: Timestamp) -> Vec<Change> {
        let mut changes = Changes { now, list: Vec::new() };
        changes.trust(ChangeKind::Roots, &self.cluster, &before.ours, &self.ours);
        changes.peers(&before.peers, &self.peers);
        changes.exports(&before.exports, &self.exports);
        changes.names(&before.names, &self.names);
        changes.collapsed(&self.cluster)
    }
}

impl SeenPeer {
    fn of(report: &PeerReport, ready: bool) -> Self {
        let conditions = report.conditions.iter().map(|condition| {
            let state = format!("{:?} {}", condition.status, condition.reason);
            (format!("{:?}", condition.kind), state)
        });
        let uuid = report.cluster_uuid.as_ref().map(ToString::to_string);
        Self {
            trust: Trust {
                uuid: uuid.unwrap_or_default(),
                key: String::new(),
                roots: report.roots.iter().map(ToString::to_string).collect(),
            },
            ready,
            imports: report.imports,
            conditions: conditions.collect(),
        }
    }
}

fn takers(name: &FederatedServiceStatus) -> (String, String) {
    (name.service.to_string(), name.takers().join(", "))
}

/// The exported Services. Pods come and go, and would push out everything else.
fn exports(in_force: &InForce) -> BTreeMap<String, Grants> {
    let mut grants: HashMap<*const PeerGrant, Grants> = HashMap::new();
    let services = in_force.federation.exports.iter().filter(|export| export.pod.is_none());
    let exports = services.map(|export| {
        let of = || Grants::of(&export.grants);
        let grants = *grants.entry(export.grants.as_ptr()).or_insert_with(of);
        (export.service.to_string(), grants)
    });
    exports.collect()
}

impl Grants {
    /// FNV-1a over what each peer may, which is the same in every build.
    fn of(grants: &[PeerGrant]) -> Self {
        let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
        for grant in grants {
            let text = format!("{} {:?} {:?};", grant.peer, grant.mode, grant.access);
            for byte in text.bytes() {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self { granted: grants.iter().filter(|grant| grant.is_granted()).count(), digest }
    }
}

fn peers(count: usize) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}

struct Changes {
    now: Timestamp,
    list: Vec<Change>,
}

impl Changes {
    fn add(&mut self, kind: ChangeKind, about: &str, text: &str) {
        self.list.push(Change::new(self.now, kind, about, text));
    }

    fn trust(&mut self, kind: ChangeKind, about: &str, before: &Trust, after: &Trust) {
        let short = |text: &String| text.chars().take(23).collect::<String>();
        for new in after.roots.difference(&before.roots) {
            self.add(kind, about, &format!("new root {}", short(new)));
        }
        for old in before.roots.difference(&after.roots) {
            self.add(kind, about, &format!("root {} is gone", short(old)));
        }
        if before.key != after.key && !before.key.is_empty() {
            self.add(ChangeKind::Key, about, &format!("new key {}", short(&after.key)));
        }
        if before.uuid != after.uuid && !before.uuid.is_empty() && !after.uuid.is_empty() {
            let text = format!("UUID {} became {}", shown(&before.uuid), shown(&after.uuid));
            self.add(ChangeKind::Key, about, &text);
        }
    }

    fn peers(&mut self, before: &BTreeMap<String, SeenPeer>, after: &BTreeMap<String, SeenPeer>) {
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.add(ChangeKind::Peer, name, "removed");
        }
        for (name, peer) in after {
            match before.get(name) {
                Some(old) => self.peer(name, old, peer),
                None => self.add(ChangeKind::Peer, name, "added"),
            }
        }
    }

    fn peer(&mut self, name: &str, old: &SeenPeer, peer: &SeenPeer) {
        if old.ready != peer.ready {
            let text = if peer.ready { "is ready" } else { "is not ready any more" };
            self.add(ChangeKind::Peer, name, text);
        }
        self.trust(ChangeKind::Roots, name, &old.trust, &peer.trust);
        if old.imports != peer.imports {
            let text = format!("imports from it: {}, before {}", peer.imports, old.imports);
            self.add(ChangeKind::Import, name, &text);
        }
        for (kind, state) in &peer.conditions {
            if let Some(was) = old.conditions.get(kind).filter(|was| *was != state) {
                let text = format!("{kind} {was} became {state}");
                self.add(ChangeKind::Condition, name, &text);
            }
        }
    }

    fn exports(&mut self, before: &BTreeMap<String, Grants>, after: &BTreeMap<String, Grants>) {
        for service in before.keys().filter(|service| !after.contains_key(*service)) {
            self.add(ChangeKind::Export, service, "is no longer exported");
        }
        for (service, grants) in after {
            match before.get(service) {
                None => {
                    let text = format!("is exported, granted to {}", peers(grants.granted));
                    self.add(ChangeKind::Export, service, &text);
                }
                Some(old) if old.granted != grants.granted => {
                    let text = format!(
                        "is granted to {}, before to {}",
                        peers(grants.granted),
                        old.granted
                    );
                    self.add(ChangeKind::Grant, service, &text);
                }
                Some(old) if old.digest != grants.digest => {
                    self.add(ChangeKind::Grant, service, "its grants have changed");
                }
                Some(_) => {}
            }
        }
    }

    /// Where calls of a name go: the members change, and the object does not.
    fn names(&mut self, before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
        let words = |takers: &String| match takers.is_empty() {
            true => "no member".to_owned(),
            false => takers.clone(),
        };
        for (name, takers) in after {
            if let Some(old) = before.get(name).filter(|old| *old != takers) {
                let text = format!("calls go to {}, before to {}", words(takers), words(old));
                self.add(ChangeKind::Import, name, &text);
            }
        }
    }

    /// The changes, with one line for many of a kind.
    fn collapsed(self, cluster: &str) -> Vec<Change> {
        let mut counts: BTreeMap<ChangeKind, usize> = BTreeMap::new();
        let mut kept = Vec::new();
        for change in self.list {
            let count = counts.entry(change.kind).or_default();
            *count += 1;
            if *count <= MOST_AT_ONCE {
                kept.push(change);
            }
        }
        for (kind, count) in counts.into_iter().filter(|(_, count)| *count > MOST_AT_ONCE) {
            let text =
                format!("and {} more changes of this kind at the same time", count - MOST_AT_ONCE);
            kept.push(Change::new(self.now, kind, cluster, &text));
        }
        kept
    }
}
