//! The filter module. Every command that loads it builds it first, so that no test runs with an old
//! one.

use crate::{cargo, run, target};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The module's target, which has no WASI imports: the filter needs only proxy-wasm of its host.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What needs this target, for messages.
pub(crate) const FOR: &str = "the gateway filter";

/// Builds the filter module if it is out of date, and returns its path.
///
/// It has its own target folder, so that a test under cargo never waits for the lock of the cargo
/// that runs it.
///
/// # Errors
/// When the wasm target cannot be installed, or the module does not compile.
pub fn build() -> Result<PathBuf> {
    install_target(TARGET, FOR)?;
    let folder = target().join("filter");
    run(build_command("fedgate-filter", "wasm", &folder).args(["--target", TARGET]))?;
    Ok(folder.join(TARGET).join("wasm/fedgate_filter.wasm"))
}

/// The command that builds a filter module into a target folder of its own. Flags for the tests
/// (sanitizers, coverage) must not affect the module.
pub(crate) fn build_command(package: &str, profile: &str, folder: &Path) -> Command {
    build_command_of(cargo(), package, profile, folder)
}

/// The same with a `cargo` of another checkout.
pub(crate) fn build_command_of(
    mut cargo: Command,
    package: &str,
    profile: &str,
    folder: &Path,
) -> Command {
    cargo
        .args(["build", "--quiet", "--lib", "--package", package, "--profile", profile])
        .arg("--target-dir")
        .arg(folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// Installs a Rust target if it is missing; `who` needs it. `rust-toolchain.toml` lists the
/// filter's target, but rustup does not install it if auto-install is off.
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
