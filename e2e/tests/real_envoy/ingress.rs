//! A metadata endpoint behind an ingress that terminates mutual TLS: a real Envoy.

use anyhow::{Result, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::envoy::ingress::{Habits, MetadataIngress};
use fedgate_e2e::envoy::tcp_balancer::TcpBalancer;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
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
        let ingress = MetadataIngress::start(run, beta, &clients, Habits::GivesUp("6s")).await?;
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

/// Puts an ingress in front of beta's endpoint, to which alpha shows the certificate that it demands.
/// What changes is known soon only by requests that wait.
async fn behind(
    run: &RunFolder,
    federation: &mut Federation<2>,
    habits: Habits,
) -> Result<MetadataIngress> {
    let [alpha, beta] = &mut federation.clusters;
    let clients = Authority::root("clients of beta")?;
    let ingress = MetadataIngress::start(run, beta, &clients, habits).await?;
    show(&alpha.folder().join(FOLDER), &clients)?;
    alpha.settings().client_tls = Some(FOLDER.to_owned());
    for cluster in [&mut *alpha, &mut *beta] {
        cluster.settings().poll = "1h".to_owned();
        cluster.write_settings()?;
    }
    alpha.put_peer(beta, &ingress.url())?;
    Ok(ingress)
}

/// What gives up sooner than the endpoint answers a request that waits: an ingress that answers 504
/// in front of beta, and a balancer that closes silent connections in front of alpha.
#[test]
fn changes_come_at_once_through_an_ingress_and_a_balancer_that_do_not_wait_long() {
    scenario("impatient-ingress", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let ingress = behind(run, &mut federation, Habits::GivesUp("6s")).await?;
        let [alpha, beta] = &federation.clusters;
        let limit = Duration::from_secs(6);
        let balancer = TcpBalancer::start(run, alpha.metadata_address(), limit).await?;
        beta.put_peer(alpha, &balancer.url())?;
        federation.start_controllers().await?;
        let clusters = &federation.clusters;
        let [alpha, beta] = clusters;
        alpha.wait_condition("beta", PRIVATE, ["True", "Succeeded"]).await?;
        beta.wait_condition("alpha", PRIVATE, ["True", "Succeeded"]).await?;
        let paired = clusters.each_ref().map(|cluster| log(run, cluster).map(|log| log.len()));
        let answered = |status| {
            let requests = ingress.requests()?;
            anyhow::Ok(requests.iter().filter(|request| request.status == status).count())
        };
        let give_up = async || Ok(answered(504)? > 0 && balancer.ended()?.1 > 0);
        wait::until_true("the ingress and the balancer to give up", SOON, give_up).await?;
        let (before, (ended, _)) = (answered(304)?, balancer.ended()?);
        // The next requests wait for less, and are answered in time.
        let waits = async || Ok(answered(304)? > before + 1);
        wait::until_true("beta to answer in time", SOON, waits).await?;
        ensure!(answered(504)? == 1, "{:?}", ingress.requests()?);
        ensure!(balancer.ended()? == (ended, 1), "{ended}, {:?}", balancer.ended()?);
        for (owner, other) in [(beta, alpha), (alpha, beta)] {
            let service = Service::new("web", "http", 80, owner.gateway_address()).exported();
            owner.put_service(&service)?;
            wait_service(other, &service.import(owner.trust_domain())).await?;
        }
        // Nobody is blamed for it, and it costs a round of requests.
        for (cluster, paired) in clusters.iter().zip(paired) {
            let log = log(run, cluster)?.split_off(paired?);
            ensure!(!log.contains("504") && !log.contains("FetchFailed"), "{log}");
            ensure!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
        }
        let requests = ingress.requests()?.len();
        ensure!(requests < 40 && balancer.ended()?.0 < 20, "{requests} {:?}", balancer.ended()?);
        Ok(())
    });
}

/// As nginx does with `proxy_buffering` and `proxy_next_upstream`: an answer is held back until it is
/// complete, and a request that waits is sent again, with a token that has been used.
#[test]
fn changes_come_at_once_through_a_proxy_that_buffers_and_repeats() {
    scenario("repeating-ingress", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let ingress = behind(run, &mut federation, Habits::BuffersAndRepeats("6s")).await?;
        let [alpha, beta] = &federation.clusters;
        beta.put_peer(alpha, &alpha.metadata_url())?;
        federation.start_controllers().await?;
        let [alpha, beta] = &federation.clusters;
        alpha.wait_condition("beta", PRIVATE, ["True", "Succeeded"]).await?;
        let paired = log(run, alpha)?.len();
        let answered = |status| {
            let requests = ingress.requests()?;
            anyhow::Ok(requests.iter().filter(|request| request.status == status).count())
        };
        // The second try has the same token, which beta refuses.
        let repeated = async || Ok(answered(401)? > 0);
        wait::until_true("a request to be repeated", SOON, repeated).await?;
        // The next ones wait for less, and are answered in time.
        let before = answered(304)?;
        let waits = async || Ok(answered(304)? > before + 2);
        wait::until_true("beta to answer in time", SOON, waits).await?;
        ensure!(answered(401)? == 1, "{:?}", ingress.requests()?);
        // What beta says comes whole, and at once.
        for name in ["web", "cart"] {
            let service = Service::new(name, "http", 80, beta.gateway_address()).exported();
            beta.put_service(&service)?;
            wait_service(alpha, &service.import(beta.trust_domain())).await?;
        }
        // beta is not blamed for it.
        let log = log(run, alpha)?.split_off(paired);
        ensure!(!log.contains("401") && !log.contains("FetchFailed"), "{log}");
        ensure!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
        Ok(())
    });
}

fn log(run: &RunFolder, cluster: &Cluster) -> Result<String> {
    Ok(std::fs::read_to_string(run.log(&format!("{}-controller", cluster.name())))?)
}
