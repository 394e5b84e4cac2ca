//! What happened when: changes of roots, keys, exports, grants and readiness, kept bounded and over
//! a restart.
//!
//! A [`Seen`] is what was in force at one moment, in short. The difference of two of them is a list
//! of [`Change`]s. Both can be stored, so that a change while nobody looked is found later.

use fedgate_engine::in_force::InForce;
use fedgate_federation::grant::PeerGrant;
use fedgate_federation::shown;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many changes are kept; the oldest are dropped first.
pub const MOST_CHANGES: usize = 500;
/// How many changes of one kind a moment may have. More become one line with their number.
const MOST_AT_ONCE: usize = 20;
/// The longest text of a change, in bytes.
const LONGEST: usize = 400;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was seen.
    pub at: Timestamp,
    /// What kind of change it is.
    pub kind: ChangeKind,
    /// What changed: a peer, a service, or this cluster.
    pub about: String,
    /// What happened, in words.
    pub text: String,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The controller started, or another replica leads.
    Leader,
    /// Roots of this cluster or of a peer.
    Roots,
    /// A key or a UUID.
    Key,
    /// A peer came, went, became ready or not.
    Peer,
    /// A condition of a peer.
    Condition,
    /// An export came or went.
    Export,
    /// Who may call an export.
    Grant,
    /// What a peer offers.
    Import,
}

impl ChangeKind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Roots => "roots",
            Self::Key => "key",
            Self::Peer => "peer",
            Self::Condition => "condition",
            Self::Export => "export",
            Self::Grant => "grant",
            Self::Import => "import",
        }
    }

    /// Returns true if such a change is about a peer.
    fn is_of_peer(self) -> bool {
        !matches!(self, Self::Leader | Self::Export | Self::Grant)
    }
}

impl Change {
    /// A change. Its text is cut to a bounded length.
    pub fn new(at: Timestamp, kind: ChangeKind, about: &str, text: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(LONGEST)].to_owned();
        Self { at, kind, about: cut(about), text: cut(text) }
    }

    /// Returns true if it is about this peer.
    pub fn is_about_peer(&self, name: &str) -> bool {
        self.kind.is_of_peer() && self.about == name
    }
}

/// What was in force at one moment, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    cluster: String,
    ours: Trust,
    peers: BTreeMap<String, SeenPeer>,
    /// The exports, each with what its grants are.
    exports: BTreeMap<String, Grants>,
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
    pub fn of(in_force: &InForce) -> Self {
        let (local, status) = (&in_force.local, in_force.federation.peers.iter());
        let ready = in_force.ready_peers();
        let mut grants: HashMap<*const PeerGrant, Grants> = HashMap::new();
        // Pods come and go, and would push out everything else.
        let services = in_force.federation.exports.iter().filter(|export| export.pod.is_none());
        let exports = services.map(|export| {
            let of = || Grants::of(&export.grants);
            let grants = *grants.entry(export.grants.as_ptr()).or_insert_with(of);
            (export.service.to_string(), grants)
        });
        Self {
            cluster: local.trust_domain.to_string(),
            ours: Trust {
                uuid: local.cluster_uuid.to_string(),
                key: local.authn_key.fingerprint().to_string(),
                roots: local.roots.iter().map(|root| root.fingerprint().to_string()).collect(),
            },
            exports: exports.collect(),
            peers: status
                .map(|report| {
                    let name = report.peer.name.to_string();
                    let trust = Trust {
                        uuid: report
                            .cluster_uuid
                            .as_ref()
                            .map(ToString::to_string)
                            .unwrap_or_default(),
                        key: String::new(),
                        roots: report.roots.iter().map(ToString::to_string).collect(),
                    };
                    let conditions = report.conditions.iter().map(|condition| {
                        let state = format!("{:?} {}", condition.status, condition.reason);
                        (format!("{:?}", condition.kind), state)
                    });
                    let seen = SeenPeer {
                        trust,
                        ready: ready.contains(&report.peer.name),
                        imports: report.imports,
                        conditions: conditions.collect(),
                    };
                    (name, seen)
                })
                .collect(),
        }
    }

    /// What has changed since `before`.
    pub fn since(&self, before: &Self, now: Timestamp) -> Vec<Change> {
        let mut changes = Changes { now, list: Vec::new() };
        changes.trust(ChangeKind::Roots, &self.cluster, &before.ours, &self.ours);
        changes.peers(&before.peers, &self.peers);
        changes.exports(&before.exports, &self.exports);
        changes.collapsed(&self.cluster)
    }
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
            let Some(old) = before.get(name) else {
                self.add(ChangeKind::Peer, name, "added");
                continue;
            };
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
                match old.conditions.get(kind) {
                    Some(was) if was != state => {
                        self.add(
                            ChangeKind::Condition,
                            name,
                            &format!("{kind} {was} became {state}"),
                        );
                    }
                    _ => {}
                }
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
                    self.add(ChangeKind::Grant, service, "is granted otherwise than before");
                }
                Some(_) => {}
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

