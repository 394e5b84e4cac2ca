//! A program that reads bundles with SPIFFE's own library, for the tests.

use crate::go::{Module, Program};
use anyhow::Result;
use std::path::PathBuf;

/// The path of the program, `spiffe-bundle`. Builds it first if necessary.
///
/// # Errors
/// When `SPIFFE_BUNDLE` does not name a file, or it cannot be built; the message says what to do.
pub fn bundle() -> Result<PathBuf> {
    Module::new("spiffe").program(&Program {
        name: "spiffe-bundle",
        package: ".",
        stamps: Vec::new(),
        tags: "",
        variable: "SPIFFE_BUNDLE",
        takes: "about ten seconds",
    })
}
