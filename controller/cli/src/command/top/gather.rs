//! Asks the Envoys, and the controller for the names of services.

use super::super::envoys::EnvoyAddresses;
use super::super::http;
use super::super::source::Source;
use super::super::target::{Platform, Target};
use anyhow::{Result, bail};
use fedgate_engine::status::Status;
use fedgate_kubernetes::inspect::stats;
use fedgate_page::counters::Counters;
use fedgate_process::words::chain;
use std::net::SocketAddr;

/// The largest answer of an Envoy in bytes, with ten thousand clusters in use.
const LARGEST: usize = 64 << 20;
/// What is asked of Istio's proxies: the filter's counters, and clusters if the proxy counts them.
const QUERY: &str = "filter=fedgate%7Ccluster%5C.outbound&usedonly";

/// What was found in one look.
pub(super) struct Look {
    /// The Envoys that were asked: a name, and what it counted or why that is not known.
    pub(super) envoys: Vec<(String, Role, Result<Counters, String>)>,
    /// What is exported and imported; `None` if that is not known.
    pub(super) status: Option<Status>,
}

/// What an Envoy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Peers connect to it.
    Gateway,
    /// Local programs connect to it.
    Egress,
}

pub(super) struct Gather<'a> {
    target: &'a Target,
    envoys: &'a EnvoyAddresses,
    source: Source<'a>,
    client: Option<kube::Client>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(target: &'a Target, envoys: &'a EnvoyAddresses) -> Self {
        Self { target, envoys, source: Source::of(target), client: None }
    }

    /// Asks all Envoys.
    ///
    /// # Errors
    /// If none of them answers.
    pub(super) async fn look(&mut self) -> Result<Look> {
        let envoys = match self.target.platform() {
            Platform::Files(folder) => {
                let [gateway, egress] = self.envoys.of(&folder);
                let (gateway, egress) = tokio::join!(
                    of_admin(gateway.0, Role::Gateway, gateway.1),
                    of_admin(egress.0, Role::Egress, egress.1)
                );
                vec![gateway, egress]
            }
            Platform::Kubernetes(cluster) => {
                let client = match &self.client {
                    Some(client) => client,
                    None => self.client.insert(cluster.client().await?),
                };
                let pods = stats::of_gateway(client, cluster.namespace(), QUERY).await?;
                let read = |text: String| Counters::of_prometheus(&text);
                pods.into_iter().map(|pod| (pod.pod, Role::Gateway, pod.text.map(read))).collect()
            }
        };
        if envoys.iter().all(|(_, _, answer)| answer.is_err()) {
            let why = |(name, _, answer): &(String, Role, Result<Counters, String>)| {
                answer.as_ref().err().map(|why| format!("{name}: {why}"))
            };
            let why: Vec<_> = envoys.iter().filter_map(why).collect();
            match why.is_empty() {
                true => bail!("no Envoy can be asked: the gateway has no ready Pod"),
                false => bail!("no Envoy can be asked: {}", why.join("; ")),
            }
        }
        // Without the controller the counters have names of their own.
        Ok(Look { envoys, status: self.source.status().await.ok() })
    }
}

async fn of_admin(
    name: &str,
    role: Role,
    address: Result<SocketAddr, String>,
) -> (String, Role, Result<Counters, String>) {
    let counters = match address {
        Ok(address) => ask(address).await,
        Err(why) => Err(why),
    };
    (name.to_owned(), role, counters)
}

async fn ask(address: SocketAddr) -> Result<Counters, String> {
    let url = format!("http://{address}/stats?usedonly&type=Counters");
    let gauges = format!("http://{address}/stats?usedonly&type=Gauges&filter=_cx_active%24");
    let (counters, gauges) = tokio::join!(http::get(&url, LARGEST), http::get(&gauges, LARGEST));
    let text = |answer: Result<(Vec<u8>, bool)>| match answer {
        Ok((bytes, false)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok((_, true)) => Err(format!("{address}: its answer has more than {LARGEST} bytes")),
        Err(error) => Err(format!("{address}: {}", chain(&error))),
    };
    Ok(Counters::of_admin(&(text(counters)? + "\n" + &text(gauges)?)))
}
