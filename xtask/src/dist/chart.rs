//! The chart's package, which `helm install` and `helm push` take.

use super::archive;
use super::version::Release;
use crate::{helm, root, run};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// The values without a default.
const VALUES: &str = "trustDomain=alpha.example,image.repository=registry.example/fedgate,metadata.tls.secretName=metadata";

/// The package's name, which Helm prescribes.
pub(super) fn name(release: &Release) -> String {
    format!("fedgate-{}.tgz", release.version)
}

/// Packs the chart with Helm, and packs the result again, because Helm's archive contains the
/// present time.
pub(super) fn pack(release: &Release, stages: &Path, folder: &Path) -> Result<()> {
    run(Command::new(helm::helm()?)
        .args(["package", "--destination"])
        .arg(stages)
        .arg(root().join("deploy/chart"))
        .stdout(Stdio::null()))?;
    let unpacked = archive::unpack(&stages.join(name(release)), stages.join("chart"))?;
    archive::pack_as(release, &unpacked, "fedgate", &folder.join(name(release)))
}

/// Checks that Helm accepts the package, and renders the program's own version from it.
pub(super) fn check(package: &Path) -> Result<()> {
    let mut helm = Command::new(helm::helm()?);
    helm.args(["template", "fedgate"]).arg(package);
    helm.args(["--kube-version", "1.33.0", "--set", VALUES]);
    let output = helm.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: helm refuses the chart: {said}", package.display());
    let image = format!("image: \"registry.example/fedgate:{}\"", super::version::VERSION);
    let plain = image.replace('"', "");
    let rendered = String::from_utf8_lossy(&output.stdout);
    ensure!(
        rendered.contains(&image) || rendered.contains(&plain),
        "{}: expected an image of version {}, found none",
        package.display(),
        super::version::VERSION
    );
    Ok(())
}
