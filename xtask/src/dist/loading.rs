//! The native filter, linked as in a release, on a real Envoy.
//!
//! The tests load one that the machine's own linker made. A release's is linked by zig against an
//! old glibc. An Envoy that cannot load it would start without a listener.

use crate::tests::{self, step};
use anyhow::{Context, Result};
use std::path::Path;

/// Runs the test of two clusters, one allowed call and two refused ones, with this module.
pub(super) fn check(module: &Path) -> Result<()> {
    step("loading the release's native filter into a real Envoy");
    tests::smoke_natively(module)
        .with_context(|| format!("{} does not do its work in Envoy", module.display()))
}
