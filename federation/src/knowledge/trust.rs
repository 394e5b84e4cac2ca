//! Decides whether a peer's new root, key or UUID takes effect.
//!
//! Whoever holds a peer's metadata endpoint can announce any root. So what is trusted is kept apart
//! from what is announced. An announcement takes effect by itself if what is trusted vouches for
//! it, or if the operator has said so. Otherwise it is held: what is trusted stays, and an operator
//! approves exactly this announcement, or does not.

use super::PeerKnowledge;
use super::notice::{WAS_IT_INTENDED, differences};
use crate::bundle::{Fingerprint, Root};
use crate::document::{ClusterUuid, PublicDocument, TrustId};
use crate::finding::{Finding, FindingReason, Severity};
use crate::key::PublicKey;
use crate::object::{APPROVE_ANNOTATION, Peer, RootChange};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An announced change of roots, key or UUID that has not taken effect. It says what an operator
/// compares; the peer sends the whole document again when it is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldTrust {
    /// When it was first seen.
    pub since: Timestamp,
    /// The ID by which an operator approves it.
    pub id: TrustId,
    /// `roots_changed`, `key_changed`, `uuid_changed` or `not_pinned`.
    pub reason: FindingReason,
    /// What would change.
    pub change: String,
    /// Why it does not take effect by itself.
    pub why: String,
    /// True if an approval releases it. What a pin excludes is released only by the pin.
    pub approvable: bool,
    /// True if it still has one of the known roots. It then confirms that what is known is in use.
    pub overlaps: bool,
    /// The announced UUID.
    pub cluster_uuid: ClusterUuid,
    /// The fingerprint of the announced key.
    pub key: Fingerprint,
    /// The fingerprint of the announced second key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_key: Option<Fingerprint>,
    /// The announced roots.
    pub roots: Vec<HeldRoot>,
}

/// An announced root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRoot {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its subject, escaped for display. Whoever made it chose it.
    pub subject: String,
    /// The last moment of its validity.
    pub not_after: Timestamp,
    /// Whether it is trusted already.
    pub known: bool,
}

/// Why an announcement took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Nothing was known before.
    First,
    /// It has no new root, key or UUID, or only pinned ones.
    NothingNew,
    /// An operator approved exactly this.
    Approved,
    /// The peer's object says [`RootChange::Accept`].
    Accepted,
    /// A known key has signed it, and it has one of the known roots.
    Announced,
    /// Nothing vouches for it, and the peer's object does not ask for that.
    Unprotected,
}

impl Basis {
    /// Returns how serious a change on this basis is, and what to do about it.
    pub(super) fn advice(self) -> (Severity, &'static str) {
        match self {
            Self::Approved => {
                (Severity::Info, "an operator approved it here, so nothing has to be done")
            }
            Self::Announced => {
                (Severity::Info, "the peer's known key has signed it, so nothing has to be done")
            }
            Self::Unprotected => (Severity::Warning, UNPROTECTED),
            Self::First | Self::NothingNew | Self::Accepted => (Severity::Warning, WAS_IT_INTENDED),
        }
    }
}

const UNPROTECTED: &str = "nothing that was trusted vouches for it; if it was not announced, ask the peer's operator whether it was intended; set fedgate.dev/root-change: Approve on its IstioFederation to hold the next change";

/// Whether an announcement takes effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken(Basis),
    Held(Objection),
}

/// Why an announcement does not take effect; see [`HeldTrust`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Objection {
    reason: FindingReason,
    change: String,
    why: String,
    approvable: bool,
}

/// What speaks for an announcement.
pub(super) struct Evidence {
    /// Whether the peer has ever signed.
    pub(super) signs: bool,
    /// Whether the known key has signed this.
    pub(super) vouched: bool,
    /// The approval that has already released something.
    pub(super) used_approval: Option<TrustId>,
}