/// The changes, and what they lead to. Stored as one document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    seen: Option<Seen>,
    /// Newest first.
    changes: Vec<Change>,
}

impl History {
    /// Takes what is in force now. Returns true if something has changed.
    pub fn note(&mut self, in_force: &InForce, now: Timestamp) -> bool {
        let seen = Seen::of(in_force);
        let new = match &self.seen {
            Some(before) if *before == seen => return false,
            Some(before) => seen.since(before, now),
            None => vec![],
        };
        self.seen = Some(seen);
        self.put(new);
        true
    }

    /// Adds changes of the same moment, in the order in which they are shown.
    pub fn put(&mut self, new: Vec<Change>) {
        self.changes.splice(0..0, new);
        self.changes.truncate(MOST_CHANGES);
    }

    /// All changes, newest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, federation, now, service};

    fn texts(changes: &[Change]) -> Vec<String> {
        let text =
            |change: &Change| format!("{} {}: {}", change.kind.word(), change.about, change.text);
        changes.iter().map(text).collect()
    }

    #[test]
    fn what_changed_while_nobody_looked_is_found_after_a_restart() {
        let mut sample = Sample::new();
        let mut history = History::default();
        assert!(history.note(&sample.in_force(), now()));
        assert!(!history.note(&sample.in_force(), now()), "nothing has changed");
        assert!(history.changes().is_empty(), "the first look is no change");
        let stored = serde_json::to_vec(&history).unwrap();
        sample.objects.federations = vec![federation("beta"), federation("delta")];
        sample.objects.services = vec![service("web"), service("till")];
        sample.objects.policies.retain(|policy| policy.name != "web-only");
        sample.known = vec![("beta", '3')];
        let mut history: History = serde_json::from_slice(&stored).unwrap();
        assert!(history.note(&sample.in_force(), now()));
        let texts = texts(history.changes());
        for expected in [
            "peer gamma: removed",
            "peer delta: added",
            "key beta: UUID 22222222-2222-2222-2222-222222222222 became 33333333-3333-3333-3333-333333333333",
            "export stock.shop.svc.alpha.example:80: is no longer exported",
            "export till.shop.svc.alpha.example:80: is exported, granted to 1 peer",
            "grant web.shop.svc.alpha.example:80: is granted otherwise than before",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{expected} in {texts:#?}");
        }
    }

    #[test]
    fn many_changes_at_once_become_one_line_and_old_ones_are_dropped() {
        let mut sample = Sample::new();
        let mut history = History::default();
        history.note(&sample.in_force(), now());
        sample.objects.services = (0..100).map(|number| service(&format!("s{number}"))).collect();
        history.note(&sample.in_force(), now());
        let texts = texts(history.changes());
        assert_eq!(texts.len(), MOST_AT_ONCE + 1, "{texts:#?}");
        assert!(texts[MOST_AT_ONCE].contains("and 82 more changes"), "{texts:#?}");
        let change = Change::new(now(), ChangeKind::Peer, "beta", &"é".repeat(1_000));
        assert!(change.text.len() <= LONGEST);
        for _ in 0..MOST_CHANGES {
            history.put(vec![change.clone()]);
        }
        assert!(history.changes().iter().all(|kept| *kept == change));
        assert_eq!(history.changes().len(), MOST_CHANGES);
    }
}
