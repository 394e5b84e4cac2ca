//! The annotations of an `IstioFederation` by which its operator decides what is trusted as the
//! peer.

use super::Named;
use super::advertise::ADVERTISE_ANNOTATION;
use super::peer::IstioFederationSpec;
use crate::bundle::{Fingerprint, Root};
use crate::document::{ClusterUuid, PublicDocument, TrustId};
use crate::finding::{Finding, FindingReason, Severity, shown};
use crate::knowledge::AtExpiry;
use crate::spelling::nearest;
use std::collections::BTreeSet;

/// What all of fedgate's annotations begin with.
const PREFIX: &str = "fedgate.dev/";
/// The annotation by which an operator accepts one document of the peer that is held or refused as
/// a replay. Its value is that document's [`id`](crate::document::PrivateDocument::id), so it
/// accepts no other document.
pub const ACCEPT_DOCUMENT_ANNOTATION: &str = "fedgate.dev/accept-document";
/// The annotation that says what happens to a new root, key or UUID of the peer: [`RootChange`].
pub const ROOT_CHANGE_ANNOTATION: &str = "fedgate.dev/root-change";
/// The annotation by which an operator approves one change of roots, key and UUID. Its value is
/// their [`TrustId`].
pub const APPROVE_ANNOTATION: &str = "fedgate.dev/approve";
/// The annotation with the SHA-256 fingerprints of the only roots that may be trusted.
pub const PIN_ROOTS_ANNOTATION: &str = "fedgate.dev/pin-roots";
/// The annotation with the SHA-256 fingerprints of the only keys that may be trusted.
pub const PIN_KEYS_ANNOTATION: &str = "fedgate.dev/pin-keys";
/// The annotation with the only UUIDs that the peer may have.
pub const PIN_UUIDS_ANNOTATION: &str = "fedgate.dev/pin-uuids";

/// The annotation by which an operator takes documents that are not signed, although the peer has
/// signed before. Its value is `Accept`.
pub const UNSIGNED_ANNOTATION: &str = "fedgate.dev/unsigned";

/// The annotation that says what happens when the peer's documents expire: [`AtExpiry`].
pub(super) const AT_EXPIRY_ANNOTATION: &str = "fedgate.dev/at-expiry";

const ALL: [&str; 9] = [
    ACCEPT_DOCUMENT_ANNOTATION,
    ROOT_CHANGE_ANNOTATION,
    APPROVE_ANNOTATION,
    PIN_ROOTS_ANNOTATION,
    PIN_KEYS_ANNOTATION,
    PIN_UUIDS_ANNOTATION,
    UNSIGNED_ANNOTATION,
    AT_EXPIRY_ANNOTATION,
    ADVERTISE_ANNOTATION,
];

/// The most values of one annotation with pins.
const MOST_PINS: usize = 64;

/// Returns true if an annotation with this name is fedgate's, or was meant to be.
pub fn is_annotation_of_fedgate(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// What happens to a new root, key or UUID of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootChange {
    /// It takes effect at once.
    Accept,
    /// It takes effect if what is trusted already vouches for it, and else when an operator
    /// approves it.
    Approve,
}

/// What an operator says about trust in a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// What happens to changes. `None`: `Approve` for a peer that signs its documents, otherwise
    /// `Accept`.
    pub root_change: Option<RootChange>,
    /// The change that is approved.
    pub approved: Option<TrustId>,
    /// True if signatures are not looked at.
    pub accepts_unsigned: bool,
    /// What alone may be trusted.
    pub pins: Pins,
}

/// What alone may be trusted as a peer. `None` allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// The fingerprints of roots.
    pub roots: Option<BTreeSet<Fingerprint>>,
    /// The fingerprints of keys.
    pub keys: Option<BTreeSet<Fingerprint>>,
    /// UUIDs.
    pub uuids: Option<BTreeSet<ClusterUuid>>,
    /// True if an annotation with pins could not be read. Then nothing new may be trusted, because
    /// it may be what the operator wanted to exclude.
    pub unreadable: bool,
}

impl Pins {
    /// Returns what the pins exclude of a document, in words.
    pub(crate) fn excluded(&self, document: &PublicDocument) -> Vec<String> {
        let mut excluded = Vec::new();
        if self.uuids.as_ref().is_some_and(|pinned| !pinned.contains(&document.cluster_uuid)) {
            excluded.push(format!("the UUID {}", document.cluster_uuid));
        }
        let keys = document.keys();
        let keys = keys.iter().map(|key| key.fingerprint());
        let keys =
            keys.filter(|key| self.keys.as_ref().is_some_and(|pinned| !pinned.contains(key)));
        excluded.extend(keys.map(|key| format!("the key {key}")));
        let roots = document.roots.iter().map(Root::fingerprint);
        let roots =
            roots.filter(|root| self.roots.as_ref().is_some_and(|pinned| !pinned.contains(root)));
        excluded.extend(roots.map(|root| format!("the root {root}")));
        excluded
    }

    pub(crate) fn names_root(&self, root: &Root) -> bool {
        self.roots.as_ref().is_some_and(|pinned| pinned.contains(&root.fingerprint()))
    }

    pub(crate) fn names_key(&self, key: &Fingerprint) -> bool {
        self.keys.as_ref().is_some_and(|pinned| pinned.contains(key))
    }

