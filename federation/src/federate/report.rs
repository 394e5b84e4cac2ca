//! The reports on the peers.

use super::clocks::Clocks;
use super::condition::{Condition, Gateways, conditions};
use super::far_side::{self, FarSide};
use super::importing::Importing;
use super::{Candidate, Export, Inputs, Standing};
use crate::bundle::Fingerprint;
use crate::document::{ClusterUuid, PrivateDocument};
use crate::finding::{Finding, FindingReason, ObjectRef, Severity};
use crate::grant::PeerGrant;
use crate::knowledge::{
    Age, AtExpiry, DocumentKind, HeldTrust, Known, Notice, PeerKnowledge, Times,
};
use crate::object::Peer;
use fedgate_core::{Mode, PeerName};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The state of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer.
    pub peer: Peer,
    /// Whether it takes part.
    pub standing: Standing,
    /// Whether denials of its connections are enforced or only audited.
    pub mode: Mode,
    /// The UUID that it claims.
    pub cluster_uuid: Option<ClusterUuid>,
    /// The fingerprints of the roots that it publishes.
    pub roots: Vec<Fingerprint>,
    /// When its public document was last confirmed.
    pub public_confirmed: Option<Timestamp>,
    /// When its private document was last confirmed.
    pub private_confirmed: Option<Timestamp>,
    /// The ages that apply to its documents.
    pub times: Times,
    /// Whether it is not in the table because its public document expired ([`AtExpiry::Drop`]).
    pub is_dropped: bool,
    /// How many of our exports it may reach, at least in part.
    pub granted_exports: usize,
    /// How many imports come from it.
    pub imports: usize,
    /// The latest changes of its UUID, key and roots, and its refused documents, oldest first.
    pub notices: Vec<Notice>,
    /// The announced roots, key and UUID, if they have not taken effect.
    pub held_trust: Option<HeldTrust>,
    /// What it says it sees of us; `None` if it does not say.
    pub far_side: Option<FarSide>,
    /// The conditions, in order of type.
    pub conditions: Vec<Condition>,
}

/// What the reports are about, besides the peers themselves.
pub(super) struct Compiled<'a> {
    pub(super) modes: &'a BTreeMap<&'a PeerName, Mode>,
    pub(super) exports: &'a [Export],
    pub(super) importing: &'a Importing,
    /// The document for each accepted peer.
    pub(super) documents: &'a BTreeMap<PeerName, Arc<PrivateDocument>>,
}

