use crate::seeds::example;
use fedgate_core::{
    Grant, Options, Outcome, Peer, Sni, SpiffeId, Table, TableBuilder, admit, decide,
    decide_passthrough, read_configuration, write_configuration,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A table, unchanged.
pub fn table(data: &[u8]) {
    if let Ok(table) = Table::read(data) {
        check_consistency(&table);
    }
}

/// A table without its checksum, which is appended so that the fuzzer gets past it.
pub fn sealed_table(data: &[u8]) {
    table(&[data, &Sha256::digest(data)].concat());
}

/// A plugin's configuration.
pub fn configuration(data: &[u8]) {
    if let Ok((table, options)) = read_configuration(data) {
        let again = serde_json::to_vec(&write_configuration(&table, options)).unwrap();
        let (again, again_options) = read_configuration(&again).unwrap();
        assert_eq!((again.as_bytes(), again_options), (table.as_bytes(), options));
    }
}

/// A server name and an identity, separated by a zero byte, against a valid table.
pub fn decision(data: &[u8]) {
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(example(100)).unwrap());
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (server_name, uri_san) = text.split_once('\0').unwrap_or((text, ""));
    let decision = decide(&TABLE, Some(server_name), Some(uri_san));
    let sni = Sni::parse(server_name);
    let is_exported =
        sni.as_ref().is_ok_and(|sni| TABLE.exports().any(|(service, _)| service == sni.service()));
    assert_eq!(admit(&TABLE, Some(server_name)).is_ok(), is_exported);
    if decision.outcome != Outcome::Refused {
        let id = SpiffeId::parse(uri_san).unwrap();
        assert!(is_exported && decision.peer.unwrap().trust_domain == id.trust_domain());
    }
}

/// An accepted table gives consistent answers, and is exactly what the builder would have written.
fn check_consistency(table: &Table) {
    let exports: Vec<_> = table.exports().collect();
    assert_eq!(exports.len(), table.rows() as usize);
    for (service, export) in exports {
        assert_eq!(table.export(service.host.as_str(), service.port), Some(export));
        // A table may contain a service whose server name is too long for TLS; no client can call
        // it.
        if Sni::parse(&service.sni()).is_err() {
            continue;
        }
        // A service is either terminated or passed through, never both.
        let passes = decide_passthrough(table, Some(&service.sni())).outcome.passes();
        assert_eq!(
            (passes, admit(table, Some(&service.sni())).is_err()),
            (export.is_passthrough(), export.is_passthrough())
        );
        for peer in table.peers() {
            decide(
                table,
                Some(&service.sni()),
                Some(&format!("spiffe://{}/ns/a/sa/b", peer.trust_domain)),
            );
        }
    }
    for peer in table.peers() {
        assert_eq!(table.peer_of(peer.trust_domain), Some(peer));
    }
    assert_eq!(rebuilt(table).build(table.generation()).unwrap(), table.as_bytes());
    let json = serde_json::to_vec(&write_configuration(table, Options::default())).unwrap();
    assert_eq!(read_configuration(&json).unwrap().0.as_bytes(), table.as_bytes());
}

/// A builder with the table's content.
fn rebuilt(table: &Table) -> TableBuilder {
    let mut builder = TableBuilder::new(table.trust_domain().parse().unwrap());
    let mut indices = BTreeMap::new();
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
