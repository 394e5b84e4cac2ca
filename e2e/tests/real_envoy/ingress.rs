//! A metadata endpoint behind an ingress that terminates mutual TLS: a real Envoy.

use anyhow::{Result, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::cluster::{Cluster, SOON};
use fedgate_e2e::envoy::ingress::MetadataIngress;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use std::path::Path;
use std::time::Duration;

const PUBLIC: &str = "PublicMetadataExchangeReady";
const PRIVATE: &str = "PrivateMetadataExchangeReady";

/// The folder of alpha's client certificates.
const FOLDER: &str = "client-tls";

/// Writes a client certificate. The key comes first, so for a moment the two do not match.
fn show(folder: &Path, authority: &Authority) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let files = authority.sign(&Leaf::new().dns("alpha.example")?)?.write(folder, "new")?;
    std::fs::rename(files.key, folder.join("tls.key"))?;
    std::fs::rename(files.certificate, folder.join("tls.crt"))?;
    Ok(())
}

async fn wait_service(alpha: &Cluster, service: &str) -> Result<()> {
    let what = format!("alpha to import {service}");
    let imported = async || Ok(alpha.status().await?.import(service).is_some());
    wait::until_true(&what, SOON, imported).await
}

#[test]
fn an_ingress_gets_the_client_certificate_that_it_demands() {
    scenario("mtls-ingress", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let [alpha, beta] = &mut federation.clusters;
        let (clients, others) =
            (Authority::root("clients of beta")?, Authority::root("clients of gamma")?);
        let ingress = MetadataIngress::start(run, beta, &clients, "6s").await?;
        let folder = alpha.folder().join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        alpha.settings().client_tls = Some(FOLDER.to_owned());
        alpha.write_settings()?;
        alpha.put_peer(beta, &ingress.url())?;
        federation.start_controllers().await?;
        let [alpha, _] = &federation.clusters;
        // Without a certificate.
        let message = alpha.wait_condition("beta", PUBLIC, ["False", "FetchFailed"]).await?;
        ensure!(
            message.contains("asks for a client certificate")
                && message.contains("peers.clientTLS"),
            "{message}"
        );
        // With one of another authority, for all peers.
        show(&folder, &others)?;
        let refused = async || {
            let status = alpha.status().await?;
            let [_, _, message] = status.condition("beta", PUBLIC).unwrap_or_default();
            Ok(message.contains("was shown the client certificate"))
        };
        wait::until_true("the ingress to refuse alpha's certificate", SOON, refused).await?;
        // With the right one, for this peer.
        show(&folder.join("beta"), &clients)?;
        alpha.wait_condition("beta", PUBLIC, ["True", "Succeeded"]).await?;
        alpha.wait_condition("beta", PRIVATE, ["True", "Succeeded"]).await?;
        let protocols = ingress.requests()?;
        ensure!(protocols.iter().all(|request| request.protocol == "HTTP/1.1"), "{protocols:?}");
        Ok(())
    });
}

/// The ingress gives up sooner than the endpoint answers a request that waits.
#[test]
fn changes_come_at_once_through_an_ingress_that_does_not_wait_long() {
    scenario("impatient-ingress", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let [alpha, beta] = &mut federation.clusters;
        let clients = Authority::root("clients of beta")?;
        let ingress = MetadataIngress::start(run, beta, &clients, "6s").await?;
        show(&alpha.folder().join(FOLDER), &clients)?;
        let settings = alpha.settings();
        (settings.client_tls, settings.poll) = (Some(FOLDER.to_owned()), "1h".to_owned());
        alpha.write_settings()?;
        // Beta asks often, so that it knows alpha when alpha asks.
        alpha.put_peer(beta, &ingress.url())?;
        federation.clusters[1].start_controller().await?;
        federation.clusters[0].start_controller().await?;
        let [alpha, beta] = &federation.clusters;
        alpha.wait_condition("beta", PRIVATE, ["True", "Succeeded"]).await?;
        let answered = |status| {
            Ok::<_, anyhow::Error>(
                ingress.requests()?.iter().filter(|request| request.status == status).count(),
            )
        };
        let long = Duration::from_secs(30);
        let gives_up = async || Ok(answered(504)? > 0);
        wait::until_true("the ingress to give up", long, gives_up).await?;
        let before = answered(304)?;
        // The next request waits for less, and is answered by beta.
        let waits = async || Ok(answered(304)? > before + 1);
        wait::until_true("beta to answer in time", long, waits).await?;
        ensure!(answered(504)? == 1, "{:?}", ingress.requests()?);
        let service = Service::new("web", "http", 80, beta.gateway_address()).exported();
        beta.put_service(&service)?;
        wait_service(alpha, &service.import(beta.trust_domain())).await?;
        let log = std::fs::read_to_string(run.log("alpha-controller"))?;
        ensure!(!log.contains("found 504"), "the ingress's patience is a failure of beta: {log}");
        Ok(())
    });
}
