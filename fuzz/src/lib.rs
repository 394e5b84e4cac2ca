//! What is fuzzed: one function for each parser that reads a stranger's bytes. It panics when something is wrong, and so does
//! the parser.
//!
//! The functions are plain, so that `tests/smoke.rs` runs them on a stable compiler; `fuzz_targets` hands them to libFuzzer.

mod names;
mod seeds;
mod table;

pub use names::{sni, spiffe_id};
pub use seeds::seeds;
pub use table::{configuration, decision, sealed_table, table};

/// A target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("table", table),
    ("sealed_table", sealed_table),
    ("decision", decision),
    ("sni", sni),
    ("spiffe_id", spiffe_id),
    ("configuration", configuration),
];
