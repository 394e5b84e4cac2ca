//! A release: everything that a version ships, in one folder, made by one recipe from a tag or from
//! a checkout.
//!
//! | module | what it makes or checks |
//! | --- | --- |
//! | [`archive`] | archives with the same bytes in each run |
//! | [`bill`] | the bill of materials (SBOM) |
//! | [`chart`] | the chart's package |
//! | [`checksums`] | `SHA256SUMS` |
//! | [`cross`] | optimized programs and filter modules for each kind of processor |
//! | [`debian`] | the package for Debian and Ubuntu |
//! | [`help`] | completions and manual pages |
//! | [`installation`] | what installing, removing and purging that package does |
//! | [`loading`] | the native filter of a release, on a real Envoy |
//! | [`signature`] | a signature of `SHA256SUMS` |
//! | [`staging`] | files put in place before they are packed |
//! | [`version`] | the version, its time and its notes |

mod archive;
mod bill;
mod chart;
mod checksums;
mod cross;
mod debian;
mod help;
mod installation;
mod loading;
mod signature;
mod staging;
mod version;

use crate::tests::step;
use crate::{fedgate, native, target, wasm};
use anyhow::{Context, Result};
use cross::{Built, Processor};
use help::Help;
use staging::Stage;
use std::path::{Path, PathBuf};
use version::Release;

/// Makes a release in `target/dist/VERSION`, for both kinds of processor, and returns the folder.
/// With a tag, the tag must be the version's, and the changelog must have a section for it.
///
/// # Errors
/// When something cannot be built, packed or signed, or when version, tag, chart and changelog
/// disagree.
pub fn make(tag: Option<&str>) -> Result<PathBuf> {
    let release = Release::new(tag)?;
    let built = cross::ALL.iter().map(cross::build).collect::<Result<Vec<_>>>()?;
    let folder = target().join("dist").join(release.version);
    pack(&release, &built, &folder)?;
    let this = Processor::of_this_machine()?;
    for Built { native_filter, .. } in built.iter().filter(|one| one.processor.name == this.name) {
        loading::check(native_filter)?;
    }
    signature::sign(&folder)?;
    Ok(folder)
}

/// Makes a release in `target/dist/check` with the unoptimized programs that the tests use, and
/// checks it: checksums, signature, bill of materials, chart, and what the package for Debian
/// installs, leaves and removes. The native filter, linked as in a release, runs in a real Envoy.
///
/// # Errors
/// When something cannot be made, or is not as it must be.
pub fn check() -> Result<PathBuf> {
    // The unoptimized program is ten times as large, and nobody downloads it.
    let release = Release { level: 1, ..Release::new(None)? };
    let built = [unoptimized()?];
    let folder = target().join("dist/check");
    pack(&release, &built, &folder)?;
    step("checking checksums, signature, bill of materials and chart");
    checksums::check(&folder)?;
    signature::check(&folder)?;
    bill::check(&folder.join(bill::name(&release)), &release)?;
    chart::check(&folder.join(chart::name(&release)))?;
    step("installing, removing and purging the package in a folder of its own");
    for Built { processor, .. } in &built {
        installation::check(&folder.join(debian::name(&release, processor)), &release)?;
        loading::check(&cross::native_filter(processor)?)?;
    }
    Ok(folder)
}

/// Builds what needs access to crates.io once: the program that makes the bill of materials.
///
/// # Errors
/// When it cannot be built.
pub fn install() -> Result<PathBuf> {
    bill::cyclonedx()
}

/// What the tests have built already, for this machine.
fn unoptimized() -> Result<Built> {
    step("building the unoptimized programs");
    Ok(Built {
        processor: Processor::of_this_machine()?,
        program: fedgate::build()?,
        native_filter: native::build()?,
    })
}

/// Writes all files of a release but the signature.
fn pack(release: &Release, built: &[Built], folder: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let stages = target().join("dist/stages");
    let _ = std::fs::remove_dir_all(&stages);
    let Release { version, .. } = release;
    let filter = wasm::build()?;
    let here = Processor::of_this_machine()?.name;
    let runs = built.iter().find(|built| built.processor.name == here);
    let runs = runs.context("no program of this release runs on this machine")?;
    let help = Help::of(&runs.program, &stages)?;
    for built in built {
        let Processor { name, .. } = built.processor;
        step(&format!("packing {name}"));
        let programs = Stage::new(&stages, &format!("fedgate-{version}-linux-{name}"))?;
        programs.program(&built.program, "fedgate")?;
        programs.put(&filter, "fedgate_filter.wasm")?;
        programs.put(&built.native_filter, "libfedgate_filter_native.so")?;
        programs.checkout(&["LICENSE", "README.md", "CHANGELOG.md"])?;
        help.put_into_folders(&programs)?;
        archive::pack(release, &programs, folder)?;

        let image = Stage::new(&stages, &format!("fedgate-{version}-image-{name}"))?;
        image.checkout(&["deploy/Dockerfile", "deploy/Dockerfile.dockerignore"])?;
        image.program(&built.program, "target/image-files/fedgate")?;
        image.put(&filter, "target/image-files/fedgate_filter.wasm")?;
        let library = "target/image-files/libfedgate_filter_native.so";
        image.put(&built.native_filter, library)?;
        archive::pack(release, &image, folder)?;

        debian::pack(release, built, (&filter, &help), &stages, folder)?;
    }
    step("packing what is the same for every processor");
    let module = folder.join(format!("fedgate_filter-{version}.wasm"));
    std::fs::copy(&filter, &module)?;
    staging::set_mode(&module, 0o644)?;
    let manifests = Stage::new(&stages, &format!("fedgate-{version}-manifests"))?;
    manifests.checkout(&["deploy/kubernetes", "deploy/passthrough", "deploy/mcs"])?;
    archive::pack(release, &manifests, folder)?;
    let units = Stage::new(&stages, &format!("fedgate-{version}-systemd"))?;
    units.checkout(&["deploy/systemd"])?;
    archive::pack(release, &units, folder)?;
    chart::pack(release, &stages, folder)?;
    bill::write(release, &stages, folder)?;
    std::fs::write(folder.join("release-notes.md"), &release.notes)?;
    checksums::write(folder)
}
