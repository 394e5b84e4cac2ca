//! Conditions in the form of Kubernetes. Some of them have DKP's types and reasons.

use super::importing::{Importing, acknowledges};
use super::{Candidate, Inputs, LocalCluster, Standing};
use crate::finding::{Finding, FindingReason, Severity, messages};
use crate::knowledge::{DataplaneReason, Exchange, ExchangeReason, PeerKnowledge};
use fedgate_core::PeerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A condition as in Kubernetes' `status.conditions`. It has no transition time: whoever writes the
/// status adds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The condition's type.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: String,
    /// An explanation for people.
    pub message: String,
}

/// The type of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// The peer takes part.
    Accepted,
    /// The public document was fetched and accepted (DKP's type).
    PublicMetadataExchangeReady,
    /// The private document was fetched and accepted (DKP's type).
    PrivateMetadataExchangeReady,
    /// A call to the peer gets as far as its gateway (DKP's type). At least one gateway is
    /// reachable and proves to be the peer's. If we have a certificate to show, the gateway accepts
    /// it.
    DataplaneConnectionReady,
    /// Every root that the peer publishes is a CA's certificate that can be used now.
    RootsValid,
    /// The peer has put all our roots in force. As far as this peer is concerned, we may use
    /// certificates signed by any of them.
    RootsAcknowledged,
    /// The peer's documents have not been confirmed for a while.
    Stale,
    /// The new private document is suspiciously short, or the new public document has a root, key
    /// or UUID that nothing vouches for. It has not taken effect.
    Held,
    /// The peer announced names outside its trust domain.
    NamesRefused,
    /// Other rows of the peer's documents were dropped.
    RowsDropped,
    /// The peer's Pod or Service CIDRs overlap ours.
    NetworkOverlap,
    /// The peer's clock differs so much from ours that tokens may be refused.
    ClocksDiffer,
    /// The peer says that it sees something of this cluster differently from how it is, and this
    /// has lasted too long to be normal.
    FarSideDiffers,
    /// The table does not fit in an object, so this peer's grants may be outdated. Only where the
    /// table is an object.
    TableTooLarge,
    /// Every ready Pod of the gateway has the newest table in force. Only on Kubernetes.
    TableLoaded,
}

impl ConditionType {
    /// The conditions that every peer has, in order.
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
        Self::FarSideDiffers,
    ];
    /// The conditions about the gateway, which are the same for each peer. Only where tables are
    /// objects: on Kubernetes.
    pub const OF_GATEWAY: &'static [Self] = &[Self::TableTooLarge, Self::TableLoaded];
}

/// Whether a condition holds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

/// Returns [`ConditionType::TableTooLarge`], given the finding of whoever writes the table.
pub fn table_too_large(finding: Option<&Finding>) -> Condition {
    listed(ConditionType::TableTooLarge, "Fits", finding.into_iter())
}

/// The state of a peer's gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gateways {
    /// At least one may be connected to.
    InForce,
    /// Their names are being looked up.
    Pending,
    /// None may be connected to.
    None,
}

impl Gateways {
    pub(super) fn of(importing: &Importing, peer: &PeerName) -> Self {
        match (importing.targets.contains_key(peer), importing.pending.contains(peer)) {
            (true, _) => Self::InForce,
            (false, true) => Self::Pending,
            (false, false) => Self::None,
        }
    }
}

/// Returns the conditions of a peer. `findings` are about its documents; `others` are about its
/// network, its roots and its gateways.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    findings: &[Finding],
    others: &[&Finding],
    gateways: Gateways,
) -> Vec<Condition> {
    let knowledge = candidate.knowledge;
    let of = |reasons: &'static [FindingReason]| {
        findings.iter().filter(|finding| reasons.contains(&finding.reason))
    };
    let made = |reasons: &'static [FindingReason]| {
        others.iter().copied().filter(|finding| reasons.contains(&finding.reason))
    };
    vec![
        accepted(candidate),
        exchange(
            ConditionType::PublicMetadataExchangeReady,
            knowledge.and_then(|k| k.public_exchange.as_ref()),
        ),
        exchange(
            ConditionType::PrivateMetadataExchangeReady,
            private_exchange(inputs, knowledge).as_ref(),
        ),
        dataplane(
            inputs.local,
            knowledge,
            gateways,
            made(NO_GATEWAY).chain(of(&[FindingReason::InvalidGateway])),
        ),
        roots_valid(inputs, candidate, made(UNUSABLE).chain(of(&[FindingReason::InvalidRoot]))),
        roots_acknowledged(inputs, candidate),
        listed(
            ConditionType::Stale,
            "Confirmed",
            of(&[FindingReason::Stale, FindingReason::Expired]),
        ),
        held(knowledge, findings),
        listed(ConditionType::NamesRefused, "AllOwn", of(&[FindingReason::ForeignName])),
        listed(ConditionType::RowsDropped, "AllTaken", of(DROPPED)),
        listed(ConditionType::NetworkOverlap, "NoOverlap", made(&[FindingReason::NetworkOverlap])),
        listed(ConditionType::ClocksDiffer, "Agree", of(&[FindingReason::ClockSkew])),
        far_side(inputs, candidate, of(&[FindingReason::FarSideDiffers])),
    ]
}