pub(super) fn reports(
    inputs: &Inputs<'_>,
    candidates: &[Candidate<'_>],
    compiled: &Compiled<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<PeerReport> {
    let Compiled { modes, exports, importing, documents } = compiled;
    let granted = granted_exports(exports);
    let about = by_object(findings);
    let accepted = || candidates.iter().filter(|candidate| candidate.is_accepted());
    let clocks = Clocks::of(inputs, accepted());
    let mut new: Vec<_> = clocks.ours(inputs, accepted()).into_iter().collect();
    let mut reports = Vec::new();
    for candidate in candidates {
        let held = held_trust(inputs, candidate);
        let mut own = peer_findings(inputs, candidate, clocks);
        own.extend(held.iter().cloned());
        let ours = documents.get(&candidate.peer.name).map(Arc::as_ref);
        let far_side = far_side::of_peer(inputs, candidate, ours, clocks);
        own.extend(far_side.iter().flat_map(|side| side.findings(candidate, inputs.now)));
        let gateways = Gateways::of(importing, &candidate.peer.name);
        let others = about.get(&candidate.peer.object()).map_or(&[][..], Vec::as_slice);
        let conditions = conditions(inputs, candidate, &own, others, gateways);
        // Also for a refused peer: a hijacked endpoint shows in such changes.
        new.extend(
            candidate
                .knowledge
                .iter()
                .flat_map(|known| known.notice_findings(&candidate.peer, inputs.now)),
        );
        // If our clock is off, one finding says so.
        own.retain(|finding| {
            finding.reason != FindingReason::ClockSkew || !clocks.is_ours(candidate)
        });
        new.extend(own);
        let name = &candidate.peer.name;
        let mode = modes.get(name).copied().unwrap_or(Mode::Enforce);
        let is_dropped = candidate.is_dropped(inputs);
        let granted = granted.get(name).filter(|_| !is_dropped);
        let counts = (
            granted.copied().unwrap_or_default(),
            importing.imports.of_peer(&candidate.peer).len(),
        );
        let times = candidate.times(inputs);
        let report = report(candidate, (mode, times, is_dropped), conditions, counts);
        reports.push(PeerReport { far_side, ..report });
    }
    findings.extend(new);
    reports
}

fn by_object(findings: &[Finding]) -> BTreeMap<&ObjectRef, Vec<&Finding>> {
    let mut about: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for finding in findings {
        about.entry(&finding.object).or_default().push(finding);
    }
    about
}

/// Returns how many exports each peer may reach.
fn granted_exports(exports: &[Export]) -> BTreeMap<&PeerName, usize> {
    // Exports share their lists of grants, so each list is examined once.
    let mut lists: BTreeMap<_, (usize, &[PeerGrant])> = BTreeMap::new();
    for export in exports {
        lists.entry(export.grants.as_ptr()).or_insert((0, &export.grants)).0 += 1;
    }
    let mut granted = BTreeMap::new();
    for (exports, grant) in lists
        .values()
        .flat_map(|(exports, grants)| grants.iter().map(move |grant| (exports, grant)))
    {
        if grant.is_granted() {
            *granted.entry(&grant.peer).or_default() += exports;
        }
    }
    granted
}

fn report(
    candidate: &Candidate<'_>,
    (mode, times, is_dropped): (Mode, Times, bool),
    conditions: Vec<Condition>,
    (granted_exports, imports): (usize, usize),
) -> PeerReport {
    let knowledge = candidate.knowledge;
    let public = knowledge.and_then(|knowledge| knowledge.public.as_ref());
    let private = knowledge.and_then(|knowledge| knowledge.private.as_ref());
    PeerReport {
        standing: candidate.standing.clone(),
        mode,
        cluster_uuid: public.map(|known| known.document.cluster_uuid.clone()),
        roots: public
            .iter()
            .flat_map(|known| &known.document.roots)
            .map(|root| root.fingerprint())
            .collect(),
        public_confirmed: public.map(|known| known.confirmed),
        private_confirmed: private.map(|known| known.confirmed),
        times,
        is_dropped,
        granted_exports,
        imports,
        notices: knowledge.map(|knowledge| knowledge.notices.clone()).unwrap_or_default(),
        held_trust: knowledge.and_then(|knowledge| knowledge.held_trust.clone()),
        far_side: None,
        conditions,
        peer: candidate.peer.clone(),
    }
}

/// Returns the finding about a change that is held. A refused peer has one too: the change may be
/// what got it refused, or what would end that.
fn held_trust(inputs: &Inputs<'_>, candidate: &Candidate<'_>) -> Option<Finding> {
    let knowledge = candidate.knowledge?;
    let known = knowledge.public.as_ref();
    let times = candidate.times(inputs);
    let expiry = known.and_then(|known| times.end_of_use(known.confirmed));
    Some(knowledge.held_trust.as_ref()?.finding(&candidate.peer, expiry))
}

/// Returns the findings about an accepted peer's documents.
fn peer_findings(inputs: &Inputs<'_>, candidate: &Candidate<'_>, clocks: Clocks) -> Vec<Finding> {
    let Some(knowledge) = candidate.knowledge.filter(|_| candidate.is_accepted()) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    findings.extend(
        knowledge
            .public
            .iter()
            .flat_map(|known| of_document(inputs, candidate, known, DocumentKind::Public)),
    );
    findings.extend(
        knowledge
            .private
            .iter()
            .flat_map(|known| of_document(inputs, candidate, known, DocumentKind::Private)),
    );
    findings.extend(clocks.finding(candidate));
    let times = candidate.times(inputs);
    let expiry = knowledge.private.as_ref().and_then(|known| times.end_of_use(known.confirmed));
    let until = expiry.map_or_else(
        || "until a document is accepted".to_owned(),
        |expiry| format!("until {expiry}"),
    );
    findings.extend(knowledge.held.as_ref().map(|held| held.finding(&candidate.peer, &until)));
    findings
}

fn of_document<T>(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    known: &Known<T>,
    kind: DocumentKind,
) -> Vec<Finding> {
    let file = kind.file();
    let why = why_unconfirmed(candidate.knowledge, kind);
    let aged = |severity, reason, then| {
        let message = format!("{file} was last confirmed at {:.0}; {then}; {why}", known.confirmed);
        Finding::new(severity, reason, candidate.peer.object(), file, message)
    };
    let times = candidate.times(inputs);
    match times.age(known.confirmed, inputs.now) {
        Age::Fresh => known.findings.clone(),
        Age::Stale => {
            let stale = aged(Severity::Warning, FindingReason::Stale, "it is still used");
            known.findings.iter().cloned().chain([stale]).collect()
        }
        Age::Expired => {
            let then = at_expiry(times.at_expiry, kind == DocumentKind::Public);
            let expired = aged(Severity::Error, FindingReason::Expired, then);
            let kept = known.findings.iter().filter(|_| times.at_expiry == AtExpiry::Keep);
            kept.cloned().chain([expired]).collect()
        }
    }
}

/// Says why a document has not been confirmed, and what to do.
fn why_unconfirmed(knowledge: Option<&PeerKnowledge>, kind: DocumentKind) -> &'static str {
    let holds_trust = knowledge.is_some_and(|knowledge| knowledge.held_trust.is_some());
    let holds_document = knowledge.is_some_and(|knowledge| knowledge.held.is_some());
    match kind {
        DocumentKind::Public if holds_trust => {
            "it is fetched, but what it announces is held: see the condition Held of the peer for how to approve it"
        }
        DocumentKind::Private if holds_trust => {
            "as long as the peer's new roots, key or UUID are held, it may be refused: see the conditions of the peer, Held first"
        }
        DocumentKind::Private if holds_document => {
            "it is fetched, but held: see the condition Held of the peer for how to accept it"
        }
        _ => "see why it cannot be fetched in the conditions of the peer",
    }
}

/// Says what became of what an expired document says.
fn at_expiry(at_expiry: AtExpiry, is_public: bool) -> &'static str {
    match (at_expiry, is_public) {
        (AtExpiry::Keep, _) => "it is still used, because fedgate is set to Keep at expiry",
        (AtExpiry::Drain, true) => {
            "it is no longer used: the peer makes no new connections here and its imports are gone; its open connections go on (Drain)"
        }
        (AtExpiry::Drop, true) => {
            "it is no longer used: the peer's imports are gone, and it has no connections here (Drop)"
        }
        (AtExpiry::Drain | AtExpiry::Drop, false) => {
            "it is no longer used: the peer's imports are gone"
        }
    }
}

