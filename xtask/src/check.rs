//! Checks that run nothing of the project: formatting, lints, documentation, dependencies.

use crate::{cargo, run, target, tools, wasm};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The pinned release of cargo-deny.
pub const CARGO_DENY_VERSION: &str = "0.20.2";

/// The packages that run inside Envoy, so they are linted for its target too.
const IN_ENVOY: [&str; 4] = ["--package", "fedgate-core", "--package", "fedgate-filter"];

/// Whether every file is as `cargo fmt` would write it.
///
/// # Errors
/// When one is not, or rustfmt cannot be installed.
pub fn fmt() -> Result<()> {
    component("rustfmt", "cargo-fmt")?;
    run(cargo().args(["fmt", "--all", "--check"]))
}

/// Clippy without a warning: all targets natively, and what runs inside Envoy for its target.
///
/// # Errors
/// When it finds something, or clippy or the target cannot be installed.
pub fn clippy() -> Result<()> {
    component("clippy", "cargo-clippy")?;
    wasm::install_target(wasm::TARGET, wasm::FOR)?;
    let deny = ["--", "--deny", "warnings"];
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--all-features"]).args(deny))?;
    run(cargo().args(["clippy", "--quiet", "--lib", "--target", wasm::TARGET]).args(IN_ENVOY).args(deny))
}

/// The documentation without a warning, private items included: it is for those who change the code.
///
/// # Errors
/// When rustdoc finds something.
pub fn doc() -> Result<()> {
    run(cargo()
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Licenses, sources and duplicates of all dependencies, by `deny.toml`.
///
/// Advisories need a database from the network, which would make yesterday's green commit fail today; who wants to
/// know runs `cargo deny check advisories`.
///
/// # Errors
/// When a dependency is against the rules, or cargo-deny cannot be installed.
pub fn deny() -> Result<()> {
    let mut command = Command::new(cargo_deny()?);
    // Those of all platforms are looked at, and a build downloads only what this one needs.
    run(cargo().args(["fetch", "--quiet", "--locked"]))?;
    run(command.current_dir(crate::root()).args(["--workspace", "--offline", "check", "bans", "licenses", "sources"]))
}

/// The path of cargo-deny, which is built first when there is none.
///
/// # Errors
/// When it cannot be built.
pub fn cargo_deny() -> Result<PathBuf> {
    let folder = tools().join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    let binary = folder.join("bin/cargo-deny").with_extension(std::env::consts::EXE_EXTENSION);
    if !binary.is_file() {
        eprintln!("building cargo-deny {CARGO_DENY_VERSION} into {}, once", folder.display());
        // Not optimized: it compiles in a fraction of the time, and looks at one lock file.
        run(cargo()
            .args(["install", "--quiet", "--locked", "--debug", "--no-default-features", "--root"])
            .arg(&folder)
            .args(["cargo-deny", "--version", CARGO_DENY_VERSION])
            .env("CARGO_TARGET_DIR", target().join("cargo-deny"))
            .env_remove("RUSTFLAGS"))?;
    }
    Ok(binary)
}

/// Installs a component of the toolchain where rustup has not done so.
fn component(name: &str, program: &str) -> Result<()> {
    let found = Command::new(program)
        .current_dir(crate::root())
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if found {
        return Ok(());
    }
    eprintln!("installing {name} with rustup");
    run(Command::new("rustup").current_dir(crate::root()).args(["component", "add", name]))
        .with_context(|| format!("{name} is missing; install it with `rustup component add {name}`"))
}
