//! What to do, for each reason of a peer's conditions.

use fedgate_federation::federate::Condition;
use fedgate_federation::knowledge::ExchangeReason;
use fedgate_federation::object::Peer;

pub(super) const GATEWAY: &str = "calls to this peer fail; check firewalls between the clusters, the peer's gateway Service, and its gateway's certificate";
pub(super) const STALE: &str =
    "it is still used; check the lines about its metadata, and whether a controller leads here";
pub(super) const EXPIRED: &str =
    "what still works follows from the setting at-expiry; check the lines about its metadata";
pub(super) const HELD: &str = "the previous document stays in use; ask its operator whether the Services were withdrawn on purpose";
pub(super) const HELD_TRUST: &str = "what is known of it stays trusted; compare the fingerprints with its operator, then see `fedgate peer approve`";
pub(super) const NAMES: &str =
    "its other names are used; its operator should set its cluster domain to its trust domain";
pub(super) const ROWS: &str =
    "everything else is used; show this to its operator, or look for a newer version of fedgate";
pub(super) const NETWORK: &str = "Pods of the two clusters can never connect directly; change the CIDRs or the network name of one cluster";
pub(super) const CLOCKS: &str = "check NTP on both sides; if clocks differ by more than a minute, metadata requests are refused (401)";
pub(super) const ACKNOWLEDGED: &str =
    "do not sign with the new root yet; this resolves itself while its controller runs";
pub(super) const FAR_SIDE: &str = "see whose turn it is; `fedgate status` shows all that the peer sees, and on the peer's side what it knows of us";

/// Hints for something that is held: new trust, or only fewer services.
pub(super) fn held(trust: bool) -> &'static str {
    if trust { HELD_TRUST } else { HELD }
}

/// Hints for roots that are not used. Other roots of the peer are.
pub(super) fn roots(condition: &Condition) -> &'static str {
    match condition.reason.as_str() {
        "RootNotYetValid" => {
            "certificates by this root are refused until then; compare the clocks, or ask its operator not to sign with it yet"
        }
        "IntermediateRoot" => {
            "certificates by this CA are refused; ask its operator to publish the root that issued it (on DKP: istio.ca.root)"
        }
        "InvalidRoot" => {
            "ask its operator to publish the certificate of the CA itself: CA:TRUE, with an RSA key of 2048 bits or more, or a key on P-256, P-384 or P-521"
        }
        _ => {
            "certificates by this root are refused; ask its operator to publish one that is valid, and to sign with that"
        }
    }
}

/// Hints for a peer that was not accepted.
pub(super) fn refused(condition: &Condition) -> &'static str {
    match condition.reason.as_str() {
        "SameTrustDomain" => "two IstioFederations have its trust domain; delete the wrong one",
        "NotPinned" => {
            "its object pins other roots, keys or UUIDs; compare them with its operator, then correct the annotations"
        }
        "OurUuid" => {
            "its cluster has our UUID, probably because our Secret fedgate-identity was copied; its operator should delete that Secret there"
        }
        "UuidTaken" => {
            "it has another peer's UUID, probably because that peer's Secret was copied; ask both operators which cluster has the copy"
        }
        "NetworkOverlap" => {
            "within one network, Pod and Service CIDRs must not overlap; change the CIDRs or the network name of one cluster"
        }
        _ => "fix the object; `kubectl explain istiofederation.spec` helps",
    }
}

