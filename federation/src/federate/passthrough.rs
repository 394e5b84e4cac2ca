//! Exports whose TLS the gateway passes through to the workload.
//!
//! The gateway does not see the caller of such an export, so it cannot keep anyone out. An export
//! that must be closed to some peers or callers cannot be passed through. It is refused rather than
//! opened to all.
//!
//! The workload itself decides by the callers' identities who may call. For that, its sidecar has
//! to trust the peers' roots, each for its own trust domain, before the export is announced to any
//! peer.

use super::LocalCluster;
use super::offer::Offer;
use crate::finding::{Finding, FindingReason};
use crate::object::{
    GATEWAY_MODE_ANNOTATION, GatewayMode, PEERS_ANNOTATION, ServiceObject, TransportProtocol,
};
use fedgate_core::Callers;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether TLS can be passed through to workloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Passthrough {
    /// It cannot. The text says why, and what to do about it.
    Impossible(String),
    /// It can. The workloads of these Services (namespace and name) have been configured to trust
    /// the peers' roots.
    Prepared(BTreeSet<(String, String)>),
}

impl Default for Passthrough {
    /// Passthrough is impossible.
    fn default() -> Self {
        Self::Impossible("TLS cannot be passed through here: remove the annotation".to_owned())
    }
}

/// A Service that asks for TLS passthrough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassthroughService {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The labels of its workloads. Never empty.
    pub selector: BTreeMap<String, String>,
}

/// Checks that an offer can be made in its mode. A passthrough offer is added to `wanted` if it is
/// valid, whether its workloads are prepared yet or not.
pub(super) fn check(
    local: &LocalCluster,
    service: &ServiceObject,
    offer: &Offer,
    wanted: &mut Vec<PassthroughService>,
) -> Result<(), Box<Finding>> {
    if offer.mode == GatewayMode::Terminate {
        return Ok(());
    }
    let refused = |reason, field: &str, why: String| {
        let message = format!("{why}; until this is corrected the Service is not exported");
        Box::new(Finding::error(reason, service.object(), field, message))
    };
    let annotation = format!("metadata.annotations[{GATEWAY_MODE_ANNOTATION}]");
    let prepared = match &local.passthrough {
        Passthrough::Impossible(why) => {
            return Err(refused(FindingReason::PassthroughUnavailable, &annotation, why.clone()));
        }
        Passthrough::Prepared(prepared) => prepared,
    };
    if let Some(narrowed) = narrowed(service, offer) {
        return Err(refused(FindingReason::PassthroughRefused, &annotation, narrowed));
    }
    if service.selector.is_empty() {
        let why =
            "expected labels of the workloads, whose sidecars have to trust the peers' roots; found none".to_owned();
        return Err(refused(FindingReason::PassthroughRefused, "spec.selector", why));
    }
    let (namespace, name) = (service.namespace.clone(), service.name.clone());
    let is_prepared = prepared.contains(&(namespace.clone(), name.clone()));
    wanted.push(PassthroughService { namespace, name, selector: service.selector.clone() });
    if is_prepared {
        return Ok(());
    }
    let message = format!(
        "it is exported as soon as its workloads trust the peers' roots, by an EnvoyFilter in the namespace {}; if this stays, the \
         controller cannot write it; see its log",
        service.namespace
    );
    Err(Finding::warning(FindingReason::PassthroughPending, service.object(), annotation, message)
        .into())
}

/// Returns what the gateway would have to enforce but cannot: anything narrower than every peer and
/// every caller.
fn narrowed(service: &ServiceObject, offer: &Offer) -> Option<String> {
    const WHY: &str =
        "the gateway sees no callers where TLS is passed through, so it cannot keep out";
    if service.annotations.contains_key(PEERS_ANNOTATION) {
        return Some(format!(
            "{WHY} the peers that {PEERS_ANNOTATION} leaves out: remove that annotation and name the callers in the workload's \
             AuthorizationPolicy, or remove {GATEWAY_MODE_ANNOTATION}"
        ));
    }
    let tcp = offer.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
    let mut grants = tcp.flat_map(|port| port.grants.iter());
    let grant = grants.find(|grant| grant.callers() != Some(Callers::Any))?;
    Some(format!(
        "{WHY} whom a FederationPolicy keeps out (peer {}: {grant}): allow all callers of every peer there and name the callers in the \
         workload's AuthorizationPolicy, or remove {GATEWAY_MODE_ANNOTATION}",
        grant.peer
    ))
}
