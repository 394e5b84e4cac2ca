//! A pinned CoreDNS, for the tests of names.

use crate::go::{Module, Program};
use anyhow::Result;
use std::path::PathBuf;

/// The path of CoreDNS, with the plugins that the tests use. Builds it first if necessary.
///
/// # Errors
/// When `COREDNS` does not name a file, or CoreDNS cannot be built; the message says what to do.
pub fn coredns() -> Result<PathBuf> {
    Module::new("coredns").program(&Program {
        name: "coredns",
        package: ".",
        stamps: Vec::new(),
        tags: "",
        variable: "COREDNS",
        takes: "about half a minute",
    })
}
