//! An earlier build of this project, made from its history, for tests of an upgrade and of a
//! rollback: controller and filter of different builds must work together.

use crate::wasm::{TARGET, build_command_of, install_target};
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

/// The oldest commit whose native filter is promised to work with today's controller. [`COMMIT`] has
/// no native filter. Once there is a release, both are its commit.
pub const NATIVE_COMMIT: &str = "2f915ae814fe5fd3b4e34278707bd7d771d3ed3a";

/// The debug information of the commit's own crates, which no other build has. Cargo names what it
/// compiles after a package's place in its workspace and its profile, so with the same profile, this
/// checkout's crates and the commit's would overwrite each other.
const APART: &str = "line-directives-only";

/// The same for [`NATIVE_COMMIT`], which is also apart from [`COMMIT`].
const APART_FROM_BOTH: &str = "none";

/// Builds the commit's filter if it is out of date, and returns its path.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn filter() -> Result<PathBuf> {
    install_target(TARGET, crate::wasm::FOR)?;
    let folder = target().join("previous/filter");
    let mut build = build_there(COMMIT, "fedgate-filter", "wasm", &folder)?;
    run(build.args(["--target", TARGET]))?;
    Ok(folder.join(TARGET).join("wasm/fedgate_filter.wasm"))
}

/// Builds the native filter of [`NATIVE_COMMIT`] if it is out of date, and returns its path. It is
/// not optimized, since that takes a minute and changes no answer.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn native_filter() -> Result<PathBuf> {
    let folder = target().join("previous/filter-native");
    run(build_there(NATIVE_COMMIT, "fedgate-filter-native", "dev", &folder)?
        .env("CARGO_BUILD_BUILD_DIR", target())
        .env("CARGO_PROFILE_DEV_DEBUG", APART_FROM_BOTH))?;
    Ok(folder.join("debug/libfedgate_filter_native.so"))
}

/// The command that builds a commit's filter module into a target folder of its own.
fn build_there(commit: &str, package: &str, profile: &str, folder: &Path) -> Result<Command> {
    Ok(build_command_of(cargo_there(commit)?, package, profile, folder))
}

/// Builds the commit's `fedgate` if it is out of date, and returns its path.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn fedgate() -> Result<PathBuf> {
    fedgate_of(COMMIT, APART, "previous/fedgate")
}

/// Builds the `fedgate` of [`NATIVE_COMMIT`] if it is out of date, and returns its path.
///
/// # Errors
/// When the commit is missing, or does not compile.
pub fn native_fedgate() -> Result<PathBuf> {
    fedgate_of(NATIVE_COMMIT, APART_FROM_BOTH, "previous/fedgate-native")
}

/// Builds a commit's `fedgate` into a target folder of its own, which shares the crates of the
/// registry that this checkout has compiled already.
fn fedgate_of(commit: &str, apart: &str, folder: &str) -> Result<PathBuf> {
    let folder = target().join(folder);
    run(cargo_there(commit)?
        .args(["build", "--quiet", "--workspace", "--bin", "fedgate", "--target-dir"])
        .arg(&folder)
        .env("CARGO_BUILD_BUILD_DIR", target())
        .env("CARGO_PROFILE_DEV_DEBUG", apart))?;
    Ok(folder.join("debug/fedgate"))
}

/// The commit's Helm chart.
///
/// # Errors
/// When the commit is missing.
pub fn chart() -> Result<PathBuf> {
    Ok(sources(COMMIT)?.join("deploy/chart"))
}

fn cargo_there(commit: &str) -> Result<Command> {
    let sources = sources(commit)?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(sources).env_remove("CARGO_TARGET_DIR");
    Ok(command)
}

/// A commit's files, in a folder of their own.
fn sources(commit: &str) -> Result<PathBuf> {
    let folder = target().join("previous/sources").join(commit);
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("xtask: unpacking commit {commit}, which plays the previous release");
    // Two tests may do this at once; the second rename fails, and both have the same files.
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial)?;
    unpack(commit, &partial)?;
    if std::fs::rename(&partial, &folder).is_err() {
        std::fs::remove_dir_all(&partial)?;
    }
    ensure!(folder.is_dir(), "cannot create {}", folder.display());
    Ok(folder)
}

fn unpack(commit: &str, folder: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["archive", commit]).stdout(Stdio::piped());
    let mut git = git.spawn().context("cannot run git")?;
    let archive = git.stdout.take().context("git has no output")?;
    let tar = Command::new("tar").arg("--extract").arg("-C").arg(folder).stdin(archive).status();
    ensure!(
        git.wait()?.success(),
        "the history lacks commit {commit}, which the tests of an upgrade build; fetch it with `git fetch --unshallow`, \
         or clone the whole repository (for actions/checkout: fetch-depth: 0)"
    );
    ensure!(tar.context("cannot run tar")?.success(), "cannot unpack commit {commit}");
    Ok(())
}