/// Returns the next moment at which something becomes stale, becomes valid or expires.
pub(super) fn next_change(
    inputs: &Inputs<'_>,
    candidates: &[Candidate<'_>],
    reports: &[PeerReport],
) -> Option<Timestamp> {
    let known = || candidates.iter().filter_map(|candidate| candidate.knowledge);
    let ages = candidates.iter().flat_map(|candidate| {
        let Times { stale_after, staleness_limit, .. } = candidate.times(inputs);
        let public = candidate.knowledge.and_then(|known| Some(known.public.as_ref()?.confirmed));
        let private = candidate.knowledge.and_then(|known| Some(known.private.as_ref()?.confirmed));
        let confirmed = public.into_iter().chain(private);
        confirmed.flat_map(move |confirmed| {
            [stale_after, staleness_limit].into_iter().filter_map(move |age| after(confirmed, age))
        })
    });
    // A root is used up to and including its last second.
    let theirs = known()
        .filter_map(|knowledge| knowledge.public.as_ref())
        .flat_map(|known| &known.document.roots);
    let roots = theirs.chain(&inputs.local.roots);
    let changes = roots.flat_map(|root| {
        [after(root.not_after(), Duration::from_secs(1)), Some(root.not_before())]
    });
    let notices = known().flat_map(|knowledge| &knowledge.notices).filter_map(Notice::ends);
    let own = inputs.local.credentials.next_change(inputs.now);
    let names =
        known().flat_map(|knowledge| knowledge.names.values()).filter_map(|name| name.found);
    let limits = names.filter_map(|found| after(found, inputs.times.staleness_limit));
    ages.chain(changes.flatten())
        .chain(notices)
        .chain(limits)
        .chain(
            reports.iter().filter_map(|report| report.far_side.as_ref()).flat_map(FarSide::changes),
        )
        .chain(own)
        .filter(|moment| *moment > inputs.now)
        .min()
}

fn after(moment: Timestamp, time: Duration) -> Option<Timestamp> {
    moment.checked_add(SignedDuration::try_from(time).ok()?).ok()
}
