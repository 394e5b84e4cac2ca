//! The fuzz targets: one function for each parser that reads untrusted bytes. If the parser panics
//! or a check of its result fails, the target panics.
//!
//! The targets are plain functions, so `bin/brief.rs` can run them on a stable compiler; `fuzz_targets` passes them to libFuzzer.

mod header;
mod mutate;
mod names;
mod peer;
mod seeds;
mod table;

pub use header::{
    authorization, date, entity_tag, if_none_match, prefer, proxy_header, quoted,
};
pub use mutate::mutate;
pub use names::{sni, spiffe_id};
pub use peer::{certificate, private_document, public_document, signature, spiffe_bundle, token};
pub use seeds::seeds;
pub use table::{configuration, decision, sealed_table, table};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 19] = [
    ("table", table),
    ("sealed_table", sealed_table),
    ("decision", decision),
    ("sni", sni),
    ("spiffe_id", spiffe_id),
    ("configuration", configuration),
    ("public_document", public_document),
    ("private_document", private_document),
    ("spiffe_bundle", spiffe_bundle),
    ("certificate", certificate),
    ("token", token),
    ("authorization", authorization),
    ("if_none_match", if_none_match),
    ("prefer", prefer),
    ("entity_tag", entity_tag),
    ("date", date),
    ("quoted", quoted),
    ("signature", signature),
    ("proxy_header", proxy_header),
];
