//! The imports: what can be reached at the peers.

use super::{Query, Rows, Words, cut};
use crate::counters::Traffic;
use crate::feed::Look;
use fedgate_engine::status::ImportStatus;
use jiff::Timestamp;
use serde::Serialize;

/// An import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportRow {
    service: String,
    peer: String,
    protocol: String,
    /// Where programs reach it.
    location: String,
    reachable: bool,
    gateways: Vec<String>,
    confirmed: Option<Timestamp>,
    /// The calls from here; `None` if that is not known.
    calls: Option<Traffic>,
}

/// Some rows of the list of imports. `peers` is the name of a peer that must offer them; the state
/// `unreachable` is for imports without a local port.
pub(crate) fn imports(look: &Look, query: &Query) -> Rows<ImportRow> {
    let words = Words::of(&query.search);
    let all = &look.status.imports;
    let is_found = |import: &&ImportStatus| {
        let is_peers = query.peers.is_empty() || import.peer == query.peers;
        let fits = query.state != "unreachable" || location(import).is_none();
        is_peers
            && fits
            && words.are_in(&[import.service.host.as_str(), &import.peer.to_lowercase()])
    };
    let found: Vec<_> = all.iter().filter(is_found).collect();
    let calls = look.around.calls.as_ref().ok();
    cut(all.len(), &found, query, |import| {
        let location = location(import);
        ImportRow {
            service: import.service.to_string(),
            peer: import.peer.clone(),
            protocol: import.protocol.clone(),
            reachable: location.is_some(),
            location: location.unwrap_or_else(|| "at no port: none is left".to_owned()),
            gateways: import.gateways.clone(),
            confirmed: import.confirmed,
            calls: calls
                .map(|calls| calls.by_import.get(&import.service).copied().unwrap_or_default()),
        }
    })
}

fn location(import: &ImportStatus) -> Option<String> {
    match import.address {
        _ if import.in_mesh => Some("in the mesh".to_owned()),
        Some(address) => Some(format!("at {address}")),
        None => None,
    }
}
