//! Conditions as Kubernetes has them, those of DKP with its types and reasons among them.

use super::import::{Imports, acknowledges};
use super::{Candidate, Inputs, LocalCluster, Standing};
use crate::finding::{Finding, FindingReason, messages};
use crate::knowledge::{DataplaneReason, Exchange, ExchangeReason, PeerKnowledge};
use fedgate_core::PeerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// A call to the peer gets through as far as its gateway (DKP's type): one can be connected to, proves to be the peer's, and takes our
    /// certificate where we have one to show.
    DataplaneConnectionReady,
    /// Every root that the peer publishes is valid now.
    RootsValid,
    /// The peer has put all our roots in force: as far as it is concerned, certificates that any of them signed may be used.
    RootsAcknowledged,
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
    /// The peer's clock is so far from ours that tokens may be refused.
    ClocksDiffer,
    /// The table does not fit in an object, so what this peer is granted may be what it was before. Only where the table is an object.
    TableTooLarge,
    /// Every ready Pod of the gateway has the newest table in force. Only on Kubernetes.
    TableLoaded,
}

impl ConditionType {
    /// All of them, in order: those that each peer has.
    pub const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::PublicMetadataExchangeReady,
        Self::PrivateMetadataExchangeReady,
        Self::DataplaneConnectionReady,
        Self::RootsValid,
        Self::RootsAcknowledged,
        Self::Stale,
        Self::Held,
        Self::NamesRefused,
        Self::RowsDropped,
        Self::NetworkOverlap,
        Self::ClocksDiffer,
    ];
    /// Those about the gateway, of each peer the same, where tables are objects: on Kubernetes.
    pub const OF_GATEWAY: &'static [Self] = &[Self::TableTooLarge, Self::TableLoaded];
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

/// [`ConditionType::TableTooLarge`], by what the writer of the table found.
pub fn table_too_large(finding: Option<&Finding>) -> Condition {
    listed(ConditionType::TableTooLarge, "Fits", finding.into_iter())
}

/// What is known of the gateways of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gateways {
    /// At least one may be connected to.
    InForce,
    /// Their names are being looked up.
    Pending,
    /// There is none that may be connected to.
    None,
}

impl Gateways {
    pub(super) fn of(imports: &Imports, peer: &PeerName) -> Self {
        match (imports.targets.contains_key(peer), imports.pending.contains(peer)) {
            (true, _) => Self::InForce,
            (false, true) => Self::Pending,
            (false, false) => Self::None,
        }
    }
}

