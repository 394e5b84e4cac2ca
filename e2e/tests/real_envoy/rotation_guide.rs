//! Runs the commands of `docs/rotation.md` as a reader types them, while calls go on without pause.

use crate::rotation::Calls;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::guide;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::process::{Output, Stdio};
use std::sync::Arc;
use tokio::process::Command;

const GUIDE: &str = include_str!("../../../docs/rotation.md");

/// What the guide calls a thing, and what it is in this run.
fn names(right: &Cluster) -> [[String; 2]; 4] {
    let of = |guide: &str, run: &str| [guide.to_owned(), run.to_owned()];
    [
        of("identity/chain.pem", "identity/gateway.pem"),
        of("identity/key.pem", "identity/gateway.key"),
        of("spiffe://right.example/ns/edge/sa/gateway", &right.spiffe_id("gateway")),
        of("127.0.2.1:15443", &right.gateway_address().to_string()),
    ]
}

/// left calls `web` of right.
async fn pair(run: &RunFolder) -> Result<(Federation<2>, Arc<Deployed>, Calls)> {
    let mut federation = Federation::new(run, ["left", "right"])?;
    let [_, right] = &federation.clusters;
    let mut web = Deployed::http(right, "web").await?;
    web.apply(right, Service::exported)?;
    federation.start().await?;
    let left = &federation.clusters[0];
    web.wait_callable_from(left).await?;
    let egress = left.wait_import(&web.name()).await?;
    let web = Arc::new(web);
    let calls = Calls::start(web.clone(), egress);
    Ok((federation, web, calls))
}

async fn run_in(cluster: &Cluster, script: &str) -> Result<Output> {
    let programs = fedgate_e2e::programs::fedgate()?;
    let folder = programs.parent().context("a program is in a folder")?;
    let head = format!("set -eu\nPATH={}:$PATH\n", folder.display());
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "300", "bash", "-c", &(head + script)])
        .current_dir(cluster.folder())
        .stdin(Stdio::null());
    bash.output().await.context("cannot start timeout (coreutils)")
}

#[test]
fn the_guide_replaces_root_and_key_and_no_call_is_refused() {
    scenario("rotation-guide", async |run: &RunFolder| {
        let (federation, _, calls) = pair(run).await?;
        let [left, right] = &federation.clusters;
        let names = names(right);
        wait_complete(right).await?;
        let blocks = guide::blocks(GUIDE);
        let script = names
            .iter()
            .fold(guide::script(&blocks), |text, [guide, own]| text.replace(guide, own));
        let output = run_in(right, &script).await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "it ended with {status}:\n{printed}\n{errors}");
        guide::check(&blocks, &printed)?;
        calls.some_more().await?;
        // Nothing was ever held or refused.
        let status = left.status().await?;
        for reason in ["unsigned_document", "replayed_document", "invalid_document", "not_pinned"] {
            ensure!(status.finding(reason).is_none(), "{:?}", status.finding(reason));
        }
        for reason in ["roots_changed", "key_changed"] {
            let told = status.finding(reason).context("the change is told")?;
            ensure!(told.severity == "info", "{told:?}");
        }
        calls.all_went_well().await
    });
}

/// The twin: without an overlap, a root and a key are held, and the command says not to go on.
#[test]
fn without_an_overlap_a_root_is_held_and_calls_with_it_fail() {
    scenario("rotation-skipped", async |run: &RunFolder| {
        let (mut federation, web, calls) = pair(run).await?;
        let [left, right] = &mut federation.clusters;
        wait_complete(right).await?;
        calls.all_went_well().await?;
        let new = fedgate_e2e::authority::Authority::root("new root of right")?;
        let old = std::mem::replace(right.authority_mut(), new);
        right.put("identity/roots.pem", &right.authority().pem())?;
        right.write_gateway_identity()?;
        wait::until_true("the new root to be held", SOON, async || {
            let status = left.status().await?;
            Ok(status.condition("right", "Held").is_some_and(|held| held[0] == "True"))
        })
        .await?;
        wait::until_true("the command to say so", SOON, async || {
            let output = run_in(right, "fedgate check rotation").await?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(output.status.code() == Some(1)
                && text.contains("FAIL left does not have it in force")
                && text
                    .contains("sign with it now? no: it signs already, and left does not hold it"))
        })
        .await?;
        wait::until_true("calls to fail", SOON, async || {
            let egress = left.wait_import(&web.name()).await?;
            Ok(web.call_through(egress).await.is_err())
        })
        .await?;
        // Both roots together need no approval, and calls pass again.
        right.put("identity/roots.pem", &(old.pem() + &right.authority().pem()))?;
        web.wait_callable_from(left).await?;
        wait_complete(right).await
    });
}

async fn wait_complete(right: &Cluster) -> Result<()> {
    wait::until_true("the peer to hold everything", SOON, async || {
        let output = run_in(right, "fedgate check rotation --output json").await?;
        let json: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        Ok(output.status.success() && json.is_some_and(|json| json["ok"] == true))
    })
    .await
}
