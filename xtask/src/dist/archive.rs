//! Archives that have the same bytes whoever makes them: sorted names, no owners, one time.

use super::staging::Stage;
use super::version::Release;
use crate::run;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packs a stage into `NAME.tar.gz`. Everything in it is below its name.
pub(super) fn pack(release: &Release, stage: &Stage, folder: &Path) -> Result<()> {
    let parent = stage.folder.parent().unwrap_or(Path::new(""));
    let file = folder.join(format!("{}.tar.gz", stage.name()));
    pack_as(release, parent, &stage.name(), &file)
}

/// Packs `name` in `folder` into a file.
pub(super) fn pack_as(release: &Release, folder: &Path, name: &str, file: &Path) -> Result<()> {
    run(Command::new("tar")
        .args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0"])
        .arg("--numeric-owner")
        .arg(format!("--mtime=@{}", release.epoch))
        // -n: no name and time in gzip's header.
        .arg(format!("--use-compress-program=gzip -{}n", release.level))
        .arg("--file")
        .arg(file)
        .arg("--directory")
        .arg(folder)
        .arg(name))
    .with_context(|| format!("cannot pack {}; this needs GNU tar and gzip", file.display()))
}

/// Unpacks an archive into a folder, which is emptied first.
pub(super) fn unpack(file: &Path, folder: PathBuf) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    run(Command::new("tar")
        .args(["--extract", "--touch", "--file"])
        .arg(file)
        .arg("-C")
        .arg(&folder))?;
    Ok(folder)
}
