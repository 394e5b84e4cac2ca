//! Code shared by the tests in this folder.
#![allow(dead_code, unreachable_pub)]

pub mod model;
pub mod realistic;
pub mod strategies;

use fedgate_core::{Grant, Peer, Table, TableBuilder};
use sha2::{Digest, Sha256};

/// Corrects the checksum at the end.
pub fn seal(bytes: &mut [u8]) {
    if let Some((content, hash)) = bytes.split_last_chunk_mut::<32>() {
        *hash = Sha256::digest(content).into();
    }
}

/// A builder with the table's content.
pub fn rebuilt(table: &Table) -> TableBuilder {
    let mut builder = TableBuilder::new(table.trust_domain().parse().unwrap());
    let mut indices = std::collections::BTreeMap::new();
    for row in table.peers() {
        let trust_domain = row.trust_domain.parse().unwrap();
        let peer = Peer { name: row.name.parse().unwrap(), trust_domain, mode: row.mode };
        indices.insert(row.trust_domain, builder.peer(peer).unwrap());
    }
    for (service, export) in table.exports() {
        if export.is_passthrough() {
            builder.passthrough(service).unwrap();
            continue;
        }
        let grants = table.grants(export).into_iter();
        let grants =
            grants.map(|(peer, callers)| Grant { peer: indices[peer.trust_domain], callers });
        builder.export(service, grants.collect()).unwrap();
    }
    builder
}
