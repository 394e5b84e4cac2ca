//! How it is with each peer: conditions as Kubernetes has them, those of DKP with its types and reasons among them.

use super::{Candidate, Export, Import, Inputs, Standing};
use crate::bundle::Fingerprint;
use crate::document::ClusterUuid;
use crate::finding::{Finding, FindingReason, Severity};
use crate::grant::PeerGrant;
use crate::knowledge::{Age, Change, Exchange, ExchangeReason, Known, PeerKnowledge};
use crate::object::Peer;
use fedgate_core::{Mode, PeerName};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How it is with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer.
    pub peer: Peer,
    /// Whether it takes part.
    pub standing: Standing,
    /// Whether refusals of it take effect.
    pub mode: Mode,
    /// The UUID that it claims.
    pub cluster_uuid: Option<ClusterUuid>,
    /// The fingerprints of the roots that it publishes.
    pub roots: Vec<Fingerprint>,
    /// When its public document was last confirmed.
    pub public_confirmed: Option<Timestamp>,
    /// When its private document was last confirmed.
    pub private_confirmed: Option<Timestamp>,
    /// How many of our exports it may reach, in part at least.
    pub granted_exports: usize,
    /// How many imports there are of it.
    pub imports: usize,
    /// The latest changes of its UUID, key and roots, oldest first.
    pub changes: Vec<Change>,
    /// The conditions, in order of type.
    pub conditions: Vec<Condition>,
}

/// A condition, as Kubernetes' `status.conditions` has it; without its transition time, which the writer knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word.
    pub reason: String,
    /// More of it, for people.
    pub message: String,
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// The peer takes part.
    Accepted,
    /// The public document could be fetched and was taken (DKP's type).
    PublicMetadataExchangeReady,
    /// The private document could be fetched and was taken (DKP's type).
    PrivateMetadataExchangeReady,
    /// What is known of the peer was not confirmed for a while.
    Stale,
    /// The private document says suspiciously little, and is not believed yet.
    Held,
    /// The peer announced names that are not under its trust domain.
    NamesRefused,
    /// Other rows of the peer's documents were dropped.
    RowsDropped,
    /// The peer's Pod or Service CIDRs overlap ours.
    NetworkOverlap,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

/// The reports on all valid peers.
pub(super) fn reports(
    inputs: &Inputs<'_>,
    candidates: &[Candidate<'_>],
    modes: &BTreeMap<&PeerName, Mode>,
    exports: &[Export],
    imports: &[Import],
    findings: &mut Vec<Finding>,
) -> Vec<PeerReport> {
    let counts = Counts::new(exports, imports);
    let mut reports = Vec::new();
    for candidate in candidates {
        let own = peer_findings(inputs, candidate);
        let overlap = findings.iter().find(|finding| {
            finding.reason == FindingReason::NetworkOverlap && finding.object == candidate.peer.object()
        });
        let conditions = conditions(inputs, candidate, &own, overlap);
        findings.extend(own);
        let mode = modes.get(&candidate.peer.name).copied().unwrap_or(Mode::Enforce);
        reports.push(report(candidate, mode, conditions, &counts));
    }
    reports
}

struct Counts<'a> {
    granted: BTreeMap<&'a PeerName, usize>,
    imports: BTreeMap<&'a PeerName, usize>,
}

impl<'a> Counts<'a> {
    fn new(exports: &'a [Export], imports: &'a [Import]) -> Self {
        let mut counts = Self { granted: BTreeMap::new(), imports: BTreeMap::new() };
        // Exports share their lists of grants: each list is looked at once.
        let mut lists: BTreeMap<_, (usize, &[PeerGrant])> = BTreeMap::new();
        for export in exports {
            lists.entry(export.grants.as_ptr()).or_insert((0, &export.grants)).0 += 1;
        }
        for (exports, grant) in
            lists.values().flat_map(|(exports, grants)| grants.iter().map(move |grant| (exports, grant)))
        {
            if grant.is_granted() {
                *counts.granted.entry(&grant.peer).or_default() += exports;
            }
        }
        for import in imports {
            *counts.imports.entry(&import.peer).or_default() += 1;
        }
        counts
    }
}

