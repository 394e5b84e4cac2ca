//! Decides whether a fetched document replaces the known one.

use super::notice::ASK_TO_CORRECT;
use super::signed::Origin;
use super::trust::{self, Basis, Evidence, Objection, Verdict};
use super::{Delivery, DocumentKind, ExchangeReason, Held, Known, PeerKnowledge, Times};
use crate::bundle::Fingerprint;
use crate::document::{
    DocumentError, Limits, Parsed, PrivateDocument, PrivateExtension, PublicDocument,
};
use crate::finding::{Finding, FindingReason};
use crate::object::{ACCEPT_DOCUMENT_ANNOTATION, Peer};
use jiff::Timestamp;

/// A peer with fewer services than this may lose any of them at once, but not all, without arousing
/// suspicion.
const FEW_SERVICES: usize = 4;

/// What became of a fetched document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absorbed {
    /// It was accepted and differs from the one before. The findings say what changed and what was
    /// dropped.
    Taken(Vec<Finding>),
    /// It says what is already known.
    Confirmed,
    /// It is not accepted yet. The known document stays, and ages.
    Held(Finding),
    /// It was refused. The known document stays, and ages.
    Refused(Finding),
}

impl Absorbed {
    /// Returns true if the known document was replaced.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }

    /// Returns what the operator should know.
    pub fn into_findings(self) -> Vec<Finding> {
        match self {
            Self::Taken(findings) => findings,
            Self::Confirmed => Vec::new(),
            Self::Held(finding) | Self::Refused(finding) => vec![finding],
        }
    }
}