    pub(crate) fn names_uuid(&self, uuid: &ClusterUuid) -> bool {
        self.uuids.as_ref().is_some_and(|pinned| pinned.contains(uuid))
    }
}

impl Named<IstioFederationSpec> {
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(|text| text.trim())
    }

    pub(super) fn refused(&self, severity: Severity, name: &str, message: String) -> Finding {
        let field = format!("metadata.annotations[{}]", shown(name));
        Finding::new(severity, FindingReason::InvalidAnnotation, self.object(), field, message)
    }
}

/// Reads the annotations about trust. What cannot be read trusts nothing new.
pub(super) fn parse(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> TrustPolicy {
    findings.extend(unknown(named));
    let mut pins = Pins::default();
    let fingerprint = |text: &str| Fingerprint::parse(text).map_err(|error| error.to_string());
    let uuid = |text: &str| ClusterUuid::parse(text).map_err(|error| error.to_string());
    pins.roots =
        parse_pins(named, PIN_ROOTS_ANNOTATION, fingerprint, &mut pins.unreadable, findings);
    pins.keys = parse_pins(named, PIN_KEYS_ANNOTATION, fingerprint, &mut pins.unreadable, findings);
    pins.uuids = parse_pins(named, PIN_UUIDS_ANNOTATION, uuid, &mut pins.unreadable, findings);
    TrustPolicy {
        root_change: parse_root_change(named, findings),
        approved: parse_approved(named, findings),
        accepts_unsigned: parse_unsigned(named, findings),
        pins,
    }
}

fn parse_root_change(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<RootChange> {
    match named.annotation(ROOT_CHANGE_ANNOTATION)? {
        "Accept" => Some(RootChange::Accept),
        "Approve" => Some(RootChange::Approve),
        other => {
            let message = format!(
                "expected Accept or Approve, found {:?}; until this is corrected it counts as Approve",
                shown(other)
            );
            findings.push(named.refused(Severity::Error, ROOT_CHANGE_ANNOTATION, message));
            Some(RootChange::Approve)
        }
    }
}

fn parse_unsigned(named: &Named<IstioFederationSpec>, findings: &mut Vec<Finding>) -> bool {
    let Some(text) = named.annotation(UNSIGNED_ANNOTATION) else { return false };
    if text != "Accept" {
        let message = format!(
            "expected Accept, found {:?}; until this is corrected signatures are required",
            shown(text)
        );
        findings.push(named.refused(Severity::Error, UNSIGNED_ANNOTATION, message));
    }
    text == "Accept"
}

/// Reads what happens at expiry. What cannot be read changes nothing.
pub(super) fn parse_at_expiry(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<AtExpiry> {
    let text = named.annotation(AT_EXPIRY_ANNOTATION)?;
    let at_expiry = AtExpiry::parse(text);
    if at_expiry.is_none() {
        let message = format!(
            "expected Keep, Drain or Drop, found {:?}; until this is corrected the cluster's setting applies",
            shown(text)
        );
        findings.push(named.refused(Severity::Error, AT_EXPIRY_ANNOTATION, message));
    }
    at_expiry
}

fn parse_approved(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<TrustId> {
    let text = named.annotation(APPROVE_ANNOTATION)?;
    let refused = |error| {
        let message = format!(
            "{error}, as `fedgate peer approve` shows them, found {:?}; nothing is approved by it, so correct or remove it",
            shown(text)
        );
        named.refused(Severity::Warning, APPROVE_ANNOTATION, message)
    };
    TrustId::parse(text).map_err(|error| findings.push(refused(error))).ok()
}

/// Reads a list that is separated by commas or white space, with at most `most` values.
///
/// # Errors
/// What was expected and found instead.
pub(super) fn list_of<T, L: FromIterator<T>>(
    text: &str,
    most: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<L, String> {
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let words: Vec<_> = words.take(most.saturating_add(1)).collect();
    let one =
        |word: &&str| parse(word).map_err(|error| format!("{error}, found {:?}", shown(word)));
    match words.len() {
        0 => Err("expected at least one value, found nothing".to_owned()),
        count if count <= most => words.iter().map(one).collect(),
        _ => Err(format!("expected at most {most} values, found more")),
    }
}

fn parse_pins<T: Ord>(
    named: &Named<IstioFederationSpec>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
    unreadable: &mut bool,
    findings: &mut Vec<Finding>,
) -> Option<BTreeSet<T>> {
    let text = named.annotation(name)?;
    let refused = |error| {
        let message = format!(
            "{error}; until this is corrected no new root, key or UUID of the peer is trusted"
        );
        named.refused(Severity::Error, name, message)
    };
    let pins = list_of(text, MOST_PINS, parse).map_err(|error| findings.push(refused(error))).ok();
    *unreadable |= pins.is_none();
    pins
}

/// A misspelt pin would pin nothing.
fn unknown(named: &Named<IstioFederationSpec>) -> impl Iterator<Item = Finding> + '_ {
    let unknown = named.annotations.keys().filter(|name| !ALL.contains(&name.as_str()));
    unknown.map(|name| {
        let message = match nearest(name, ALL) {
            Some(near) => format!("there is no such annotation of fedgate; did you mean {near}?"),
            None => format!(
                "there is no such annotation of fedgate, so remove it; expected one of {}",
                ALL.join(", ")
            ),
        };
        named.refused(Severity::Warning, name, message)
    })
}