fn report(candidate: &Candidate<'_>, mode: Mode, conditions: Vec<Condition>, counts: &Counts<'_>) -> PeerReport {
    let knowledge = candidate.knowledge;
    let public = knowledge.and_then(|knowledge| knowledge.public.as_ref());
    let private = knowledge.and_then(|knowledge| knowledge.private.as_ref());
    let count = |of: &BTreeMap<&PeerName, usize>| of.get(&candidate.peer.name).copied().unwrap_or_default();
    PeerReport {
        standing: candidate.standing.clone(),
        mode,
        cluster_uuid: public.map(|known| known.document.cluster_uuid.clone()),
        roots: public.iter().flat_map(|known| &known.document.roots).map(|root| root.fingerprint()).collect(),
        public_confirmed: public.map(|known| known.confirmed),
        private_confirmed: private.map(|known| known.confirmed),
        granted_exports: count(&counts.granted),
        imports: count(&counts.imports),
        changes: knowledge.map(|knowledge| knowledge.changes.clone()).unwrap_or_default(),
        conditions,
        peer: candidate.peer.clone(),
    }
}

/// What there is to say about an accepted peer's documents.
fn peer_findings(inputs: &Inputs<'_>, candidate: &Candidate<'_>) -> Vec<Finding> {
    let Some(knowledge) = candidate.knowledge.filter(|_| candidate.is_accepted()) else { return Vec::new() };
    let mut findings = Vec::new();
    findings.extend(knowledge.public.iter().flat_map(|known| of_document(inputs, candidate, known, "public.json")));
    findings
        .extend(knowledge.private.iter().flat_map(|known| of_document(inputs, candidate, known, "federation.json")));
    findings.extend(knowledge.held.as_ref().map(|held| {
        let message = format!("since {}: {}; what was known stays until the staleness limit", held.since, held.why);
        Finding::warning(FindingReason::HeldDocument, candidate.peer.object(), "federation.json", message)
    }));
    findings
}

fn of_document<T>(inputs: &Inputs<'_>, candidate: &Candidate<'_>, known: &Known<T>, file: &str) -> Vec<Finding> {
    let aged = |severity, reason, then| {
        let message = format!("{file} was last confirmed at {}; {then}", known.confirmed);
        Finding::new(severity, reason, candidate.peer.object(), file, message)
    };
    match inputs.times.age(known.confirmed, inputs.now) {
        Age::Fresh => known.findings.clone(),
        Age::Stale => {
            let stale = aged(Severity::Warning, FindingReason::Stale, "it is still used");
            known.findings.iter().cloned().chain([stale]).collect()
        }
        Age::Expired => vec![aged(Severity::Error, FindingReason::Expired, "it is not used any more")],
    }
}

fn conditions(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    findings: &[Finding],
    overlap: Option<&Finding>,
) -> Vec<Condition> {
    let knowledge = candidate.knowledge;
    let of = |reasons: &'static [FindingReason]| findings.iter().filter(|finding| reasons.contains(&finding.reason));
    vec![
        accepted(&candidate.standing),
        exchange(ConditionType::PublicMetadataExchangeReady, knowledge.and_then(|k| k.public_exchange.as_ref())),
        exchange(ConditionType::PrivateMetadataExchangeReady, private_exchange(inputs, knowledge).as_ref()),
        listed(ConditionType::Stale, "Confirmed", of(&[FindingReason::Stale, FindingReason::Expired])),
        listed(ConditionType::Held, "Believed", of(&[FindingReason::HeldDocument])),
        listed(ConditionType::NamesRefused, "AllOwn", of(&[FindingReason::ForeignName])),
        listed(ConditionType::RowsDropped, "AllTaken", of(DROPPED)),
        listed(ConditionType::NetworkOverlap, "NoOverlap", overlap.into_iter()),
    ]
}