/// What is held: first the announced roots, key and UUID, then the private document.
fn held(knowledge: Option<&PeerKnowledge>, findings: &[Finding]) -> Condition {
    let trust = knowledge.and_then(|knowledge| knowledge.held_trust.as_ref());
    // The reason alone is also that of a change that took effect.
    let is_held = |finding: &&Finding| {
        finding.severity == Severity::Error
            && trust.is_some_and(|held| held.reason == finding.reason)
    };
    let document = |finding: &&Finding| finding.reason == FindingReason::HeldDocument;
    let held = findings.iter().filter(is_held).chain(findings.iter().filter(document));
    listed(ConditionType::Held, "Believed", held)
}

/// The reasons for not using a root that has the form of one.
const UNUSABLE: &[FindingReason] =
    &[FindingReason::ExpiredRoot, FindingReason::RootNotYetValid, FindingReason::IntermediateRoot];

/// The reasons for dropping a row of a document, except foreign names.
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
        Standing::Refused { reason, message } => {
            (ConditionStatus::False, reason.camel_case(), message.clone())
        }
    };
    Condition { kind: ConditionType::Accepted, status, reason, message }
}

/// Before the first attempt, the private exchange waits for the public one.
fn private_exchange(inputs: &Inputs<'_>, knowledge: Option<&PeerKnowledge>) -> Option<Exchange> {
    let waiting =
        |reason| Exchange { reason, message: String::new(), since: inputs.now, at: inputs.now };
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
    Condition {
        kind,
        status,
        reason: exchange.reason.word().to_owned(),
        message: exchange.message.clone(),
    }
}

fn unknown(kind: ConditionType, reason: &str, message: &str) -> Condition {
    Condition {
        kind,
        status: ConditionStatus::Unknown,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// The reasons why announced gateways or published roots of a peer are not used.
const NO_GATEWAY: &[FindingReason] = &[
    FindingReason::OwnGateway,
    FindingReason::GatewayNotFound,
    FindingReason::InvalidGateway,
    FindingReason::ExpiredRoot,
    FindingReason::RootNotYetValid,
    FindingReason::IntermediateRoot,
];

/// An earlier successful probe says nothing once the peer has no gateways. `why` holds the findings
/// about refused gateways and roots.
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
        (Gateways::Pending, _) => {
            return unknown(kind, "Pending", "the gateways' names are not looked up yet");
        }
        (Gateways::InForce, None) => return unknown(kind, "Pending", "not probed yet"),
        (Gateways::InForce, Some(probed)) if probed.server_only && acknowledges == Some(false) => {
            (false, DataplaneReason::ProbeFailed.word(), NOT_ACKNOWLEDGED.to_owned())
        }
        (Gateways::InForce, Some(probed)) => (
            probed.reason == DataplaneReason::Succeeded,
            probed.reason.word(),
            probed.message.clone(),
        ),
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

/// Checks that all roots that the peer publishes can be used. `invalid` are the findings about those
/// that are not.
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
        return Condition {
            kind,
            status: ConditionStatus::True,
            reason: "Valid".to_owned(),
            message: String::new(),
        };
    };
    let message = messages(invalid.iter().map(|finding| &finding.message));
    Condition { kind, status: ConditionStatus::False, reason: first.reason.camel_case(), message }
}

/// Checks that the peer says it has put in force all our unexpired roots.
fn roots_acknowledged(inputs: &Inputs<'_>, candidate: &Candidate<'_>) -> Condition {
    let kind = ConditionType::RootsAcknowledged;
    let Some(document) = candidate.private(inputs) else {
        return unknown(kind, "Pending", "the peer's private document is not known");
    };
    let Some(applied) =
        document.extension.as_ref().and_then(|extension| extension.applied_roots.as_ref())
    else {
        return unknown(
            kind,
            "NotSupported",
            "the peer does not tell which roots it has put in force; ask its operator",
        );
    };
    let ours = inputs
        .local
        .roots
        .iter()
        .filter(|root| !root.is_expired(inputs.now))
        .map(|root| root.fingerprint());
    let ours: BTreeSet<_> = ours.collect();
    if ours.is_empty() {
        return unknown(kind, "Pending", "this cluster has no root");
    }
    let missing: Vec<_> =
        ours.iter().filter(|root| !applied.contains(root)).map(ToString::to_string).collect();
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

/// Compares what the peer sees of us with what we are.
fn far_side<'f>(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    differences: impl Iterator<Item = &'f Finding>,
) -> Condition {
    let kind = ConditionType::FarSideDiffers;
    let Some(document) = candidate.private(inputs) else {
        return unknown(kind, "Pending", "the peer's private document is not known");
    };
    match document.extension.as_ref().and_then(|extension| extension.view.as_ref()) {
        Some(_) => listed(kind, "Agrees", differences),
        None => unknown(kind, "NotSupported", "the peer does not say what it sees of this cluster"),
    }
}

/// Returns True with the first finding's reason and up to three of the messages; False with reason
/// `otherwise` if there are no findings.
fn listed<'f>(
    kind: ConditionType,
    otherwise: &str,
    findings: impl Iterator<Item = &'f Finding>,
) -> Condition {
    let findings: Vec<_> = findings.collect();
    let Some(first) = findings.first() else {
        let (status, reason) = (ConditionStatus::False, otherwise.to_owned());
        return Condition { kind, status, reason, message: String::new() };
    };
    let message = messages(findings.iter().map(|finding| &finding.message));
    Condition { kind, status: ConditionStatus::True, reason: first.reason.camel_case(), message }
}