/// The conditions of a peer. `findings` are those about its documents, `others` those that were made of it so far: about its network,
/// its roots and its gateways.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    findings: &[Finding],
    others: &[Finding],
    gateways: Gateways,
) -> Vec<Condition> {
    let knowledge = candidate.knowledge;
    let of = |reasons: &'static [FindingReason]| findings.iter().filter(|finding| reasons.contains(&finding.reason));
    let made = |reasons: &'static [FindingReason]| others.iter().filter(|finding| reasons.contains(&finding.reason));
    vec![
        accepted(candidate),
        exchange(ConditionType::PublicMetadataExchangeReady, knowledge.and_then(|k| k.public_exchange.as_ref())),
        exchange(ConditionType::PrivateMetadataExchangeReady, private_exchange(inputs, knowledge).as_ref()),
        dataplane(inputs.local, knowledge, gateways, made(NO_GATEWAY).chain(of(&[FindingReason::InvalidGateway]))),
        roots_valid(inputs, candidate, made(&[FindingReason::ExpiredRoot, FindingReason::RootNotYetValid])),
        roots_acknowledged(inputs, candidate),
        listed(ConditionType::Stale, "Confirmed", of(&[FindingReason::Stale, FindingReason::Expired])),
        listed(ConditionType::Held, "Believed", of(&[FindingReason::HeldDocument])),
        listed(ConditionType::NamesRefused, "AllOwn", of(&[FindingReason::ForeignName])),
        listed(ConditionType::RowsDropped, "AllTaken", of(DROPPED)),
        listed(ConditionType::NetworkOverlap, "NoOverlap", made(&[FindingReason::NetworkOverlap])),
        listed(ConditionType::ClocksDiffer, "Agree", of(&[FindingReason::ClockSkew])),
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

fn accepted(candidate: &Candidate<'_>) -> Condition {
    if let (Standing::Accepted, Some(refused)) = (&candidate.standing, &candidate.refused) {
        return refused.clone();
    }
    let (status, reason, message) = match &candidate.standing {
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
        return unknown(kind, "Pending", "not fetched yet");
    };
    let status = match exchange.reason {
        ExchangeReason::Succeeded => ConditionStatus::True,
        ExchangeReason::AwaitingPublic => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    Condition { kind, status, reason: exchange.reason.word().to_owned(), message: exchange.message.clone() }
}

fn unknown(kind: ConditionType, reason: &str, message: &str) -> Condition {
    Condition { kind, status: ConditionStatus::Unknown, reason: reason.to_owned(), message: message.to_owned() }
}

/// Why gateways that a peer announces, or roots that it publishes, are not used.
const NO_GATEWAY: &[FindingReason] = &[
    FindingReason::OwnGateway,
    FindingReason::GatewayNotFound,
    FindingReason::InvalidGateway,
    FindingReason::ExpiredRoot,
    FindingReason::RootNotYetValid,
];

/// A probe that succeeded when the peer had gateways says nothing once it has none. `why`: what was refused.
fn dataplane<'f>(
    local: &LocalCluster,
    knowledge: Option<&PeerKnowledge>,
    gateways: Gateways,
    why: impl Iterator<Item = &'f Finding>,
) -> Condition {
    let kind = ConditionType::DataplaneConnectionReady;
    let document = knowledge.and_then(|knowledge| knowledge.private.as_ref());
    let acknowledges = document.and_then(|known| acknowledges(&known.document, local));
    let probed = knowledge.and_then(|knowledge| knowledge.dataplane.as_ref());
    let (status, reason, message) = match (gateways, probed) {
        (Gateways::Pending, _) => return unknown(kind, "Pending", "the gateways' names are not looked up yet"),
        (Gateways::InForce, None) => return unknown(kind, "Pending", "not probed yet"),
        (Gateways::InForce, Some(probed)) if probed.server_only && acknowledges == Some(false) => {
            (false, DataplaneReason::ProbeFailed.word(), NOT_ACKNOWLEDGED.to_owned())
        }
        (Gateways::InForce, Some(probed)) => {
            (probed.reason == DataplaneReason::Succeeded, probed.reason.word(), probed.message.clone())
        }
        (Gateways::None, _) if document.is_none() => {
            return unknown(kind, NO_GATEWAYS, "no gateway of the peer is known");
        }
        (Gateways::None, _) => {
            let why: Vec<_> = why.map(|finding| finding.message.as_str()).collect();
            let message = match why.is_empty() {
                true => "no gateway of the peer is in force".to_owned(),
                false => messages(why.into_iter()),
            };
            (false, NO_GATEWAYS, message)
        }
    };
    let status = if status { ConditionStatus::True } else { ConditionStatus::False };
    Condition { kind, status, reason: reason.to_owned(), message }
}

const NO_GATEWAYS: &str = "MetadataUnavailable";

const NOT_ACKNOWLEDGED: &str = "the peer has put none of this cluster's roots in force, so its gateway refuses our certificates; it does so once it knows this cluster";

/// Whether all roots that the peer publishes are valid; `invalid` are those that are not.
fn roots_valid<'f>(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    invalid: impl Iterator<Item = &'f Finding>,
) -> Condition {
    let kind = ConditionType::RootsValid;
    if !candidate.is_accepted() || candidate.public(inputs).is_none() {
        return unknown(kind, "Pending", "the peer's roots are not known");
    }
    let invalid: Vec<_> = invalid.collect();
    let Some(first) = invalid.first() else {
        return Condition { kind, status: ConditionStatus::True, reason: "Valid".to_owned(), message: String::new() };
    };
    let message = messages(invalid.iter().map(|finding| &finding.message));
    Condition { kind, status: ConditionStatus::False, reason: first.reason.camel_case(), message }
}

/// Whether the peer says that it has put in force all roots that we publish and that have not expired.
fn roots_acknowledged(inputs: &Inputs<'_>, candidate: &Candidate<'_>) -> Condition {
    let kind = ConditionType::RootsAcknowledged;
    let Some(document) = candidate.private(inputs) else {
        return unknown(kind, "Pending", "the peer's private document is not known");
    };
    let Some(applied) = document.extension.as_ref().and_then(|extension| extension.applied_roots.as_ref()) else {
        return unknown(
            kind,
            "NotSupported",
            "the peer does not tell which roots it has put in force; ask its operator",
        );
    };
    let ours = inputs.local.roots.iter().filter(|root| !root.is_expired(inputs.now)).map(|root| root.fingerprint());
    let ours: BTreeSet<_> = ours.collect();
    if ours.is_empty() {
        return unknown(kind, "Pending", "this cluster has no root");
    }
    let missing: Vec<_> = ours.iter().filter(|root| !applied.contains(root)).map(ToString::to_string).collect();
    let (status, reason, message) = match missing.is_empty() {
        true => (ConditionStatus::True, "Acknowledged", String::new()),
        false => {
            let message = format!(
                "the peer has not put {} in force yet, and refuses certificates that no other root of ours has signed",
                missing.join(", ")
            );
            (ConditionStatus::False, "Waiting", message)
        }
    };
    Condition { kind, status, reason: reason.to_owned(), message }
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
