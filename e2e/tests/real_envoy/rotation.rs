//! A cluster gets a new root, and no step cuts anyone off: both roots, then new certificates, then
//! the new root alone.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_e2e::authority::{Authority, Identity};
use fedgate_e2e::client::{self, Client, plain_greeting, send_line};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// The files with peers' roots, for the gateway and for the egress.
const SERVER_SIDE: &str = "envoy/gateway/trust/bundles.json";
const CLIENT_SIDE: &str = "envoy/egress/cds.json";

#[test]
fn the_owner_gets_a_new_root() {
    scenario("rotation-owner", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let egress = pair.alpha().wait_import(&pair.mail.name()).await?;
        let (mut open, _) = plain_greeting(egress).await?;
        let web = Arc::new(pair.web);
        let calls =
            Calls::start(web.clone(), pair.federation.clusters[0].wait_import(&web.name()).await?);

        let [alpha, beta] = &mut pair.federation.clusters;
        let (old, new) = (beta.authority().pem(), Authority::root("new root of beta")?);
        beta.put("identity/roots.pem", &(old + &new.pem()))?;
        wait_root(alpha, CLIENT_SIDE, &new, true).await?;
        // The file is written, and the egress is about to read it.
        wait::until_true("the egress to believe the new root", SOON, async || {
            let dump = "/config_dump?resource=dynamic_active_clusters";
            Ok(holds(&alpha.egress()?.ask(dump).await?, &new))
        })
        .await?;
        // Only now is it safe to sign with the new root.
        let gone = std::mem::replace(beta.authority_mut(), new);
        let shown = beta.write_gateway_identity()?;
        wait_shown(beta, &web, &shown).await?;
        beta.put("identity/roots.pem", &beta.authority().pem())?;
        wait_root(alpha, CLIENT_SIDE, &gone, false).await?;
        calls.some_more().await?;
        ensure!(
            send_line(&mut open, "still here").await? == "250 still here",
            "the open connection was cut"
        );
        calls.all_went_well().await
    });
}

#[test]
fn the_caller_gets_a_new_root() {
    scenario("rotation-caller", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        let old_client = Client::new(Some(&alpha.workload()?))?;
        let mut open = pair.mail.wait_greeting(&old_client, beta).await?;
        let (old, new) = (alpha.authority().pem(), Authority::root("new root of alpha")?);
        let new_client = Client::new(Some(&new.workload(&alpha.spiffe_id("cart"))?))?;

        pair.web.refuses(&new_client, beta).await?;
        alpha.put("identity/roots.pem", &(old + &new.pem()))?;
        wait_root(beta, SERVER_SIDE, &new, true).await?;
        pair.web.wait_reachable(&new_client, beta).await?;
        pair.web.call(&old_client, beta).await?;
        let gone = std::mem::replace(alpha.authority_mut(), new);
        alpha.put("identity/roots.pem", &alpha.authority().pem())?;
        wait_root(beta, SERVER_SIDE, &gone, false).await?;
        pair.web.wait_refused(&old_client, beta).await?;
        pair.web.call(&new_client, beta).await?;
        ensure!(
            send_line(&mut open, "still here").await? == "250 still here",
            "the open connection was cut"
        );
        Ok(())
    });
}

/// Makes calls without pause, to detect any failure.
pub(crate) struct Calls {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    task: JoinHandle<Result<()>>,
}

impl Calls {
    pub(crate) fn start(service: Arc<Deployed>, egress: SocketAddr) -> Self {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, counted) = (stop.clone(), count.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                service.call_through(egress).await.with_context(|| format!("call {number}"))?;
            }
            Ok(())
        });
        Self { stop, count, task }
    }

    pub(crate) async fn some_more(&self) -> Result<()> {
        let enough = self.count.load(Ordering::Relaxed) + 5;
        let more =
            async || Ok(self.task.is_finished() || self.count.load(Ordering::Relaxed) >= enough);
        wait::until_true("five more calls", SOON, more).await
    }

    pub(crate) async fn all_went_well(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// Waits until a cluster trusts a root, or no longer trusts it.
async fn wait_root(cluster: &Cluster, file: &str, root: &Authority, believed: bool) -> Result<()> {
    let file = cluster.folder().join(file);
    wait::until_true("the change of roots to arrive", SOON, async || {
        Ok(holds(&std::fs::read_to_string(&file)?, root) == believed)
    })
    .await
}

/// Whether a text of JSON has a root. In JSON nested in JSON, a slash may be escaped.
fn holds(json: &str, root: &Authority) -> bool {
    json.replace('\\', "").contains(&BASE64_STANDARD.encode(root.der()))
}

/// Waits until the gateway presents this certificate.
async fn wait_shown(cluster: &Cluster, service: &Deployed, identity: &Identity) -> Result<()> {
    let client = Client::new(None)?;
    wait::until_true("the gateway to show its new certificate", SOON, async || {
        let connection = client.connect(cluster.gateway_address(), &service.sni()).await?;
        Ok(client::server_certificate(&connection) == identity.chain().first().cloned())
    })
    .await
}
