//! The files of the container image: a static `fedgate` and both filter modules.

use crate::{cargo, native, run, target, wasm};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program's target. Linked with musl, it needs no other files.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The C compiler for this target: aws-lc and ring contain C and assembly.
const COMPILER: &str = "musl-gcc";

/// Builds them and returns the folder that `deploy/Dockerfile` copies from, `target/image-files`.
///
/// # Errors
/// When the target or its C compiler is missing, or something does not compile.
pub fn files() -> Result<PathBuf> {
    let found = Command::new(COMPILER)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "cannot run {COMPILER}, which compiles the C code of a static program; install musl (on Debian and Ubuntu: the package musl-tools)"
    );
    wasm::install_target(TARGET, "the program in the container image")?;
    let build = target().join("image");
    run(cargo()
        .args([
            "build",
            "--quiet",
            "--package",
            "fedgate",
            "--bin",
            "fedgate",
            "--profile",
            "image",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&build))?;
    let program = build.join(TARGET).join("image/fedgate");
    let folder = target().join("image-files");
    std::fs::create_dir_all(&folder)?;
    copy(&program, &folder.join("fedgate"))?;
    copy(&wasm::build()?, &folder.join("fedgate_filter.wasm"))?;
    copy(&native::build()?, &folder.join("libfedgate_filter_native.so"))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
