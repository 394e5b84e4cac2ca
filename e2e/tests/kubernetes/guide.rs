//! Runs the commands of `docs/kubernetes.md` as a reader types them.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{ControlPlane, Key, Objects, Options};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use std::path::Path;
use std::process::Stdio;

const GUIDE: &str = include_str!("../../../docs/kubernetes.md");

/// The blocks with commands.
fn commands() -> String {
    GUIDE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect()
}

#[test]
fn the_guides_commands_work_as_written() {
    scenario("guide", async |run: &RunFolder| {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let folder =
            programs::kubectl()?.parent().map(Path::display).context("kubectl is in a folder")?;
        let fedgate =
            programs::fedgate()?.parent().map(Path::display).context("fedgate is in a folder")?;
        let head = format!("set -eu\nPATH={folder}:{fedgate}:$PATH\n");
        let mut bash = tokio::process::Command::new("bash");
        bash.args(["-c", &(head + &commands())])
            .current_dir(xtask::root())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = bash.env("KUBECONFIG", plane.admin_kubeconfig()?).output().await?;
        let (printed, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}\n{printed}\n{errors}", output.status);
        ensure!(printed.contains("TRUST DOMAIN") && printed.contains("beta.example"), "{printed}");
        exported(&Objects::new(plane.client())).await
    });
}

async fn exported(objects: &Objects) -> Result<()> {
    let web = objects.wait_present(Key::namespaced("v1", "Service", "shop", "web")).await?;
    let metadata = &web["metadata"];
    ensure!(metadata["labels"]["federation.istio.deckhouse.io/public-service"] == "", "{metadata}");
    ensure!(metadata["annotations"]["fedgate.dev/peers"] == "beta", "{metadata}");
    Ok(())
}
