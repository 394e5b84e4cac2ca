//! Renewal of the gateway's own certificate, in all ways in which programs write files, and in ways
//! that go wrong.

use crate::fixture::Pair;
use anyhow::{Result, ensure};
use fedgate_e2e::authority::Identity;
use fedgate_e2e::client::{self, Client, plain_greeting, send_line};
use fedgate_e2e::cluster::{Cluster, Finding};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `cp` and `openssl -out` overwrite the existing file, which Envoy alone would not notice.
#[test]
fn a_certificate_overwritten_in_place_is_presented() {
    scenario("renewal-in-place", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, _| Ok(())).await?;
        let (mut open, _) =
            plain_greeting(pair.alpha().wait_import(&pair.mail.name()).await?).await?;
        for order in [["gateway.key", "gateway.pem"], ["gateway.pem", "gateway.key"]] {
            let renewed = made(run, pair.beta())?;
            for file in order {
                write_over(pair.beta(), file, &std::fs::read_to_string(run.path().join(file))?)?;
            }
            wait_shown(&pair, &renewed).await?;
        }
        ensure!(
            send_line(&mut open, "still here").await? == "250 still here",
            "the open connection was cut"
        );
        wait_no_fault(pair.beta()).await
    });
}

/// A key that does not match its certificate is reported, and the old pair stays in use, even after
/// restarts. The right key is used at once.
#[test]
fn a_certificate_without_its_key_is_never_presented() {
    scenario("renewal-mismatch", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let before = shown(&pair).await?;
        let renewed = made(run, pair.beta())?;
        let text = |file: &str| std::fs::read_to_string(run.path().join(file));
        let (chain, key) = (text("gateway.pem")?, text("gateway.key")?);
        let half = &chain[..chain.len() / 2];
        let mut last = String::new();
        for (what, certificate) in
            [("another certificate", &*chain), ("half of one", half), ("nothing", "")]
        {
            write_over(pair.beta(), "gateway.pem", certificate)?;
            last = wait_fault(pair.beta(), &last).await?;
            ensure!(shown(&pair).await? == before, "{what} is shown");
        }
        write_over(pair.beta(), "gateway.pem", &chain)?;
        let [_, beta] = &mut pair.federation.clusters;
        beta.kill_controller()?;
        beta.start_controller().await?;
        beta.start_gateway().await?;
        ensure!(shown(&pair).await? == before, "after a restart");
        pair.web.wait_callable_from(pair.alpha()).await?;

        write_over(pair.beta(), "gateway.key", &key)?;
        wait_shown(&pair, &renewed).await?;
        wait_no_fault(pair.beta()).await?;
        only_its_owner_reads_the_key(pair.beta())
    });
}

/// What is wrong with the pair of certificate and key, and that the old pair stays in use.
async fn fault(cluster: &Cluster) -> Result<Option<String>> {
    let is_fault = |finding: &Finding| {
        let field = finding.field.as_deref().unwrap_or_default();
        (field.starts_with("identity.") || finding.message.starts_with("identity."))
            && finding.message.contains("stays in force")
    };
    Ok(cluster.status().await?.findings().into_iter().find(is_fault).map(|finding| finding.message))
}

/// Waits until a fault other than `last` is reported.
async fn wait_fault(cluster: &Cluster, last: &str) -> Result<String> {
    let other = async || Ok(fault(cluster).await?.filter(|message| message != last));
    wait::until("another fault of the pair", SOON, other).await
}

async fn wait_no_fault(cluster: &Cluster) -> Result<()> {
    wait::until_true("no fault of the pair", SOON, async || Ok(fault(cluster).await?.is_none()))
        .await
}

fn only_its_owner_reads_the_key(cluster: &Cluster) -> Result<()> {
    for role in ["gateway", "egress"] {
        let file = cluster.folder().join(format!("envoy/{role}/identity.json"));
        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{} has mode {mode:o}", file.display());
    }
    Ok(())
}

/// A new certificate for the cluster's gateway, written to the run's folder.
fn made(run: &RunFolder, cluster: &Cluster) -> Result<Identity> {
    let identity = cluster.authority().workload(&cluster.spiffe_id("gateway"))?;
    identity.write(run.path(), "gateway")?;
    Ok(identity)
}

/// Overwrites a file as `cp` does: it stays the same inode.
fn write_over(cluster: &Cluster, file: &str, text: &str) -> Result<()> {
    let path: &Path = &cluster.folder().join("identity").join(file);
    Ok(std::fs::write(path, text)?)
}

/// The leaf that beta's gateway presents, in DER.
async fn shown(pair: &Pair) -> Result<Vec<u8>> {
    let connection =
        Client::new(None)?.connect(pair.beta().gateway_address(), &pair.web.sni()).await?;
    Ok(client::server_certificate(&connection).map(|leaf| leaf.to_vec()).unwrap_or_default())
}

async fn wait_shown(pair: &Pair, identity: &Identity) -> Result<()> {
    let leaf = identity.chain().first().map(|leaf| leaf.to_vec()).unwrap_or_default();
    let renewed = async || Ok(shown(pair).await? == leaf);
    wait::until_true("the gateway to show its new certificate", SOON, renewed).await
}
