//! Pods of a StatefulSet are called by their own names.

use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::databases::{self, broker};
use fedgate_e2e::stateful_set::StatefulSet;
use fedgate_e2e::wait;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// How long alpha may take to know the Pods.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn followed(stage: &Stage) -> Result<String> {
    let (alpha, beta) = (stage.alpha(), stage.beta());
    let mut kafka = StatefulSet::new("kafka", "tcp-kafka", 9092);
    let leader = kafka.pod_host(1, beta.trust_domain());
    let socket = async || TcpListener::bind("127.0.0.1:0").await;
    let brokers = [
        broker(socket().await?, "kafka-0", &format!("{leader}:9092"))?,
        broker(socket().await?, "kafka-1", &format!("{leader}:9092"))?,
    ];
    kafka = kafka.with_pods(brokers.each_ref().map(|broker| broker.address()));
    kafka.peers = Some("alpha".into());
    let start = Instant::now();
    beta.put_manifest(&kafka.file(), &kafka.yaml())?;

    let any = alpha.wait_import(&format!("{}:9092", kafka.host(beta.trust_domain()))).await?;
    let told = async || Ok(databases::leader(any).await.ok());
    let (host, port) = wait::until("a broker to answer", LIMIT, told).await?;
    let named = alpha.wait_import(&format!("{host}:{port}")).await?;
    let by = databases::store(named, "order-1").await?;
    let time = start.elapsed();
    ensure!((host.as_str(), by.as_str()) == (leader.as_str(), "kafka-1"), "{host}: {by}");

    let log = beta.access_log()?;
    let gamma = Client::new(Some(&stage.workloads[2]))?;
    let sni = format!("outbound_.9092_._.{host}");
    let reached = gamma.get(beta.gateway_address(), &sni, &host).await.is_ok();
    ensure!(!reached, "gamma reached the Pod");
    log.wait_for_reason("not_granted").await.context("gamma's call")?;
    Ok(format!(
        "a broker names {host}, and {by} stores the record, {} ms after the manifest was written; gamma is refused (not_granted)",
        time.as_millis()
    ))
}