impl PeerKnowledge {
    /// Takes a fetched public document (status 200). If the trust domain of the peer's object has
    /// changed, everything known is forgotten first.
    pub fn absorb_public(
        &mut self,
        peer: &Peer,
        body: &[u8],
        delivery: Delivery,
        limits: &Limits,
        now: Timestamp,
    ) -> Absorbed {
        self.belong_to(peer);
        let parsed = PublicDocument::parse(body, &peer.object(), limits)
            .and_then(|parsed| check_trust_domain(peer, parsed));
        let Parsed { document, findings } = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(peer, DocumentKind::Public, &error, now),
        };
        self.follow(peer);
        let digest = Fingerprint::of(body);
        let origin = match self.origin(peer, &document, &delivery, digest, now) {
            Ok(origin) => origin,
            Err(why) => return self.refuse_unsigned(peer, DocumentKind::Public, &why, now),
        };
        let etag = delivery.etag;
        self.record_exchange(DocumentKind::Public, ExchangeReason::Succeeded, "", now);
        if let Some(known) = self.public.as_mut().filter(|known| known.document == document) {
            known.confirm(etag, findings, now);
            self.held_trust = None;
            self.note_origin(origin);
            return Absorbed::Confirmed;
        }
        let evidence = Evidence {
            signs: self.signed.is_some(),
            vouched: matches!(origin, Origin::KnownKey(_)),
            used_approval: self.used_approval,
        };
        let known = self.public.as_ref().map(|known| &known.document);
        let basis = match trust::judge(known, &document, peer, &evidence) {
            Verdict::Taken(basis) => basis,
            Verdict::Held(objection) => {
                return self.hold_announcement(peer, &document, objection, now);
            }
        };
        if basis == Basis::Approved {
            self.used_approval = peer.trust.approved;
        }
        let mut news = self.note_changes(peer, &document, basis, now);
        if self.cluster_uuid() != Some(&document.cluster_uuid) {
            self.uuid_since = Some(now);
        }
        news.extend(findings.iter().cloned());
        self.held_trust = None;
        self.note_origin(origin);
        self.public = Some(Known { document, fetched: now, confirmed: now, etag, findings });
        Absorbed::Taken(news)
    }

    /// Holds a document that announces something new. What is known stays. If the document has one
    /// of the known roots, it also confirms what is known.
    fn hold_announcement(
        &mut self,
        peer: &Peer,
        document: &PublicDocument,
        objection: Objection,
        now: Timestamp,
    ) -> Absorbed {
        let held = self.hold_trust(document, objection, now);
        let (overlaps, finding) = (held.overlaps, held.finding(peer, None));
        match self.public.as_mut() {
            Some(known) if overlaps => known.confirmed = now,
            Some(_) => {}
            // Without this, the peer would seem to wait for its first request.
            None => self.record_exchange(
                DocumentKind::Public,
                ExchangeReason::InvalidPublicMetadata,
                &finding.message,
                now,
            ),
        }
        Absorbed::Held(finding)
    }

    /// Takes a fetched private document (status 200).
    pub fn absorb_private(
        &mut self,
        peer: &Peer,
        body: &[u8],
        delivery: Delivery,
        limits: &Limits,
        times: &Times,
        now: Timestamp,
    ) -> Absorbed {
        self.belong_to(peer);
        let signed = match self.check_private(peer, &delivery, Fingerprint::of(body), now) {
            Ok(signed) => signed,
            Err(why) => return self.refuse_unsigned(peer, DocumentKind::Private, &why, now),
        };
        let etag = delivery.etag;
        let parsed = PrivateDocument::parse(body, &peer.trust_domain, &peer.object(), limits);
        let Parsed { document, findings } = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(peer, DocumentKind::Private, &error, now),
        };
        if let Some(known) =
            self.private.as_mut().filter(|known| known.document.same_content(&document))
        {
            known.document.extension = newer(known.document.extension.take(), document.extension);
            known.confirm(etag, findings, now);
            self.held = None;
            self.note_private(signed);
            self.record_exchange(DocumentKind::Private, ExchangeReason::Succeeded, "", now);
            return Absorbed::Confirmed;
        }
        if let Some(absorbed) = self.doubt(peer, &document, times, now) {
            return absorbed;
        }
        self.held = None;
        self.note_private(signed);
        self.record_exchange(DocumentKind::Private, ExchangeReason::Succeeded, "", now);
        self.private = Some(Known {
            document,
            fetched: now,
            confirmed: now,
            etag,
            findings: findings.clone(),
        });
        Absorbed::Taken(findings)
    }

    /// Forgets everything if it belongs to another trust domain.
    fn belong_to(&mut self, peer: &Peer) {
        if self.trust_domain != peer.trust_domain {
            *self = Self::new(peer);
        }
    }

    fn refuse(
        &mut self,
        peer: &Peer,
        kind: DocumentKind,
        error: &DocumentError,
        now: Timestamp,
    ) -> Absorbed {
        let reason = match (error, kind) {
            (DocumentError::Json(_), _) => ExchangeReason::InvalidJson,
            (_, DocumentKind::Public) => ExchangeReason::InvalidPublicMetadata,
            (_, DocumentKind::Private) => ExchangeReason::InvalidPrivateMetadata,
        };
        self.note_refusal(FindingReason::InvalidDocument, kind, &error.to_string(), now);
        let message = format!("{error}; {ASK_TO_CORRECT}");
        self.record_exchange(kind, reason, &message, now);
        let message = format!("the document was refused, what was known stays: {message}");
        Absorbed::Refused(Finding::error(
            FindingReason::InvalidDocument,
            peer.object(),
            kind.file(),
            message,
        ))
    }

    /// Keeps the known document if `new` is replayed or suspicious, and then returns what became of
    /// `new`. A document that the operator has accepted by its ID is never doubted.
    fn doubt(
        &mut self,
        peer: &Peer,
        new: &PrivateDocument,
        times: &Times,
        now: Timestamp,
    ) -> Option<Absorbed> {
        let known = self.private.as_ref()?;
        if !times.of_peer(peer, None).is_used(known.confirmed, now) {
            return None;
        }
        let (replayed, suspicious) =
            (replayed(&known.document, new, now), suspicious(&known.document, new));
        if replayed.is_none() && suspicious.is_none() {
            return None;
        }
        let id = new.id();
        if peer.accepted_document.as_deref() == Some(id.as_str()) {
            return None;
        }
        match replayed {
            Some(why) => Some(self.refuse_replayed(peer, &why, &id, now)),
            None => Some(self.hold(peer, suspicious?, id, now)),
        }
    }

    fn refuse_replayed(&mut self, peer: &Peer, why: &str, id: &str, now: Timestamp) -> Absorbed {
        let message = format!(
            "{why}; if the peer lost its state or set its clock back, {}",
            how_to_accept(id)
        );
        self.record_exchange(
            DocumentKind::Private,
            ExchangeReason::InvalidPrivateMetadata,
            &message,
            now,
        );
        self.note_refusal(FindingReason::ReplayedDocument, DocumentKind::Private, &message, now);
        let message = format!("the document was refused, what was known stays: {message}");
        Absorbed::Refused(Finding::error(
            FindingReason::ReplayedDocument,
            peer.object(),
            "fedgate.sequence",
            message,
        ))
    }

    fn hold(&mut self, peer: &Peer, why: String, id: String, now: Timestamp) -> Absorbed {
        let since = self.held.as_ref().map_or(now, |held| held.since);
        let held = self.held.insert(Held { since, why, id });
        let finding = held.finding(peer, "until the staleness limit");
        // The exchange itself succeeded. That its result is held is a separate condition.
        self.record_exchange(DocumentKind::Private, ExchangeReason::Succeeded, "", now);
        Absorbed::Held(finding)
    }
}

