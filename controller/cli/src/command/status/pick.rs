//! The part of a status that is about some peers.

use anyhow::{Result, bail};
use fedgate_engine::federated::MemberStatus;
use fedgate_engine::status::Status;
use fedgate_federation::FindingReason;

/// What the status says of these peers; everything if there is none.
///
/// # Errors
/// If there is no peer of such a name.
pub(in crate::command) fn peers(mut status: Status, names: &[String]) -> Result<Status> {
    if names.is_empty() {
        return Ok(status);
    }
    let unknown: Vec<_> = names.iter().filter(|name| !is_known(&status, name)).cloned().collect();
    if !unknown.is_empty() {
        let known: Vec<_> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "no peer".to_owned() } else { known.join(", ") };
        bail!(
            "peer {}: there is no IstioFederation of this name; expected one of the peers, found {known}",
            unknown.join(", ")
        );
    }
    let is_wanted = |name: &str| names.iter().any(|wanted| wanted == name);
    status.peers.retain(|peer| is_wanted(&peer.name));
    status.exports.retain(|export| {
        export.granted_to.iter().chain(&export.audited).any(|peer| is_wanted(peer))
    });
    status.imports.retain(|import| is_wanted(&import.peer));
    let of_peer = |member: &MemberStatus| member.peer.as_deref().is_some_and(is_wanted);
    status.federated_services.retain(|name| name.members.iter().any(of_peer));
    // An Envoy that does not run concerns every peer.
    status.findings.retain(|finding| {
        is_wanted(&finding.object.name) || finding.reason == FindingReason::EnvoyNotRunning
    });
    Ok(status)
}

/// Returns true if a peer of this name is in the status.
pub(super) fn is_known(status: &Status, name: &str) -> bool {
    status.peers.iter().any(|peer| peer.name == name)
}
