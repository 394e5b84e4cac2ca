//! The matrix of services by peers, cut to what is visible.

use super::exports::{decided, find, verdict};
use super::{Query, Words};
use crate::feed::Look;
use serde::Serialize;

/// The most columns of an answer.
const MOST_COLUMNS: usize = 60;
/// The most rows of an answer.
const MOST_ROWS: usize = 100;

/// A part of the matrix.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Matrix {
    services: usize,
    peers: usize,
    offset: usize,
    column: usize,
    columns: Vec<String>,
    rows: Vec<MatrixRow>,
}

#[derive(Debug, Serialize)]
struct MatrixRow {
    service: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    /// `granted`, `some`, `audited` or `refused`.
    verdict: &'static str,
    /// Who decided, in the words of `fedgate explain`.
    decided: String,
}

/// The part of the matrix that a query asks for: `search` is for services, `peers` for peers.
pub(crate) fn matrix(look: &Look, query: &Query) -> Matrix {
    let (services, peers) = (Words::of(&query.search), Words::of(&query.peers));
    let exports: Vec<_> = look
        .in_force
        .federation
        .exports
        .iter()
        .filter(|export| services.are_in(&[export.service.host.as_str(), &export.port_name]))
        .collect();
    let names: Vec<_> = look
        .status
        .peers
        .iter()
        .filter(|peer| peers.are_in(&[&peer.name.to_lowercase(), &peer.trust_domain]))
        .map(|peer| peer.name.as_str())
        .collect();
    let (offset, column) = (query.offset.min(exports.len()), query.column.min(names.len()));
    let columns: Vec<_> =
        names[column..].iter().take(query.columns.clamp(1, MOST_COLUMNS)).copied().collect();
    let rows = exports[offset..].iter().take(query.limit.clamp(1, MOST_ROWS));
    let cell = |export: &fedgate_federation::federate::Export, peer: &str| match find(
        &export.grants,
        peer,
    ) {
        Some(grant) => Cell { verdict: verdict(grant).0, decided: decided(grant) },
        None => Cell { verdict: "refused", decided: "the peer is not accepted".to_owned() },
    };
    Matrix {
        services: exports.len(),
        peers: names.len(),
        offset,
        column,
        rows: rows
            .map(|export| MatrixRow {
                service: export.service.to_string(),
                cells: columns.iter().map(|peer| cell(export, peer)).collect(),
            })
            .collect(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    }
}
