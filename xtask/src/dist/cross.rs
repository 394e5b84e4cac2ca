//! Optimized programs and native filter modules for each kind of processor, built on one machine.
//!
//! The program contains C code (aws-lc), so a Rust target alone is not enough. Zig's compiler has
//! musl, glibc and a linker for all of them, and comes as one package of PyPI.

use crate::wasm::{build_command, install_target};
use crate::{cargo, run, target, tests::step, tools};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const ZIGBUILD: &str = "0.24.1";
const ZIG: &str = "0.15.2";

/// What pip may install, with the SHA-256 of the wheels for x86_64 and aarch64.
const PINNED: [(&str, &str, [&str; 2]); 2] = [
    (
        "cargo-zigbuild",
        ZIGBUILD,
        [
            "238a1ab54a95053a4eadc34775c81f795a8ad75f80bfed63f3f445f518102375",
            "07c5e3dcddf208500462ec927c556bb306cca2b533b0abe29446bffb63767b85",
        ],
    ),
    (
        "ziglang",
        ZIG,
        [
            "806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130",
            "edc0aa60ec964a4cf462d40f68d7de242ddf37fd9a80f2afaee6397059463230",
        ],
    ),
];

/// The oldest glibc with which the native filter loads: that of Debian 10 and RHEL 8. Envoy's own
/// releases need no newer one.
const GLIBC: &str = "2.28";

/// A kind of processor.
pub(super) struct Processor {
    /// Its name in Debian and in container images.
    pub(super) name: &'static str,
    /// Its name in Rust's targets.
    rust: &'static str,
}

const AMD64: Processor = Processor { name: "amd64", rust: "x86_64" };
const ARM64: Processor = Processor { name: "arm64", rust: "aarch64" };

/// Those for which there are releases.
pub(super) static ALL: [Processor; 2] = [AMD64, ARM64];

impl Processor {
    pub(super) fn of_this_machine() -> Result<&'static Self> {
        let arch = std::env::consts::ARCH;
        match ALL.iter().find(|processor| processor.rust == arch) {
            Some(processor) => Ok(processor),
            None => bail!("there are no releases for {arch}, only for x86_64 and aarch64"),
        }
    }
}

/// What is built for one kind of processor.
pub(super) struct Built {
    pub(super) processor: &'static Processor,
    /// `fedgate`. In a release it is static.
    pub(super) program: PathBuf,
    pub(super) native_filter: PathBuf,
}

/// Builds for one kind of processor.
pub(super) fn build(processor: &'static Processor) -> Result<Built> {
    let zig = zig()?;
    let Processor { name, rust } = processor;
    // Linked with musl, the program needs no other files.
    let musl = format!("{rust}-unknown-linux-musl");
    install_target(&musl, "a release")?;
    step(&format!("building the static program for {name}; this takes minutes"));
    let folder = target().join("dist/build");
    let package = ["build", "--quiet", "--package", "fedgate", "--bin", "fedgate"];
    let mut program = cargo();
    program.args(package).args(["--profile", "image", "--target", &musl, "--target-dir"]);
    run(&mut with_zig(program.arg(&folder), &zig))?;
    let native_filter = native_filter(processor)?;
    Ok(Built { processor, program: folder.join(musl).join("image/fedgate"), native_filter })
}

/// Builds the native filter for one kind of processor, and returns its path.
pub(super) fn native_filter(Processor { name, rust }: &Processor) -> Result<PathBuf> {
    let zig = zig()?;
    let gnu = format!("{rust}-unknown-linux-gnu");
    install_target(&gnu, "a release")?;
    step(&format!("building the native filter for {name}"));
    let folder = target().join("dist/build");
    let mut filter = build_command("fedgate-filter-native", "native", &folder);
    run(&mut with_zig(filter.args(["--target", &format!("{gnu}.{GLIBC}")]), &zig))?;
    Ok(folder.join(gnu).join("native/libfedgate_filter_native.so"))
}

/// `cargo-zigbuild` in place of `cargo`, with the same arguments.
fn with_zig(cargo: &Command, zig: &Path) -> Command {
    let mut command = Command::new(zig.join("bin/cargo-zigbuild"));
    // Its command `zigbuild` takes the arguments of cargo's command `build`.
    command.arg("zigbuild").args(cargo.get_args().skip(1));
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = cargo.get_current_dir() {
        command.current_dir(folder);
    }
    command.env("CARGO_ZIGBUILD_ZIG_PATH", zig.join("ziglang/zig"));
    command
}

/// The folder with zig and cargo-zigbuild. Fetches them first if necessary.
fn zig() -> Result<PathBuf> {
    let folder = tools().join(format!("zig-{ZIG}-{ZIGBUILD}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("xtask: fetching zig {ZIG} from PyPI into {} (about 90 MB)", folder.display());
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    std::fs::create_dir_all(&partial)?;
    let requirements = partial.join("requirements.txt");
    std::fs::write(&requirements, pinned())?;
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--root-user-action=ignore"])
        .arg("--target")
        .arg(&partial)
        .arg("--requirement")
        .arg(&requirements))
    .context("cannot fetch zig from PyPI; this needs python3 with pip and access to PyPI")?;
    std::fs::rename(&partial, &folder)
        .with_context(|| format!("cannot rename {}", partial.display()))?;
    Ok(folder)
}

fn pinned() -> String {
    let line = |(name, version, hashes): &(&str, &str, [&str; 2])| {
        let hashes: String = hashes.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        format!("{name}=={version}{hashes}\n")
    };
    PINNED.iter().map(line).collect()
}
