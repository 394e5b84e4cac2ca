//! An earlier build of this project, made from its history, for tests of an upgrade and of a
//! rollback: controller and filter of different builds must work together.

use crate::wasm::{TARGET, install_target};
use crate::{root, run, target};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The commit that plays the previous release: the oldest whose filter and controller are promised
/// to work with today's. There is no release yet; once there is one, this is its commit.
///
/// Its listeners tell the filter only that the handshake is finished, where today's tell the name
/// in the certificate.
pub const COMMIT: &str = "a556382b9490e77529bdd6d192a0e559c654c3bf";

/// The debug information of the commit's own crates, which no other build has. Cargo names what it
/// compiles after a package's place in its workspace and its profile, so with the same profile, this
/// checkout's crates and the commit's would overwrite each other.
const APART: &str = "line-directives-only";

/// Builds the commit's filter if it is out of date, and returns its path.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn filter() -> Result<PathBuf> {
    install_target(TARGET, crate::wasm::FOR)?;
    let folder = target().join("previous/filter");
    run(cargo_there()?
        .args(["build", "--quiet", "--lib", "--package", "fedgate-filter", "--profile", "wasm"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join(TARGET).join("wasm/fedgate_filter.wasm"))
}

/// Builds the commit's `fedgate` if it is out of date, and returns its path.
///
/// It has a target folder of its own, but shares the crates of the registry that this checkout has
/// compiled already.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn fedgate() -> Result<PathBuf> {
    let folder = target().join("previous/fedgate");
    run(cargo_there()?
        .args(["build", "--quiet", "--workspace", "--bin", "fedgate", "--target-dir"])
        .arg(&folder)
        .env("CARGO_BUILD_BUILD_DIR", target())
        .env("CARGO_PROFILE_DEV_DEBUG", APART))?;
    Ok(folder.join("debug/fedgate"))
}

fn cargo_there() -> Result<Command> {
    let sources = sources()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(sources).env_remove("CARGO_TARGET_DIR");
    Ok(command)
}

/// The commit's files, in a folder of their own.
fn sources() -> Result<PathBuf> {
    let folder = target().join("previous/sources").join(COMMIT);
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("xtask: unpacking commit {COMMIT}, which plays the previous release");
    // Two tests may do this at once; the second rename fails, and both have the same files.
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial)?;
    unpack(&partial)?;
    if std::fs::rename(&partial, &folder).is_err() {
        std::fs::remove_dir_all(&partial)?;
    }
    ensure!(folder.is_dir(), "cannot create {}", folder.display());
    Ok(folder)
}

fn unpack(folder: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["archive", COMMIT]).stdout(Stdio::piped());
    let mut git = git.spawn().context("cannot run git")?;
    let archive = git.stdout.take().context("git has no output")?;
    let tar = Command::new("tar").arg("--extract").arg("-C").arg(folder).stdin(archive).status();
    ensure!(
        git.wait()?.success(),
        "the history lacks commit {COMMIT}, which the tests of an upgrade build; fetch it with `git fetch --unshallow`, \
         or clone the whole repository (for actions/checkout: fetch-depth: 0)"
    );
    ensure!(tar.context("cannot run tar")?.success(), "cannot unpack commit {COMMIT}");
    Ok(())
}
