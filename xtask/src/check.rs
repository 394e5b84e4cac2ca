//! Checks that do not run the project: formatting, lints, documentation, workflows, dependencies.

use crate::go::{Module, Program};
use crate::{cargo, run, target, tools, wasm};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The pinned release of cargo-deny.
pub const CARGO_DENY_VERSION: &str = "0.20.2";

/// Packages that run inside Envoy, so they are also linted for its target.
const IN_ENVOY: [&str; 4] = ["--package", "fedgate-core", "--package", "fedgate-filter"];

/// Checks that every file is formatted as `cargo fmt` would.
///
/// # Errors
/// When a file is not formatted, or rustfmt cannot be installed.
pub fn fmt() -> Result<()> {
    component("rustfmt", "cargo-fmt")?;
    run(cargo().args(["fmt", "--all", "--check"]))
}

/// Runs clippy for the native target, and for wasm on what runs inside Envoy. Warnings are errors.
///
/// # Errors
/// When clippy finds something, or clippy or the target cannot be installed.
pub fn clippy() -> Result<()> {
    component("clippy", "cargo-clippy")?;
    wasm::install_target(wasm::TARGET, wasm::FOR)?;
    let deny = ["--", "--deny", "warnings"];
    run(cargo()
        .args(["clippy", "--quiet", "--workspace", "--all-targets", "--all-features"])
        .args(deny))?;
    run(cargo()
        .args(["clippy", "--quiet", "--lib", "--target", wasm::TARGET])
        .args(IN_ENVOY)
        .args(deny))
}

/// Builds the documentation, including private items, since its readers change the code. Warnings
/// are errors.
///
/// # Errors
/// When rustdoc finds something.
pub fn doc() -> Result<()> {
    run(cargo()
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links"))
}

/// Checks the workflow files with a pinned actionlint: their keys, expressions, contexts, runners.
///
/// # Errors
/// When a workflow has a mistake, or actionlint cannot be built.
pub fn workflows() -> Result<()> {
    let actionlint = Module::new("actionlint").program(&Program {
        name: "actionlint",
        package: "github.com/rhysd/actionlint/cmd/actionlint",
        stamps: Vec::new(),
        tags: "",
        variable: "ACTIONLINT",
        takes: "about twenty seconds",
    })?;
    // actionlint calls these two if it finds them, in whatever version the machine has.
    let without = ["-shellcheck=", "-pyflakes="];
    // Named one by one, because it finds them by itself only in a checkout of Git.
    let folder = std::fs::read_dir(crate::root().join(".github/workflows"))?;
    let files = folder.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(!files.is_empty(), "there are no workflow files");
    run(Command::new(actionlint).current_dir(crate::root()).args(without).args(files))
}

/// Checks licences, sources and bans of all dependencies against `deny.toml`.
///
/// Advisories are not checked: their database comes from the network, and a new entry would fail a
/// commit that passed yesterday. To check them, run `cargo deny check advisories`.
///
/// # Errors
/// When a dependency breaks a rule, when cargo-deny cannot be built, or when crates of `Cargo.lock`
/// are missing and cannot be downloaded.
pub fn deny() -> Result<()> {
    let mut command = Command::new(cargo_deny()?);
    // cargo-deny reads the crates for all platforms, but a build downloads only those for this one.
    run(cargo().args(["fetch", "--quiet", "--locked"])).context(
        "cannot download the crates of Cargo.lock; run this once with access to crates.io",
    )?;
    run(command.current_dir(crate::root()).args([
        "--workspace",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// The path of cargo-deny. Builds it first if necessary.
///
/// # Errors
/// When it cannot be built.
pub fn cargo_deny() -> Result<PathBuf> {
    installed("cargo-deny", CARGO_DENY_VERSION, &[])
}

/// The path of a program from crates.io, without its default features but with those in `features`.
/// Builds it first if necessary.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn installed(name: &str, version: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = tools().join(format!("{name}-{version}"));
    let binary = folder.join("bin").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    if !binary.is_file() {
        eprintln!(
            "xtask: building {name} {version} into {}, the first time only",
            folder.display()
        );
        // Unoptimized, it compiles in a fraction of the time, and it only has to read a few files.
        run(cargo()
            .args(["install", "--quiet", "--locked", "--debug", "--no-default-features", "--root"])
            .arg(&folder)
            .args([name, "--version", version])
            .args(features)
            .env("CARGO_TARGET_DIR", target().join(name))
            .env_remove("RUSTFLAGS"))
        .with_context(|| {
            format!("cannot build {name}; the first run needs access to crates.io and a C compiler")
        })?;
    }
    Ok(binary)
}

/// Installs a component of the toolchain if it is missing.
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
    eprintln!("xtask: installing {name} with rustup");
    run(Command::new("rustup").current_dir(crate::root()).args(["component", "add", name]))
        .with_context(|| {
            format!("cannot install {name}; run `rustup component add {name}` yourself")
        })
}