/// Judges an announcement.
pub(super) fn judge(
    known: Option<&PublicDocument>,
    new: &PublicDocument,
    peer: &Peer,
    evidence: &Evidence,
) -> Verdict {
    let policy = &peer.trust;
    let excluded = policy.pins.excluded(new);
    let changes = known.map(|known| differences(known, new)).unwrap_or_default();
    let change = match changes.as_slice() {
        _ if known.is_none() => "this is the peer's first document".to_owned(),
        [] => "its roots, key and UUID are the known ones".to_owned(),
        changes => {
            changes.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ")
        }
    };
    let not_pinned = |why| {
        let change = change.clone();
        let reason = FindingReason::NotPinned;
        Verdict::Held(Objection { reason, change, why, approvable: false })
    };
    if !excluded.is_empty() {
        return not_pinned(format!("{} is not pinned", excluded.join(", ")));
    }
    let reason = match (known, novelty(known, new, peer)) {
        // Also a removal, or a switch to the other key, is announced if a known key has signed it.
        (Some(_), None) if evidence.vouched => return Verdict::Taken(Basis::Announced),
        (Some(_), None) => return Verdict::Taken(Basis::NothingNew),
        _ if policy.pins.unreadable => {
            return not_pinned("an annotation with pins cannot be read".to_owned());
        }
        (None, _) => return Verdict::Taken(Basis::First),
        (Some(_), Some(reason)) => reason,
    };
    let Evidence { signs, vouched, used_approval } = *evidence;
    let approved = policy.approved.filter(|approved| used_approval != Some(*approved));
    if approved == Some(TrustId::of(new)) {
        return Verdict::Taken(Basis::Approved);
    }
    let overlaps = known.is_some_and(|known| known.roots.iter().any(|old| new.roots.contains(old)));
    let why = match policy.root_change {
        Some(RootChange::Accept) => return Verdict::Taken(Basis::Accepted),
        None if !signs && !vouched => return Verdict::Taken(Basis::Unprotected),
        _ if vouched && overlaps => return Verdict::Taken(Basis::Announced),
        _ if vouched => "it has none of the known roots, although the known key has signed it",
        _ => "the known key has not signed it",
    };
    Verdict::Held(Objection { reason, change, why: why.to_owned(), approvable: true })
}

/// Returns what is new and not pinned: the roots if any is, else the key, else the UUID. A root that
/// is gone is not new.
fn novelty(
    known: Option<&PublicDocument>,
    new: &PublicDocument,
    peer: &Peer,
) -> Option<FindingReason> {
    let (known, pins) = (known?, &peer.trust.pins);
    let is_new = |root: &Root| !known.roots.contains(root) && !pins.names_root(root);
    let known_keys = known.keys();
    let is_new_key =
        |key: &PublicKey| !known_keys.contains(key) && !pins.names_key(&key.fingerprint());
    let key = new.keys().iter().any(|key| is_new_key(&key));
    let uuid = new.cluster_uuid != known.cluster_uuid && !pins.names_uuid(&new.cluster_uuid);
    match (new.roots.iter().any(is_new), key, uuid) {
        (true, ..) => Some(FindingReason::RootsChanged),
        (false, true, _) => Some(FindingReason::KeyChanged),
        (false, false, true) => Some(FindingReason::UuidChanged),
        (false, false, false) => None,
    }
}

impl PeerKnowledge {
    /// Takes note of the peer's object before a round. An approval that was withdrawn can be given
    /// again.
    pub fn follow(&mut self, peer: &Peer) {
        if self.used_approval.is_some() && self.used_approval != peer.trust.approved {
            self.used_approval = None;
        }
    }

    /// Holds what a document announces.
    pub(super) fn hold_trust(
        &mut self,
        new: &PublicDocument,
        objection: Objection,
        now: Timestamp,
    ) -> &HeldTrust {
        let Objection { reason, change, why, approvable } = objection;
        let id = TrustId::of(new);
        let same = self.held_trust.as_ref().filter(|held| held.id == id);
        let since = same.map_or(now, |held| held.since);
        let known = self.public.as_ref().map(|known| known.document.roots.as_slice());
        let is_known = |root: &Root| known.is_some_and(|known| known.contains(root));
        let roots = new.roots.iter().map(|root| HeldRoot {
            fingerprint: root.fingerprint(),
            subject: root.subject().to_owned(),
            not_after: root.not_after(),
            known: is_known(root),
        });
        let roots: Vec<_> = roots.collect();
        self.held_trust.insert(HeldTrust {
            since,
            id,
            reason,
            change,
            why,
            approvable,
            overlaps: roots.iter().any(|root| root.known),
            cluster_uuid: new.cluster_uuid.clone(),
            key: new.authn_key.fingerprint(),
            other_key: new.keys().other.map(|key| key.fingerprint()),
            roots,
        })
    }
}

impl HeldTrust {
    /// Returns the finding about it. `expiry` is when what is known is no longer used.
    pub(crate) fn finding(&self, peer: &Peer, expiry: Option<Timestamp>) -> Finding {
        let Self { since, change, why, .. } = self;
        let stays = match expiry.filter(|_| !self.overlaps) {
            Some(expiry) => format!("what is known stays in force until {expiry:.0}"),
            None => "what is known stays in force".to_owned(),
        };
        let message = format!(
            "held since {since:.0}, because {why}; {stays}; {}: {change}",
            self.ways_out(peer)
        );
        Finding::error(self.reason, peer.object(), "public.json", message)
    }

    fn ways_out(&self, peer: &Peer) -> String {
        match self.approvable {
            true => format!(
                "compare it with the peer's operator, then run `fedgate peer approve {}`, or annotate its IstioFederation with {APPROVE_ANNOTATION}: \"{}\"",
                peer.name, self.id
            ),
            false => "compare it with the peer's operator, then correct the pins in the annotations of its IstioFederation".to_owned(),
        }
    }
}
