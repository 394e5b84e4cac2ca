//! Revocations take effect at once, also on open connections, and affect no one else.

use crate::fixture::Gateway;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::{self, Client, Connection, resumed, send_line, wait_closed};
use fedgate_e2e::cluster::{Cluster, Filter};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::access_log::Entry;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::cell::Cell;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// How long after the table's arrival an open connection may last.
const LIMIT: Duration = Duration::from_secs(2);

/// How often connections are revoked in a row.
const REVOCATIONS: usize = 40;
/// How many are open each time: enough for every thread to have some.
const CONNECTIONS: usize = 8;

/// Both callers' open connections to beta's `mail`.
struct Open {
    gateway: Gateway,
    mail: Deployed,
    alpha: Connection,
    gamma: Connection,
}

impl Open {
    async fn start(run: &RunFolder) -> Result<Self> {
        let gateway = Gateway::start(run).await?;
        let mut mail = Deployed::greeting(gateway.beta(), "mail").await?;
        mail.apply(gateway.beta(), Service::exported)?;
        let alpha = mail.wait_greeting(&gateway.alpha_client, gateway.beta()).await?;
        let gamma = mail.wait_greeting(&gateway.gamma_client, gateway.beta()).await?;
        Ok(Self { gateway, mail, alpha, gamma })
    }

    /// Checks that a new table closes alpha's connection in time and leaves gamma's open.
    async fn alpha_is_cut_and_gamma_is_not(&mut self) -> Result<()> {
        let arrived = closed_after_table(&mut self.alpha, self.gateway.beta()).await?;
        ensure!(arrived <= LIMIT, "it took {arrived:?} from the table's arrival");
        ensure!(
            send_line(&mut self.gamma, "still here").await? == "250 still here",
            "gamma's connection was cut"
        );
        Ok(())
    }
}

#[test]
fn removing_a_peer_closes_its_connections() {
    scenario("peer-removed", async |run: &RunFolder| {
        let mut open = Open::start(run).await?;
        open.gateway.beta().remove_peer("alpha")?;
        open.alpha_is_cut_and_gamma_is_not().await?;
        let Open { gateway, .. } = &open;
        gateway.web.wait_refused(&gateway.alpha_client, gateway.beta()).await?;
        gateway.web.call(&gateway.gamma_client, gateway.beta()).await.map(drop)
    });
}

#[test]
fn removing_a_grant_closes_its_connections() {
    scenario("grant-removed", async |run: &RunFolder| {
        let mut open = Open::start(run).await?;
        open.mail
            .apply(&open.gateway.federation.clusters[1], |service| service.for_peers("gamma"))?;
        open.alpha_is_cut_and_gamma_is_not().await?;
        // alpha lost one service, not access to the gateway.
        let Open { gateway, .. } = &open;
        gateway.web.call(&gateway.alpha_client, gateway.beta()).await.map(drop)
    });
}

#[test]
fn removing_an_export_closes_all_its_connections() {
    scenario("export-removed", async |run: &RunFolder| {
        let mut open = Open::start(run).await?;
        let beta = &open.gateway.federation.clusters[1];
        open.mail.apply(beta, |service| Service { exported: false, ..service })?;
        let arrived = closed_after_table(&mut open.alpha, beta).await?;
        ensure!(arrived <= LIMIT, "it took {arrived:?} from the table's arrival");
        wait_closed(&mut open.gamma, SOON).await
    });
}

/// Each second table revokes all long-lived connections of the gateway's threads, those that Envoy
/// uses to wake the threads among them, while other connections come and go.
#[test]
fn revocations_in_a_row_leave_the_gateway_at_work() {
    scenario("in-a-row", async |run: &RunFolder| {
        let open = Open::start(run).await?;
        let Open { gateway: Gateway { web, alpha_client, .. }, mail, .. } = &open;
        let beta = open.gateway.beta();
        let grant = |peer| beta.put_service(&mail.service.clone().for_peers(peer));
        let revoking = Cell::new(true);
        let call = async || {
            while revoking.get() {
                web.call(alpha_client, beta).await?;
            }
            Ok(())
        };
        let revoke = async || {
            for _ in 0..REVOCATIONS {
                let mut open = Vec::new();
                for _ in 0..CONNECTIONS {
                    open.push(mail.wait_greeting(alpha_client, beta).await?);
                }
                grant("gamma")?;
                for connection in &mut open {
                    wait_closed(connection, SOON).await?;
                }
                grant("alpha")?;
            }
            revoking.set(false);
            Ok::<_, anyhow::Error>(())
        };
        tokio::try_join!(call(), call(), revoke()).map(drop)
    });
}