/// Hints for failed metadata exchanges.
pub(super) fn exchange(condition: &Condition, peer: &Peer) -> String {
    let (host, port) = (peer.endpoint.host(), peer.endpoint.port());
    let is = |reason: ExchangeReason| condition.reason == reason.word();
    if is(ExchangeReason::FetchFailed) && condition.message.starts_with("TLS") {
        return format!(
            "if its CA is not trusted here, put it into spec.metadata.ca; `openssl s_client -connect {host}:{port}` shows the endpoint's certificate"
        );
    }
    if is(ExchangeReason::FetchFailed) {
        return format!(
            "the controller's Pods must reach {host}:{port}: check DNS, firewalls and NetworkPolicies, and whether the peer's controller runs"
        );
    }
    if is(ExchangeReason::NonOkResponse)
        && condition.message.starts_with("401: the peer refuses the token")
    {
        return CLOCKS.to_owned();
    }
    if is(ExchangeReason::NonOkResponse)
        && condition.message.starts_with("401: the peer has a new UUID")
    {
        return HELD_TRUST.to_owned();
    }
    if is(ExchangeReason::NonOkResponse) && condition.message.starts_with("401") {
        return "it has no IstioFederation for this cluster, or cannot reach us; ask its operator to apply one with our trust domain and metadata \
                endpoint, and to let its controller reach that: it then knows us after a poll or two"
            .to_owned();
    }
    if is(ExchangeReason::NonOkResponse) || is(ExchangeReason::InvalidJson) {
        return format!(
            "{} is not the URL of the peer's metadata, or the peer's ingress intercepts it; set spec.metadataEndpoint to the part of the URL \
             before /public/public.json",
            peer.endpoint
        );
    }
    if is(ExchangeReason::TokenGenerationFailed) {
        return "it is not asked until this is resolved; check the line about its IstioFederation, and the controller's log".to_owned();
    }
    if is(ExchangeReason::InvalidPublicMetadata) || is(ExchangeReason::InvalidPrivateMetadata) {
        return "show this to the peer's operator; its previous document stays in use until the staleness limit"
            .to_owned();
    }
    "this resolves itself while a controller leads here; if it does not, see the controller's log"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{advice, readable};
    use fedgate_federation::federate::{ConditionStatus, ConditionType};
    use fedgate_federation::object::{IstioFederationSpec, Named};

    /// All reasons, as a chain; the match must grow with them.
    fn after(reason: ExchangeReason) -> Option<ExchangeReason> {
        use ExchangeReason::{
            AwaitingPublic, FetchFailed, InvalidJson, InvalidPrivateMetadata,
            InvalidPublicMetadata, NonOkResponse, Succeeded, TokenGenerationFailed,
        };
        match reason {
            Succeeded => Some(FetchFailed),
            FetchFailed => Some(NonOkResponse),
            NonOkResponse => Some(InvalidJson),
            InvalidJson => Some(InvalidPublicMetadata),
            InvalidPublicMetadata => Some(InvalidPrivateMetadata),
            InvalidPrivateMetadata => Some(TokenGenerationFailed),
            TokenGenerationFailed => Some(AwaitingPublic),
            AwaitingPublic => None,
        }
    }

    fn condition(reason: &str, message: &str) -> Condition {
        let (kind, status) = (ConditionType::PrivateMetadataExchangeReady, ConditionStatus::False);
        Condition { kind, status, reason: reason.to_owned(), message: message.to_owned() }
    }

    fn peer() -> Peer {
        let spec = IstioFederationSpec {
            trust_domain: "beta.example".to_owned(),
            metadata_endpoint: "https://meta.beta.example/metadata".to_owned(),
            ..IstioFederationSpec::default()
        };
        Peer::parse(&Named::new("beta", spec)).unwrap().0
    }

    const MESSAGES: [&str; 5] = [
        "TLS: the endpoint's certificate has expired",
        "cannot connect to the endpoint",
        "401: the peer does not know us yet",
        "401: the peer refuses the token: the clocks differ",
        "401: the peer has a new UUID, which is held here",
    ];

    #[test]
    fn every_hint_about_a_peer_says_what_to_do() {
        let reasons =
            std::iter::successors(Some(ExchangeReason::Succeeded), |reason| after(*reason));
        let exchanges = reasons.flat_map(|reason| {
            MESSAGES.map(|message| exchange(&condition(reason.word(), message), &peer()))
        });
        let standings = ["SameTrustDomain", "OurUuid", "UuidTaken", "NetworkOverlap", "InvalidCa"];
        let refusals = standings.map(|reason| refused(&condition(reason, "")).to_owned());
        let others = [
            GATEWAY,
            STALE,
            EXPIRED,
            HELD,
            HELD_TRUST,
            NAMES,
            ROWS,
            NETWORK,
            CLOCKS,
            ACKNOWLEDGED,
            FAR_SIDE,
        ]
        .map(str::to_owned);
        let unusable = ["ExpiredRoot", "RootNotYetValid", "IntermediateRoot", "InvalidRoot"];
        let unusable = unusable.map(|reason| roots(&condition(reason, "")).to_owned());
        let different: std::collections::BTreeSet<_> = unusable.iter().collect();
        assert_eq!(different.len(), unusable.len());
        let hints: Vec<_> = exchanges
            .chain(unusable)
            .chain(refusals)
            .chain(others)
            .map(|hint| format!("peer beta: {hint}"))
            .collect();
        readable::assert_readable(&hints, advice::problems_of_finding);
    }

    #[test]
    fn a_token_refused_because_of_clocks_gets_a_hint_about_clocks() {
        let of = |message: &str| exchange(&condition("NonOKResponse", message), &peer());
        assert!(of(MESSAGES[3]).contains("NTP") && !of(MESSAGES[3]).contains("IstioFederation"));
        assert!(of(MESSAGES[2]).contains("IstioFederation") && !of(MESSAGES[2]).contains("NTP"));
    }
}
