//! What to do, for each reason of a peer's conditions.

use fedgate_federation::federate::Condition;
use fedgate_federation::knowledge::ExchangeReason;
use fedgate_federation::object::Peer;

pub(super) const GATEWAY: &str = "calls to it end there: see firewalls between the clusters, the peer's gateway Service, and the roots that its gateway shows";
pub(super) const ROOTS: &str =
    "certificates by these roots are refused; its operator publishes roots that are valid, or compare the clocks";
pub(super) const STALE: &str =
    "it is still used; see the lines about its metadata, and whether a controller leads here";
pub(super) const EXPIRED: &str =
    "its services are gone from here until it answers again; see the lines about its metadata";
pub(super) const HELD: &str =
    "what was known stays in use; ask its operator whether it withdrew its Services on purpose";
pub(super) const NAMES: &str = "the rest of it is used; its operator should set its cluster domain to its trust domain";
pub(super) const ROWS: &str =
    "the rest of it is used; show this to its operator, or look for a newer version of fedgate";
pub(super) const NETWORK: &str =
    "Pods of the two can never talk directly; give one of the clusters other CIDRs, or another network name";
pub(super) const CLOCKS: &str =
    "see to NTP on both sides; from a difference of a minute on, metadata is refused (401) or will be";
pub(super) const ACKNOWLEDGED: &str =
    "do not sign with the new root yet; this passes by itself when its controller runs";

/// Why a peer takes no part.
pub(super) fn refused(condition: &Condition) -> &'static str {
    match condition.reason.as_str() {
        "SameTrustDomain" => "two IstioFederations have its trust domain; delete the one that is wrong",
        "OurUuid" => {
            "its cluster has our UUID, as after copying our Secret fedgate-identity; its operator should make it anew"
        }
        "UuidTaken" => {
            "it has another peer's UUID, as after copying that one's Secret; ask both operators which of them is the copy"
        }
        "NetworkOverlap" => {
            "in one network all Pod and Service CIDRs must be different; renumber one, or give it another network name"
        }
        _ => "fix the object; `kubectl explain istiofederation.spec` helps",
    }
}

/// Why metadata cannot be exchanged.
pub(super) fn exchange(condition: &Condition, peer: &Peer) -> String {
    let (host, port) = (peer.endpoint.host(), peer.endpoint.port());
    let is = |reason: ExchangeReason| condition.reason == reason.word();
    if is(ExchangeReason::FetchFailed) && condition.message.starts_with("TLS") {
        return format!(
            "spec.metadata.ca must have the CA of the endpoint's certificate; `openssl s_client -connect {host}:{port}` shows what it has"
        );
    }
    if is(ExchangeReason::FetchFailed) {
        return format!(
            "the controller's Pods must reach {host}:{port}: see DNS, firewalls and NetworkPolicies, and whether the peer's controller runs"
        );
    }
    if is(ExchangeReason::NonOkResponse) && condition.message.starts_with("401") {
        return "the peer's operator applies an IstioFederation with our trust domain and metadata endpoint, and its controller must reach \
                that; it then knows us after a poll or two"
            .to_owned();
    }
    if is(ExchangeReason::NonOkResponse) || is(ExchangeReason::InvalidJson) {
        return format!(
            "spec.metadataEndpoint must be what stands before /public/public.json at the peer; {} is not, or its ingress is in the way",
            peer.endpoint
        );
    }
    if is(ExchangeReason::TokenGenerationFailed) {
        return "see the line about its IstioFederation, and the controller's log".to_owned();
    }
    if is(ExchangeReason::InvalidPublicMetadata) || is(ExchangeReason::InvalidPrivateMetadata) {
        return "show this to the peer's operator; what was known of it stays in use until the staleness limit"
            .to_owned();
    }
    "it passes by itself when a controller leads here; else its log says more".to_owned()
}
