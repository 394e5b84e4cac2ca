//! Events that must not be missed: a peer's new UUID, key or roots, and refused documents.
//!
//! A notice is kept with the knowledge of the peer, across restarts and changes of the leader.
//! [`crate::federate()`] turns notices into findings until [`Notice::ends`].

use super::{Basis, DocumentKind, Exchange, ExchangeReason, PeerKnowledge};
use crate::document::PublicDocument;
use crate::finding::{Finding, FindingReason, Severity, shown_long};
use crate::object::Peer;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many notices are kept for one peer; the oldest are dropped first.
const MOST_NOTICES: usize = 16;

/// Advice about an invalid document.
pub(super) const ASK_TO_CORRECT: &str = "ask the peer's operator to correct it";
/// Advice about a change.
pub(super) const WAS_IT_INTENDED: &str =
    "if this was not announced, ask the peer's operator whether it was intended";

/// How long a change of UUID, key or roots is reported: over a long weekend.
const CHANGES_REPORTED_FOR: SignedDuration = SignedDuration::from_hours(72);
/// How long a refusal is reported after the last refused document.
const REFUSALS_REPORTED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// An event that operators must see, because only they can judge whether it was intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When it was first seen.
    #[serde(alias = "at")]
    pub since: Timestamp,
    /// When it was last seen. A document that is refused again every minute is one notice.
    #[serde(default)]
    pub last: Option<Timestamp>,
    /// `uuid_changed`, `key_changed`, `roots_changed`, `invalid_document` or `replayed_document`.
    pub reason: FindingReason,
    /// The refused document; `None` for a change.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub document: Option<DocumentKind>,
    /// Why a change took effect; `None` for a refused document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub basis: Option<Basis>,
    /// What happened.
    pub message: String,
}

impl Notice {
    pub(super) fn last_seen(&self) -> Timestamp {
        self.last.unwrap_or(self.since)
    }

    /// Returns when it stops being reported.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        let time = match self.document {
            Some(_) => REFUSALS_REPORTED_FOR,
            None => CHANGES_REPORTED_FOR,
        };
        self.last_seen().checked_add(time).ok()
    }

    /// Returns the parts that count as a change: all but the time when it was last seen.
    pub(super) fn content(&self) -> impl PartialEq {
        let Self { since, last: _, reason, document, basis, message } = self;
        (since, reason, document, basis, message)
    }

    fn is_reported(&self, now: Timestamp) -> bool {
        self.ends().is_some_and(|ends| now < ends)
    }
}

impl PeerKnowledge {
    /// Notes the differences of the `new` public document, and returns them.
    pub(super) fn note_changes(
        &mut self,
        peer: &Peer,
        new: &PublicDocument,
        basis: Basis,
        now: Timestamp,
    ) -> Vec<Finding> {
        let Some(old) = self.public.as_ref().map(|known| &known.document) else {
            return Vec::new();
        };
        let changes = differences(old, new);
        let (severity, advice) = basis.advice();
        let finding = |(reason, message): &(FindingReason, String)| {
            let message = format!("{message}; {advice}");
            Finding::new(severity, *reason, peer.object(), "", message)
        };
        let findings = changes.iter().map(finding).collect();
        for (reason, message) in changes {
            let basis = Some(basis);
            self.note(Notice { since: now, last: None, reason, document: None, basis, message });
        }
        findings
    }

    /// Notes that a document was refused. While a notice for the same reason and document is still
    /// reported, it is extended instead.
    pub(super) fn note_refusal(
        &mut self,
        reason: FindingReason,
        kind: DocumentKind,
        message: &str,
        now: Timestamp,
    ) {
        let same = |notice: &&mut Notice| notice.reason == reason && notice.document == Some(kind);
        let message = shown_long(message).to_string();
        match self.notices.iter_mut().filter(|notice| notice.is_reported(now)).find(same) {
            Some(notice) => (notice.last, notice.message) = (Some(now), message),
            None => self.note(Notice {
                since: now,
                last: Some(now),
                reason,
                document: Some(kind),
                basis: None,
                message,
            }),
        }
    }

    fn note(&mut self, notice: Notice) {
        self.notices.push(notice);
        let surplus = self.notices.len().saturating_sub(MOST_NOTICES);
        self.notices.drain(..surplus);
    }

