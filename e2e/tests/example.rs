//! `fedgate validate` accepts the example folder once its certificates exist.

use anyhow::{Result, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::{RunFolder, files_below};
use fedgate_e2e::scenario::scenario;
use std::path::Path;
use std::process::Command;

#[test]
fn the_example_is_valid() {
    scenario("example", async |run: &RunFolder| {
        let folder = run.path();
        copy(&xtask::root().join("deploy/examples/files"), folder)?;
        ensure!(!validate(folder)?.0, "without certificates it should not be");
        let root = Authority::root("root of beta")?;
        let identity = folder.join("identity");
        std::fs::write(identity.join("roots.pem"), root.pem())?;
        root.workload("spiffe://beta.example/ns/fedgate/sa/gateway")?
            .write(&identity, "gateway")?;
        root.sign(&Leaf::new().dns("metadata.beta.example")?)?.write(&identity, "metadata")?;
        let (valid, printed) = validate(folder)?;
        ensure!(valid && printed.contains("0 errors, 0 warnings"), "{printed}");
        Ok(())
    });
}

fn validate(folder: &Path) -> Result<(bool, String)> {
    let output = Command::new(programs::fedgate()?).arg("validate").arg(folder).output()?;
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), printed.into_owned()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::copy(&file, target)?;
    }
    Ok(())
}
