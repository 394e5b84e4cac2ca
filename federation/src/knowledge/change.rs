use super::PeerKnowledge;
use crate::document::PublicDocument;
use crate::finding::{Finding, FindingReason};
use crate::object::Peer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many changes are remembered.
const MOST_CHANGES: usize = 16;

/// A change of what a peer is known by. It is taken, and reported: nobody but the operator can tell whether it was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When it was seen.
    pub at: Timestamp,
    /// `uuid_changed`, `key_changed` or `roots_changed`.
    pub reason: FindingReason,
    /// From what to what.
    pub message: String,
}

impl PeerKnowledge {
    /// Notes what is different in the `new` public document, and answers with it.
    pub(super) fn note_changes(&mut self, peer: &Peer, new: &PublicDocument, now: Timestamp) -> Vec<Finding> {
        let Some(old) = self.public.as_ref().map(|known| &known.document) else { return Vec::new() };
        let changes = differences(old, new);
        let finding = |(reason, message): &(FindingReason, String)| {
            Finding::warning(
                *reason,
                peer.object(),
                "",
                format!("{message}; if nobody announced this, ask the peer's operator"),
            )
        };
        let findings = changes.iter().map(finding).collect();
        self.changes.extend(changes.into_iter().map(|(reason, message)| Change { at: now, reason, message }));
        let surplus = self.changes.len().saturating_sub(MOST_CHANGES);
        self.changes.drain(..surplus);
        findings
    }
}

fn differences(old: &PublicDocument, new: &PublicDocument) -> Vec<(FindingReason, String)> {
    let mut changes = Vec::new();
    if old.cluster_uuid != new.cluster_uuid {
        let message = format!("the peer's cluster UUID was {} and is {}", old.cluster_uuid, new.cluster_uuid);
        changes.push((FindingReason::UuidChanged, message));
    }
    if old.authn_key != new.authn_key {
        changes.push((FindingReason::KeyChanged, "the peer's key for tokens is another one than before".to_owned()));
    }
    if old.roots != new.roots {
        changes.push((FindingReason::RootsChanged, roots_message(old, new)));
    }
    changes
}

fn roots_message(old: &PublicDocument, new: &PublicDocument) -> String {
    let list = |of: &PublicDocument, without: &PublicDocument| {
        let only: Vec<_> = of
            .roots
            .iter()
            .filter(|root| !without.roots.contains(root))
            .map(|root| root.fingerprint().to_string())
            .collect();
        match only.is_empty() {
            true => "none".to_owned(),
            false => only.join(", "),
        }
    };
    format!("the peer's roots changed: added {}; removed {}", list(new, old), list(old, new))
}
