//! Ports below 1024: a gateway and a metadata endpoint at port 443, and an import at port 80. These
//! sites run without Kubernetes, here because the tests on Istio have a network of their own, in
//! which such ports are free.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::kubernetes::addresses::Addresses;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::SOON;
use fedgate_e2e::{programs, wait};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Loopback addresses that no other test uses in this network.
const RANGE: &str = "127.110.0.0/24";
const CAPABILITY: &str = "CAP_NET_BIND_SERVICE";

/// A program that runs another without the capability.
fn without_capability(run: &RunFolder, name: &str, program: &Path) -> Result<PathBuf> {
    let file = run.path().join(format!("{name}-without-capability"));
    let script = format!(
        "#!/bin/sh\nexec setpriv --inh-caps -net_bind_service --bounding-set -net_bind_service {} \"$@\"\n",
        program.display()
    );
    std::fs::write(&file, script)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

async fn names(cluster: &Cluster) -> Result<(bool, String)> {
    let output = cluster.fedgate(&["names"]).await?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn low_ports_work_with_the_capability_and_are_explained_without_it() -> Result<()> {
    let run = run("low-ports")?;
    let mut federation = Federation::new(&run, ["alpha", "beta"])?;
    let [alpha, beta] = &mut federation.clusters;
    let gateway = SocketAddr::from((Addresses::next()?.gateway, 443));
    let settings = beta.settings();
    (settings.gateway, settings.metadata) = (gateway, (Ipv4Addr::LOCALHOST, 443).into());
    settings.advertise = vec![gateway];
    alpha.settings().more.egress = vec![format!("addresses: {RANGE}")];
    alpha.write_settings()?;
    beta.write_settings()?;
    alpha.put_peer(beta, &beta.metadata_url())?;
    let mut web = Deployed::http(beta, "web").await?;
    web.apply(beta, Service::exported)?;

    // Without the capability the controller says what it lacks.
    beta.set_program(&without_capability(&run, "fedgate", programs::fedgate()?)?);
    let failed = beta.start_controller().await.err().context("it started")?;
    let text = format!("{failed:#}");
    ensure!(text.contains("metadata.listen 127.0.0.1:443") && text.contains(CAPABILITY), "{text}");
    beta.set_program(programs::fedgate()?);

    // So does the command line, of an egress that cannot listen.
    alpha.set_envoy_program(Some(&without_capability(&run, "envoy", programs::envoy()?)?));
    federation.start().await?;
    let [alpha, _] = &mut federation.clusters;
    // By the egress's own port, which is a high one, and through beta's gateway at port 443.
    web.wait_callable_from(alpha).await?;
    let (is_well, text) = names(alpha).await?;
    let silent = format!("nothing listens at port 80: give the egress Envoy {CAPABILITY}");
    ensure!(!is_well && text.contains(&silent), "{text}");

    // The twin: with the capability, the name is called at its own port.
    alpha.set_envoy_program(None);
    alpha.start_egress().await?;
    let host = web.host();
    wait::until_true("the name to be well", SOON, async || Ok(names(alpha).await?.0)).await?;
    let lines = std::fs::read_to_string(alpha.folder().join("names/hosts"))?;
    let line = lines.lines().find(|line| line.ends_with(&host)).context("no line")?;
    let address = line.split(' ').next().context("no address")?;
    web.call_through((address.parse::<Ipv4Addr>()?, 80).into()).await.map(drop)
}
