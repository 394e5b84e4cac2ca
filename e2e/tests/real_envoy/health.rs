//! The host that DKP's clusters probe: the gateway itself answers, and only to peers.

use crate::fixture::Gateway;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

/// The cluster's health host, as its table has it.
async fn health_host(cluster: &Cluster) -> Result<String> {
    let output = cluster.fedgate(&["table", "--output", "json"]).await?;
    let table: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let exports = table["exports"].as_array().context("no exports")?;
    let services = exports.iter().filter_map(|row| row["service"].as_str());
    let host = services
        .filter_map(|service| service.strip_suffix(":80"))
        .find(|host| host.starts_with("alliance-"));
    host.map(str::to_owned).with_context(|| format!("the table has no health name: {table}"))
}

#[test]
fn a_peer_is_answered_and_a_stranger_is_not() {
    scenario("health", async |run: &RunFolder| {
        let mut gateway = Gateway::start(run).await?;
        // It also answers if a policy allows nothing else and the controller is down.
        gateway.beta().put_policy("nothing", r#"{"services": [{"namespaces": ["nowhere"]}]}"#)?;
        gateway.web.wait_refused(&gateway.alpha_client, gateway.beta()).await?;
        let host = health_host(gateway.beta()).await?;
        ensure!(host.ends_with(".d8-istio.svc.beta.example"), "{host}");
        gateway.federation.clusters[1].kill_controller()?;
        let (beta, sni) = (gateway.beta(), format!("outbound_.80_._.{host}"));
        let address = beta.gateway_address();
        for client in [&gateway.alpha_client, &gateway.gamma_client] {
            for (path, status) in
                [("/healthz", 200), ("/", 404), ("/healthz/more", 404), ("/metrics", 404)]
            {
                let answer = client.get_path(address, &sni, &host, path).await?;
                ensure!(answer.status == status, "{path}: {answer:?}");
            }
        }
        let log = beta.access_log()?;
        let answer = gateway.alpha_client.get_path(address, &sni, &host, "/healthz").await?;
        ensure!(answer.body == "ok", "{answer:?}");
        log.wait_for("alpha's probe", |entry| {
            let words = [&entry.peer, &entry.reason, &entry.sni].map(Option::as_deref);
            words == [Some("alpha"), Some("granted"), Some(&sni)]
        })
        .await?;

        let stranger = Authority::root("delta")?.workload("spiffe://delta.example/ns/shop/sa/a")?;
        let forged = gateway.gamma().authority().workload("spiffe://alpha.example/ns/shop/sa/a")?;
        for identity in [Some(&stranger), Some(&forged), None] {
            let answer = Client::new(identity)?.get_path(address, &sni, &host, "/healthz").await;
            ensure!(answer.is_err(), "a stranger is answered: {answer:?}");
        }
        Ok(())
    });
}

/// A fedgate peer does not import it, and `explain` says that peers probe it.
#[test]
fn a_fedgate_peer_probes_the_health_service_and_does_not_import_it() {
    scenario("health-peer", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let host = health_host(gateway.beta()).await?;
        let answer = gateway
            .beta()
            .fedgate(&["explain", "--to", &format!("{host}:80"), "--peer", "alpha"])
            .await?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(answer.status.success() && text.contains("peers probe it"), "{text}");
        wait::until_true("alpha to know beta's exports", SOON, async || {
            Ok(gateway.alpha().status().await?.import(&gateway.web.name()).is_some())
        })
        .await?;
        let status = gateway.alpha().status().await?;
        ensure!(status.import(&format!("{host}:80")).is_none(), "it was imported");
        Ok(())
    });
}
