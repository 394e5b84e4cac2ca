//! What the gateways refused, by reason, with what to do.

use super::overview::Known;
use crate::feed::Look;
use crate::traffic::{Refusal, Totals};
use fedgate_core::Reason;
use serde::Serialize;

/// The refusals.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusals {
    totals: Known<Totals>,
    /// One row for each reason word, in the order in which the gateway checks.
    reasons: Vec<ReasonRow>,
    /// Peers with refused or audited connections, the most first.
    peers: Vec<PeerCounts>,
    latest: Known<Vec<Refusal>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasonRow {
    reason: &'static str,
    refused: u64,
    /// Denied by a policy in Audit, and let through.
    audited: u64,
    meaning: &'static str,
    advice: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerCounts {
    peer: String,
    refused: u64,
    audited: u64,
    allowed: u64,
}

/// How many peers are listed.
const MOST_PEERS: usize = 50;

/// The refusals by reason and by peer, and the latest ones.
pub(crate) fn refusals(look: &Look) -> Refusals {
    let traffic = look.around.traffic.as_ref();
    let count = |outcome: &str, reason: Reason| {
        let counted = traffic.ok().and_then(|traffic| {
            traffic.by_reason.get(&(outcome.to_owned(), reason.word().to_owned())).copied()
        });
        counted.unwrap_or_default()
    };
    let reasons = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Granted);
    let mut peers: Vec<_> = traffic
        .iter()
        .flat_map(|traffic| &traffic.by_peer)
        .filter(|(_, counts)| counts.refused + counts.audited > 0)
        .map(|(peer, counts)| PeerCounts {
            peer: peer.clone(),
            refused: counts.refused,
            audited: counts.audited,
            allowed: counts.allowed,
        })
        .collect();
    peers.sort_by(|a, b| (b.refused + b.audited, &a.peer).cmp(&(a.refused + a.audited, &b.peer)));
    peers.truncate(MOST_PEERS);
    Refusals {
        totals: Known::of(traffic.map(|traffic| traffic.totals)),
        reasons: reasons
            .map(|reason| {
                let (meaning, advice) = words(reason);
                ReasonRow {
                    reason: reason.word(),
                    refused: count("refused", reason),
                    audited: count("audited", reason),
                    meaning,
                    advice,
                }
            })
            .collect(),
        peers,
        latest: Known::of(look.around.refusals.as_ref().cloned()),
    }
}

/// What a reason means, and what to do. `docs/troubleshooting.md` has the long form.
fn words(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::NoTable => (
            "The gateway has no table yet, so it exports nothing.",
            "See whether the controller runs, and the findings for why the table was not written.",
        ),
        Reason::NoSni => (
            "The client sent no server name.",
            "It is not a mesh client: look for scanners and load balancers' health checks.",
        ),
        Reason::BadSni => (
            "The server name does not have Istio's form outbound_.PORT_._.HOST.",
            "Let the client use ISTIO_MUTUAL without its own sni in a DestinationRule.",
        ),
        Reason::UnknownService => (
            "That host and port are not exported.",
            "Label the Service, or ask the peer's operator why a client still calls it.",
        ),
        Reason::NoIdentity => (
            "The client's certificate has no SPIFFE ID.",
            "Let the workload use its mesh certificate: a sidecar, or ISTIO_MUTUAL.",
        ),
        Reason::BadIdentity => (
            "The SPIFFE ID is not a workload's, or there is more than one.",
            "Ask the peer's operator how this certificate was issued.",
        ),
        Reason::UnknownPeer => (
            "The identity's trust domain belongs to no peer.",
            "Create an IstioFederation for that trust domain, or find out who calls.",
        ),
        Reason::NotGranted => (
            "The peer has no grant for the service.",
            "Explain the call to see which policy or annotation decides; grant it if it is wanted.",
        ),
        Reason::CallerNotGranted => (
            "The peer has a grant, but not for this caller.",
            "Add the caller's namespace and service account to the policy if it is wanted.",
        ),
        Reason::Granted => ("The call passed.", ""),
    }
}