/// The reasons for which a row of a document is dropped, apart from foreign names.
const DROPPED: &[FindingReason] = &[
    FindingReason::InvalidExtension,
    FindingReason::InvalidRoot,
    FindingReason::InvalidService,
    FindingReason::DuplicateService,
    FindingReason::InvalidPort,
    FindingReason::DuplicatePort,
    FindingReason::ForeignIdentity,
    FindingReason::InvalidGateway,
    FindingReason::MoreFindings,
];

fn accepted(standing: &Standing) -> Condition {
    let (status, reason, message) = match standing {
        Standing::Accepted => (ConditionStatus::True, "Accepted".to_owned(), String::new()),
        Standing::Refused { reason, message } => (ConditionStatus::False, reason.camel_case(), message.clone()),
    };
    Condition { kind: ConditionType::Accepted, status, reason, message }
}

/// Before the first attempt, the private exchange waits for the public one.
fn private_exchange(inputs: &Inputs<'_>, knowledge: Option<&PeerKnowledge>) -> Option<Exchange> {
    let waiting = |reason| Exchange { reason, message: String::new(), since: inputs.now, at: inputs.now };
    let known = knowledge.and_then(|knowledge| knowledge.private_exchange.clone());
    known.or_else(|| Some(waiting(ExchangeReason::AwaitingPublic)))
}

fn exchange(kind: ConditionType, exchange: Option<&Exchange>) -> Condition {
    let Some(exchange) = exchange else {
        let message = "not fetched yet".to_owned();
        return Condition { kind, status: ConditionStatus::Unknown, reason: "Pending".to_owned(), message };
    };
    let status = match exchange.reason {
        ExchangeReason::Succeeded => ConditionStatus::True,
        ExchangeReason::AwaitingPublic => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    Condition { kind, status, reason: exchange.reason.word().to_owned(), message: exchange.message.clone() }
}

/// True with the first finding's reason and all their messages, up to three; False with `otherwise` when there is none.
fn listed<'f>(kind: ConditionType, otherwise: &str, findings: impl Iterator<Item = &'f Finding>) -> Condition {
    let findings: Vec<_> = findings.collect();
    let Some(first) = findings.first() else {
        let (status, reason) = (ConditionStatus::False, otherwise.to_owned());
        return Condition { kind, status, reason, message: String::new() };
    };
    let message = messages(findings.iter().map(|finding| &finding.message));
    Condition { kind, status: ConditionStatus::True, reason: first.reason.camel_case(), message }
}

/// The first three messages, and how many more there are.
pub(super) fn messages<T: AsRef<str>>(mut messages: impl ExactSizeIterator<Item = T>) -> String {
    let mut message = String::new();
    for (place, next) in messages.by_ref().take(3).enumerate() {
        if place > 0 {
            message.push_str("; ");
        }
        message.push_str(next.as_ref());
    }
    match messages.len() {
        0 => message,
        more => format!("{message}; and {more} more"),
    }
}

/// The next moment at which something gets stale or expires.
pub(super) fn next_change(inputs: &Inputs<'_>, candidates: &[Candidate<'_>]) -> Option<Timestamp> {
    let after = |confirmed: Timestamp, time: Duration| confirmed.checked_add(SignedDuration::try_from(time).ok()?).ok();
    let times = [inputs.times.stale_after, inputs.times.staleness_limit];
    let known = || candidates.iter().filter_map(|candidate| candidate.knowledge);
    let confirmed = known().flat_map(|knowledge| {
        let public = knowledge.public.as_ref().map(|known| known.confirmed);
        public.into_iter().chain(knowledge.private.as_ref().map(|known| known.confirmed))
    });
    let ages = confirmed.flat_map(|confirmed| times.into_iter().filter_map(move |time| after(confirmed, time)));
    // A root is used up to and including its last second.
    let roots = known().filter_map(|knowledge| knowledge.public.as_ref()).flat_map(|known| &known.document.roots);
    let expiries = roots.filter_map(|root| after(root.not_after(), Duration::from_secs(1)));
    ages.chain(expiries).filter(|moment| *moment > inputs.now).min()
}
