//! `fedgate dns`: answers DNS questions for the names of imports and of `FederatedService`s.
//!
//! The names are those of our ServiceEntries, with the addresses that istiod gives to sidecars. So
//! a name is there exactly as long as a sidecar can call it. A process of its own, because names
//! must be answered while no controller runs.

use crate::api::client;
use crate::api::watch::Watched;
use crate::probes::{self, Health};
use crate::settings::{FederatedNames, ImportsNamespace, ProbesListen};
use crate::sources::{Wakes, missing, selection, source};
use anyhow::Result;
use clap::Args;
use fedgate_core::{Hostname, TrustDomain};
use fedgate_exchange::names::{self, Metrics, Names};
use fedgate_federation::object::FederatedSuffix;
use fedgate_process::listen::{cannot, listen, stop_all, stop_signal};
use fedgate_process::signals::Signals;
use fedgate_process::tasks::Tasks;
use kube::Client;
use kube::api::DynamicObject;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep;

/// The Service that the chart puts before it.
pub(crate) const SERVICE: &str = "fedgate-dns";

/// The settings of `fedgate dns`.
#[derive(Debug, Clone, Args)]
pub struct DnsSettings {
    /// Where the ServiceEntries of imports are
    #[command(flatten)]
    pub namespace: ImportsNamespace,
    /// What the names of FederatedServices end in, as of `fedgate controller`
    #[command(flatten)]
    pub federated: FederatedNames,
    /// The address that answers DNS, by UDP and TCP
    #[arg(
        long = "dns-listen",
        env = "FEDGATE_DNS_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15053"
    )]
    pub listen: SocketAddr,
    /// Where probes and metrics are
    #[command(flatten)]
    pub probes: ProbesListen,
}

/// An import's ServiceEntry: its hosts, and their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hosts: Vec<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

/// Answers until it receives SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start, or the end of a task ends it.
pub async fn run(settings: DnsSettings) -> Result<()> {
    let mut signals = Signals::new()?;
    let client = client::connect().await?;
    let (health, metrics, mut registry) =
        (Health::default(), Metrics::default(), Registry::default());
    metrics.register(&mut registry);
    let (stop, stopped) = watch::channel(false);
    let (sender, served) = watch::channel(None);
    let mut tasks = Tasks::default();

    let probes = listen("--probes-listen", settings.probes.listen).await?;
    let serve = probes::serve(probes, health.clone(), registry, stop_signal(&stopped));
    tasks.spawn("the address of probes and metrics", serve);
    let tcp = listen("--dns-listen", settings.listen).await?;
    let udp = UdpSocket::bind(tcp.local_addr()?)
        .await
        .map_err(|error| cannot("--dns-listen (UDP)", settings.listen, &error))?;
    tasks.spawn("DNS over UDP", names::serve_udp(udp, served.clone(), metrics.clone()));
    tasks.spawn("DNS over TCP", names::serve_tcp(tcp, served, metrics.clone()));

    let sources = Sources::start(&client, &settings, &mut tasks);
    let follow = sources.follow(&sender, &health, &metrics);
    let ended = tokio::select! {
        () = signals.stop_requested() => Ok(()),
        ended = tasks.ended() => Err(ended),
        () = follow => Ok(()),
    };
    if let Err(why) = &ended {
        health.died(why.to_string());
    }
    // The servers and watches never stop by themselves, and hold nothing that must be put away.
    drop(tasks);
    stop_all(&stop, Tasks::default(), &ended).await;
    ended
}

struct Sources {
    entries: Watched<Entry>,
    peers: Watched<Option<TrustDomain>>,
    suffix: FederatedSuffix,
    wakes: Wakes,
}

impl Sources {
    fn start(client: &Client, settings: &DnsSettings, tasks: &mut Tasks) -> Self {
        let wakes = Wakes::default();
        let entries = selection::imports(settings.namespace.imports(), settings.namespace.own());
        Self {
            entries: source(client, entries, entry, &wakes, tasks),
            peers: source(client, selection::federations(), trust_domain, &wakes, tasks),
            suffix: settings.federated.suffix.clone(),
            wakes,
        }
    }

    /// Puts each change in force. Names that are known stay while the API server is away.
    async fn follow(
        &self,
        sender: &watch::Sender<Option<Arc<Names>>>,
        health: &Health,
        metrics: &Metrics,
    ) {
        let mut serial = 0;
        loop {
            health.beat();
            health.waiting_for(self.missing());
            if self.missing().is_none() {
                let now = self.names();
                sender.send_if_modified(|names| {
                    let is_same = names.as_ref().is_some_and(|names| names.has_the_same_as(&now));
                    if is_same {
                        return false;
                    }
                    serial += 1;
                    metrics.show(&now);
                    tracing::info!(names = now.len(), "serving these names");
                    *names = Some(Arc::new(now.with_serial(serial)));
                    true
                });
            }
            tokio::select! {
                () = self.wakes.inputs.notified() => {}
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    fn missing(&self) -> Option<String> {
        missing(&self.entries).or_else(|| missing(&self.peers))
    }

    fn names(&self) -> Names {
        let peers = self.peers.all().into_values().flatten();
        let zones = peers.map(|trust_domain| format!("svc.{trust_domain}"));
        let zones = zones.chain([self.suffix.to_string()]);
        let hosts = self.entries.all().into_values().flat_map(|entry| {
            let addresses = entry.addresses;
            entry.hosts.into_iter().map(move |host| (host, addresses.clone()))
        });
        Names::new(zones, hosts.filter(|(_, addresses)| !addresses.is_empty()))
    }
}

/// Reads a ServiceEntry.
pub(crate) fn entry(object: DynamicObject) -> Entry {
    let spec = &object.data["spec"];
    let texts = |field: &str| {
        spec[field].as_array().into_iter().flatten().filter_map(|value| value.as_str())
    };
    let hosts = texts("hosts").filter_map(|host| Hostname::parse(host).ok());
    Entry {
        hosts: hosts.map(|host| host.to_string()).collect(),
        addresses: texts("addresses").filter_map(|address| address.parse().ok()).collect(),
    }
}

fn trust_domain(object: DynamicObject) -> Option<TrustDomain> {
    TrustDomain::parse(object.data["spec"]["trustDomain"].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_is_its_hosts_and_addresses_and_what_is_wrong_is_ignored() {
        let read = |spec| {
            entry(
                serde_json::from_value(json!({ "metadata": { "name": "x" }, "spec": spec }))
                    .unwrap(),
            )
        };
        let found = read(
            json!({ "hosts": ["web.shop.svc.beta.example", "*.beta.example", 7], "addresses": ["240.96.0.1", "10.0.0.0/8"] }),
        );
        assert_eq!(found.hosts, ["web.shop.svc.beta.example"]);
        assert_eq!(found.addresses, BTreeSet::from(["240.96.0.1".parse().unwrap()]));
        assert_eq!(read(json!(null)), Entry { hosts: vec![], addresses: BTreeSet::new() });
    }
}
