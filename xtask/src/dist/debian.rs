//! The package for Debian and Ubuntu. `dpkg-deb` packs a staged tree: there is nothing to compile,
//! so the machinery of a source package would add nothing.

use super::cross::{Built, Processor};
use super::help::Help;
use super::staging::{Stage, set_mode};
use super::version::{Release, read};
use crate::run;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// The program's folder. The filter modules are beside it, where the program looks for them.
const PROGRAMS: &str = "usr/lib/fedgate";

/// The units, from `deploy/systemd`.
pub(super) const UNITS: [&str; 3] =
    ["fedgate.service", "fedgate-gateway.service", "fedgate-egress.service"];

/// The package's name, in the form that Debian prescribes.
pub(super) fn name(release: &Release, processor: &Processor) -> String {
    format!("fedgate_{}_{}.deb", release.version, processor.name)
}

/// Makes the package.
pub(super) fn pack(
    release: &Release,
    built: &Built,
    (filter, help): (&Path, &Help),
    stages: &Path,
    folder: &Path,
) -> Result<()> {
    let stage = Stage::new(stages, &format!("deb-{}", built.processor.name))?;
    files(release, built, filter, &stage)?;
    help.put_for_debian(&stage)?;
    let control = control(release, built.processor, size(&stage.folder)?)?;
    stage.write("DEBIAN/control", &control)?;
    for script in ["postinst", "prerm", "postrm"] {
        let text = read(&format!("deploy/debian/{script}"))?;
        let file = format!("DEBIAN/{script}");
        stage.write(&file, &text)?;
        set_mode(&stage.folder.join(file), 0o755)?;
    }
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", &format!("-z{}", release.level), "--build"])
        .arg(&stage.folder)
        .arg(folder.join(name(release, built.processor)))
        // dpkg-deb sets all later times to this one.
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .stdout(Stdio::null()))
    .context("cannot make the package; this needs dpkg")
}

fn files(release: &Release, built: &Built, filter: &Path, stage: &Stage) -> Result<()> {
    let beside = |name: &str| format!("{PROGRAMS}/{name}");
    stage.program(&built.program, &beside("fedgate"))?;
    stage.put(filter, &beside("fedgate_filter.wasm"))?;
    stage.put(&built.native_filter, &beside("libfedgate_filter_native.so"))?;
    stage.link("usr/bin/fedgate", "../lib/fedgate/fedgate")?;
    for unit in UNITS {
        stage.tree(&format!("deploy/systemd/{unit}"), &format!("usr/lib/systemd/system/{unit}"))?;
    }
    for kind in ["sysusers", "tmpfiles"] {
        let file = format!("usr/lib/{kind}.d/fedgate.conf");
        stage.tree(&format!("deploy/systemd/{kind}.conf"), &file)?;
    }
    let documents = "usr/share/doc/fedgate";
    stage.tree("LICENSE", &format!("{documents}/copyright"))?;
    stage.tree("deploy/systemd/README.md", &format!("{documents}/README.md"))?;
    stage.write(&format!("{documents}/changelog"), &release.notes)?;
    stage.tree("deploy/examples/files", &format!("{documents}/examples/site"))
}

fn control(release: &Release, processor: &Processor, size: u64) -> Result<String> {
    Ok(read("deploy/debian/control")?
        .replace("VERSION", release.version)
        .replace("ARCHITECTURE", processor.name)
        .replace("SIZE", &size.to_string()))
}

/// The size of all files, in KiB.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? << 10 } else { metadata.len() };
    }
    Ok(bytes.div_ceil(1 << 10))
}