    /// Returns one finding for each reason and document: the latest notice, and how many there were
    /// before it.
    pub(crate) fn notice_findings(&self, peer: &Peer, now: Timestamp) -> Vec<Finding> {
        let mut latest: BTreeMap<_, (&Notice, usize)> = BTreeMap::new();
        for notice in self.notices.iter().filter(|notice| notice.is_reported(now)) {
            let entry = latest.entry((notice.reason, notice.document)).or_insert((notice, 0));
            *entry = (notice, entry.1 + 1);
        }
        latest
            .values()
            .map(|(notice, count)| self.notice_finding(peer, notice, count - 1))
            .collect()
    }

    fn notice_finding(&self, peer: &Peer, notice: &Notice, before: usize) -> Finding {
        let (since, message) = (notice.since, &notice.message);
        let before = match before {
            0 => String::new(),
            before => format!(" ({before} more times before, within three days)"),
        };
        let (severity, field, message) = match notice.document {
            None => {
                let change = (Severity::Warning, WAS_IT_INTENDED);
                let (severity, advice) = notice.basis.map_or(change, Basis::advice);
                (severity, "", format!("at {since:.0}: {message}{before}; {advice}"))
            }
            Some(kind) if self.is_refusing(kind) => {
                // The message of a replayed document already says how to accept it.
                let then = match notice.reason {
                    FindingReason::InvalidDocument => format!("; {ASK_TO_CORRECT}"),
                    _ => String::new(),
                };
                (
                    Severity::Error,
                    kind.file(),
                    format!(
                        "the document has been refused since {since:.0}, and what was known stays: {message}{then}"
                    ),
                )
            }
            Some(kind) => (
                Severity::Warning,
                kind.file(),
                format!(
                    "a document was refused at {since:.0}, and a good one has come since, so nothing has to be done: {message}"
                ),
            ),
        };
        Finding::new(severity, notice.reason, peer.object(), field, message)
    }

    /// Returns true if the last fetched document of this kind was refused.
    fn is_refusing(&self, kind: DocumentKind) -> bool {
        let exchange = match kind {
            DocumentKind::Public => &self.public_exchange,
            DocumentKind::Private => &self.private_exchange,
        };
        let refused = |exchange: &Exchange| exchange.reason.is_refusal();
        exchange.as_ref().is_some_and(refused)
    }
}

impl ExchangeReason {
    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::InvalidJson | Self::InvalidPublicMetadata | Self::InvalidPrivateMetadata
        )
    }
}

pub(super) fn differences(
    old: &PublicDocument,
    new: &PublicDocument,
) -> Vec<(FindingReason, String)> {
    let mut changes = Vec::new();
    if old.cluster_uuid != new.cluster_uuid {
        let message =
            format!("the peer's cluster UUID was {} and is {}", old.cluster_uuid, new.cluster_uuid);
        changes.push((FindingReason::UuidChanged, message));
    }
    if old.authn_key != new.authn_key {
        let message = format!(
            "the peer's key for tokens was {} and is {}",
            old.authn_key.fingerprint(),
            new.authn_key.fingerprint()
        );
        changes.push((FindingReason::KeyChanged, message));
    }
    changes.extend(other_key_message(old, new).map(|message| (FindingReason::KeyChanged, message)));
    if old.roots != new.roots {
        changes.push((FindingReason::RootsChanged, roots_message(old, new)));
    }
    changes
}

/// Says what became of the second key, unless the two have only changed places.
fn other_key_message(old: &PublicDocument, new: &PublicDocument) -> Option<String> {
    let (before, after) = (old.keys(), new.keys());
    let added = after.other.filter(|key| !before.contains(key));
    let gone = before.other.filter(|key| !after.contains(key));
    match (added, gone) {
        (None, None) => None,
        (Some(key), None) => Some(format!("the peer has a second key now, {}", key.fingerprint())),
        (None, Some(key)) => {
            Some(format!("the peer no longer has the second key {}", key.fingerprint()))
        }
        (Some(added), Some(gone)) => Some(format!(
            "the peer's second key was {} and is {}",
            gone.fingerprint(),
            added.fingerprint()
        )),
    }
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