/// Each worker and the main thread have a VM. The trial VM, which gets every table first, does not
/// count.
#[test]
fn every_worker_thread_has_the_table_and_counts_once() {
    scenario("threads", async |run: &RunFolder| {
        let mut gateway = Gateway::start(run).await?;
        for peers in ["alpha", "gamma", "alpha,gamma"] {
            let before = gateway.beta().gateway()?.table_generation().await?;
            gateway
                .web
                .apply(&gateway.federation.clusters[1], |service| service.for_peers(peers))?;
            let envoy = gateway.beta().gateway()?;
            let newer = async || Ok(envoy.table_generation().await? > before);
            wait::until_true("a new table", SOON, newer).await?;
            let all = async || Ok(envoy.table_threads().await? == (3, 2));
            wait::until_true("three threads with it", SOON, all).await?;
        }
        let envoy = gateway.beta().gateway()?;
        let stays = async || Ok(envoy.table_threads().await? == (3, 2));
        wait::stays("the count", Duration::from_secs(12), stays).await
    });
}

/// The proxy-wasm filter's close waits until the client has read what was sent before, which this
/// client never does. The kernel does not wait, and neither does the native filter.
#[test]
fn a_client_that_does_not_read_is_cut_off_on_both_sides() {
    scenario("unread", async |run: &RunFolder| {
        let mut open = Open::start(run).await?;
        flood(&mut open.alpha).await?;
        let log = open.gateway.beta().access_log()?;
        open.gateway.beta().remove_peer("alpha")?;
        // Envoy writes the log line once both sides are closed.
        let closed = |entry: &Entry| entry.reason.as_deref() == Some("unknown_peer");
        let closed = async || Ok(log.entries().iter().any(closed));
        let limit = match Filter::of_run()? {
            Filter::ProxyWasm => UNREAD + Duration::from_secs(30),
            // The new table takes some time to be compiled and written.
            Filter::Native => LIMIT + Duration::from_secs(20),
        };
        wait::until_true("both sides to be closed", limit, closed).await?;
        ensure!(
            send_line(&mut open.gamma, "still here").await? == "250 still here",
            "gamma's connection was cut"
        );
        Ok(())
    });
}

/// How long the gateway tolerates a client that does not read.
const UNREAD: Duration = Duration::from_secs(60);

/// Makes the server send more than all buffers on the way hold, and reads nothing.
async fn flood(connection: &mut Connection) -> Result<()> {
    let lines = "x".repeat(1022) + "\r\n";
    let lines = lines.repeat(64);
    while let Ok(written) =
        timeout(Duration::from_secs(3), connection.write_all(lines.as_bytes())).await
    {
        written?;
    }
    Ok(())
}

/// The gateway resumes no TLS session. So certificates of a removed root are refused even if they
/// were used before.
#[test]
fn no_session_survives_a_removed_root() {
    scenario("root-removed", async |run: &RunFolder| {
        let mut gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = Client::with_versions(Some(&gateway.alpha().workload()?), &[version])?;
            for _ in 0..3 {
                let mut connection =
                    client.connect(beta.gateway_address(), &gateway.web.sni()).await?;
                client::get_on(&mut connection, &gateway.web.host()).await?;
                ensure!(!resumed(&connection), "{version:?}: the gateway resumed a session");
            }
        }
        // The peer stays, with another root: certificates of the old root are refused.
        let old = gateway.alpha().workload()?;
        let [alpha, beta, _] = &mut gateway.federation.clusters;
        let accept = ("fedgate.dev/root-change", "Accept");
        beta.put_annotated_peer(alpha, &alpha.metadata_url(), &[accept])?;
        *alpha.authority_mut() = Authority::root("new root of alpha")?;
        alpha.write_identities()?;
        let new = Client::new(Some(&alpha.workload()?))?;
        gateway.web.wait_reachable(&new, beta).await?;
        gateway.web.wait_refused(&Client::new(Some(&old))?, beta).await
    });
}

/// Waits until a connection is closed. Returns how long that was after the newest table was put in
/// place.
async fn closed_after_table(connection: &mut Connection, owner: &Cluster) -> Result<Duration> {
    wait_closed(connection, SOON).await?;
    let closed = SystemTime::now();
    let table = owner.folder().join("envoy/gateway/filter/filter.json");
    closed
        .duration_since(std::fs::metadata(table)?.modified()?)
        .context("closed before the table came")
}