impl Held {
    /// Returns the finding about the held document. `until` says how long the known document is
    /// used.
    pub(crate) fn finding(&self, peer: &Peer, until: &str) -> Finding {
        let (since, why, how) = (self.since, &self.why, how_to_accept(&self.id));
        let message = format!(
            "since {since:.0}: {why}; what was known stays {until}; if the peer means it, {how}"
        );
        Finding::warning(
            FindingReason::HeldDocument,
            peer.object(),
            DocumentKind::Private.file(),
            message,
        )
    }
}

/// Says how an operator accepts the document nevertheless.
fn how_to_accept(id: &str) -> String {
    format!(
        "accept this document by the annotation {ACCEPT_DOCUMENT_ANNOTATION}: \"{id}\" on its IstioFederation"
    )
}

impl<T> Known<T> {
    fn confirm(&mut self, etag: Option<String>, findings: Vec<Finding>, now: Timestamp) {
        self.confirmed = now;
        self.etag = etag;
        self.findings = findings;
    }
}

fn check_trust_domain(
    peer: &Peer,
    parsed: Parsed<PublicDocument>,
) -> Result<Parsed<PublicDocument>, DocumentError> {
    match &parsed.document.extension {
        Some(extension) if extension.trust_domain != peer.trust_domain => {
            Err(DocumentError::Invalid {
                field: "fedgate.trustDomain",
                why: format!(
                    "the peer says that its trust domain is {}, its object says {}; fix spec.trustDomain",
                    crate::finding::shown(extension.trust_domain.as_str()),
                    peer.trust_domain
                ),
            })
        }
        _ => Ok(parsed),
    }
}

/// Of two extensions with the same content, returns the one with the higher sequence, with the new
/// view. Two replicas of an exporter may number the same content differently.
fn newer(
    known: Option<PrivateExtension>,
    new: Option<PrivateExtension>,
) -> Option<PrivateExtension> {
    match (&known, &new) {
        (Some(a), Some(b)) if a.sequence > b.sequence => {
            Some(PrivateExtension { sequence: a.sequence, ..b.clone() })
        }
        _ => new,
    }
}

/// Returns why `new` is older than the known document. A document without a sequence could be of
/// any age, so once a peer has sent a sequence, it must always send one.
fn replayed(known: &PrivateDocument, new: &PrivateDocument, now: Timestamp) -> Option<String> {
    let known = known.extension.as_ref()?.sequence;
    let ahead = ahead(known, now);
    match new.extension.as_ref().map(|extension| extension.sequence) {
        None => Some(format!(
            "expected a sequence, since the known document has {known}{ahead}; found none"
        )),
        Some(new) if new < known => Some(format!(
            "expected fedgate.sequence to be at least {known}, which the known document has{ahead}; found {new}"
        )),
        Some(_) => None,
    }
}

/// Explains a sequence that lies in the future. fedgate uses the time in milliseconds as the
/// sequence, so such a number shows that the peer's clock was ahead.
fn ahead(sequence: u64, now: Timestamp) -> String {
    let time = i64::try_from(sequence)
        .ok()
        .and_then(|sequence| Timestamp::from_millisecond(sequence).ok());
    let soon = now.checked_add(jiff::SignedDuration::from_mins(5)).unwrap_or(now);
    match time.filter(|time| *time > soon) {
        Some(time) => {
            format!(" (it is the time {time}: the peer's clock was ahead when it was made)")
        }
        None => String::new(),
    }
}

/// Returns what is suspicious about `new`, compared with the known document.
fn suspicious(known: &PrivateDocument, new: &PrivateDocument) -> Option<String> {
    if new.gateways.is_empty() && !known.gateways.is_empty() {
        return Some(format!(
            "the peer announces no valid gateway, before there were {}",
            known.gateways.len()
        ));
    }
    if new.extension.is_some() {
        // The parser has compared its count with its rows, so it is complete.
        return None;
    }
    let (before, after) = (known.services.len(), new.services.len());
    let halved = before >= FEW_SERVICES && after * 2 < before;
    match halved || (after == 0 && before > 0) {
        true => {
            Some(format!("the peer announces {after} valid services, before there were {before}"))
        }
        false => None,
    }
}
