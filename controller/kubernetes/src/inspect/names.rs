//! The names of imports: which addresses their ServiceEntries have, and which Service answers for
//! them.

use super::snapshot::{list, refused};
use crate::api::client::describe;
use crate::dns::{SERVICE, entry};
use crate::settings::Namespaces;
use crate::sources::selection;
use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The ConfigMaps with CoreDNS's configuration: its own, and the one in which AKS and K3s keep the
/// operator's part.
const COREFILES: [&str; 2] = ["coredns", "coredns-custom"];
const DNS_NAMESPACE: &str = "kube-system";

/// What answers for the names of imports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameService {
    /// The addresses of imported hosts, as far as fedgate chose them.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// The Service of `fedgate dns`.
    pub server: Option<Server>,
}

/// The Service of `fedgate dns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Whether a Pod is ready.
    pub ready: bool,
}

impl NameService {
    /// Asks for them.
    ///
    /// # Errors
    /// If something cannot be listed; the message names the missing permission.
    pub async fn take(client: &Client, namespaces: &Namespaces) -> Result<Self> {
        let ours = selection::imports(namespaces.imports(), namespaces.own());
        let entries = list(client, ours, entry).await?;
        let mut addresses: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for entry in entries.into_values() {
            for host in entry.hosts {
                addresses.entry(host).or_default().extend(&entry.addresses);
            }
        }
        addresses.retain(|_, addresses| !addresses.is_empty());
        Ok(Self { addresses, server: server(client, namespaces.own()).await? })
    }
}

async fn server(client: &Client, namespace: &str) -> Result<Option<Server>> {
    let found = Api::<Service>::namespaced(client.clone(), namespace).get_opt(SERVICE).await;
    let found = found.map_err(|error| refused(&error, "get", "services", Some(namespace)))?;
    let address = found.and_then(|service| service.spec?.cluster_ip?.parse().ok());
    let Some(address) = address else { return Ok(None) };
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let labels = format!("kubernetes.io/service-name={SERVICE}");
    let slices = slices.list(&ListParams::default().labels(&labels)).await;
    let slices = slices.map_err(|error| {
        refused(&error, "list", "endpointslices.discovery.k8s.io", Some(namespace))
    })?;
    let mut endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
    let ready = endpoints.any(|endpoint| {
        endpoint.conditions.is_none_or(|conditions| conditions.ready != Some(false))
    });
    Ok(Some(Server { address, ready }))
}

/// The cluster's Corefile; `Err` says why it is unknown.
pub(crate) async fn corefile(client: &Client) -> Result<String, String> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), DNS_NAMESPACE);
    let mut text = String::new();
    for name in COREFILES {
        let found = maps.get_opt(name).await;
        let found = found.map_err(|error| {
            format!("ConfigMap {DNS_NAMESPACE}/{name} cannot be read: {}", describe(&error))
        })?;
        for part in found.and_then(|map| map.data).into_iter().flatten().map(|(_, part)| part) {
            text += &part;
            text.push('\n');
        }
    }
    match text.is_empty() {
        true => Err(format!("there is no ConfigMap {DNS_NAMESPACE}/coredns")),
        false => Ok(text),
    }
}

/// The zones that a Corefile forwards to this server.
pub(crate) fn forwarded(corefile: &str, server: IpAddr) -> Vec<String> {
    let (mut depth, mut keys, mut block) = (0usize, Vec::new(), Vec::new());
    let mut zones = Vec::new();
    let lines = corefile.lines().map(|line| line.split('#').next().unwrap_or_default());
    for word in lines.flat_map(|line| line.split_whitespace().chain(["\n"])) {
        match (word, depth) {
            ("{", _) => depth += 1,
            ("}", 1) => {
                if forwards_to(&block, server) {
                    zones.append(&mut keys);
                }
                (depth, keys, block) = (0, Vec::new(), Vec::new());
            }
            ("}", _) => depth = depth.saturating_sub(1),
            ("\n", 0) => {}
            (key, 0) => keys.push(zone(key)),
            (word, _) => block.push(word),
        }
    }
    zones
}

/// `dns://svc.beta.example.:53,` is the zone `svc.beta.example`.
fn zone(key: &str) -> String {
    let key = key.trim_end_matches(',');
    let key = key.split_once("://").map_or(key, |(_, key)| key);
    let key = key.rsplit_once(':').map_or(key, |(zone, _)| zone);
    key.trim_end_matches('.').to_ascii_lowercase()
}

fn forwards_to(block: &[&str], server: IpAddr) -> bool {
    let lines = block.split(|word| *word == "\n");
    let mut forwards = lines.filter(|line| line.first() == Some(&"forward"));
    forwards.any(|line| line.iter().skip(2).any(|to| is_server(to, server)))
}

/// `dns://10.0.0.53:53`, `10.0.0.53` or `[fd00::53]:53`.
fn is_server(to: &str, server: IpAddr) -> bool {
    let to = to.split_once("://").map_or(to, |(_, to)| to);
    let of_socket = to.parse::<std::net::SocketAddr>().map(|to| to.ip());
    of_socket.or_else(|_| to.trim_matches(['[', ']']).parse()) == Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zones_of_a_corefile_that_lead_to_our_server() {
        let server = "10.0.0.53".parse().unwrap();
        let text = "
.:53 {
    errors
    kubernetes alpha.example in-addr.arpa {
       pods insecure
    }
    forward . /etc/resolv.conf { # 10.0.0.53
       max_concurrent 1000
    }
}
svc.beta.example:53 svc.Gamma.example.:53 {
    cache 30 {
        serve_stale 1h verify
    }
    forward . 10.0.0.53
}
dns://svc.delta.example:53,
svc.zeta.example {
    forward . dns://10.0.0.53:53
}
# svc.comment.example { forward . 10.0.0.53 }
svc.other.example:53 {
    forward . 10.0.0.54 10.0.0.5
}
svc.open.example { forward . 10.0.0.53
";
        assert_eq!(
            forwarded(text, server),
            ["svc.beta.example", "svc.gamma.example", "svc.delta.example", "svc.zeta.example"]
        );
        assert!(forwarded("} } {", server).is_empty());
        assert!(forwarded("", server).is_empty());
        let six = "fd00::53".parse().unwrap();
        let text = "svc.beta.example {\n forward . [fd00::53]:53\n}";
        assert_eq!(forwarded(text, six), ["svc.beta.example"]);
    }
}
