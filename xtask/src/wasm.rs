//! The filter module. Whoever loads it builds it, so that no test runs with an old one.

use crate::{cargo, run, target};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The module's target. It has no WASI imports: the filter needs nothing of its host but proxy-wasm.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What needs it, for messages.
pub(crate) const FOR: &str = "the gateway filter";

/// Builds the filter module if it is not up to date, and returns its path.
///
/// It has a target folder of its own, so that a test that runs under cargo never waits for the lock of the cargo that
/// runs it.
///
/// # Errors
/// When the wasm target cannot be installed, or the module does not compile.
pub fn build() -> Result<PathBuf> {
    install_target(TARGET, FOR)?;
    let folder = target().join("filter");
    run(cargo()
        .args(["build", "--quiet", "--package", "fedgate-filter", "--lib", "--profile", "wasm", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        // Flags meant for native code (sanitizers, coverage) must not reach the module.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join(TARGET).join("wasm/fedgate_filter.wasm"))
}

/// Installs a Rust target where it is missing; `who` needs it. `rust-toolchain.toml` names the filter's, but rustup does not install it by
/// itself where auto-install is off.
pub(crate) fn install_target(target: &str, who: &str) -> Result<()> {
    let output = Command::new("rustc")
        .current_dir(crate::root())
        .args(["--print", "target-libdir", "--target", target])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run rustc; install Rust with rustup (https://rustup.rs)")?;
    if PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    eprintln!("xtask: installing the Rust target {target} with rustup");
    run(Command::new("rustup").current_dir(crate::root()).args(["target", "add", target])).with_context(|| {
        format!("cannot install the Rust target {target}, which {who} needs; run `rustup target add {target}` yourself")
    })
}
