//! A peer's gateway moves.

use crate::fixture::{Pair, import_objects, wait_condition};
use anyhow::{Result, ensure};
use fedgate_e2e::dns_server::DnsServer;
use fedgate_e2e::kubernetes::install::{GATEWAY, GATEWAY_PORT, NODE};
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, Key, KubernetesCluster, NAMESPACE};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

const GATEWAY_SERVICE: Key<'_> = Key::namespaced("v1", "Service", NAMESPACE, GATEWAY);

/// alpha's import from beta, while beta's gateway moves.
struct Moving<'a> {
    alpha: &'a KubernetesCluster,
    host: &'a str,
    uid: Value,
    audit: AuditLog,
}

impl<'a> Moving<'a> {
    async fn new(alpha: &'a KubernetesCluster, host: &'a str) -> Result<Self> {
        let entry = alpha.objects().wait_present(import_objects(host)[0]).await?;
        Ok(Self {
            alpha,
            host,
            uid: entry["metadata"]["uid"].clone(),
            audit: alpha.plane().audit(),
        })
    }

    /// Waits until the import has these endpoints, in this order.
    async fn wait_at(&self, resolution: &str, expected: &[(&str, u16)]) -> Result<()> {
        let expected: Value = expected
            .iter()
            .map(|(address, port)| json!({ "address": address, "ports": { "http": port } }))
            .collect();
        let places = |object: &Value| -> Value {
            let endpoints = object["spec"]["endpoints"].as_array().into_iter().flatten();
            endpoints.map(|endpoint| json!({ "address": endpoint["address"], "ports": endpoint["ports"] })).collect()
        };
        let there = |object: &Value| {
            object["spec"]["resolution"] == resolution && places(object) == expected
        };
        let what = format!("to go to {expected} by {resolution}");
        let object =
            self.alpha.objects().wait_for(import_objects(self.host)[0], &what, there).await?;
        ensure!(object["metadata"]["uid"] == self.uid, "the import is another object now");
        Ok(())
    }

    /// Checks that only the ServiceEntry was patched: nothing was deleted or created, and objects
    /// that do not depend on the gateway were not written.
    fn was_only_updated(&self) -> Result<()> {
        let written =
            self.audit.matching(|request| request.user == CONTROLLER && request.name == self.host);
        let update = |request: &fedgate_e2e::kubernetes::Request| {
            (request.verb.as_str(), request.resource.as_str(), request.status)
                == ("patch", "serviceentries", 200)
        };
        ensure!(!written.is_empty() && written.iter().all(update), "{written:#?}");
        Ok(())
    }
}

/// The addresses that this machine resolves a name to, in order.
#[expect(clippy::disallowed_methods, reason = "it is the machine that is asked")]
async fn looked_up(name: &str) -> Result<Vec<String>> {
    let found: BTreeSet<_> =
        tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
    Ok(found.iter().map(ToString::to_string).collect())
}

/// beta's gateway has a name, whose records change. This network has no way to IPv6 addresses other
/// than its own.
async fn follow_name(import: &Moving<'_>, dns: &DnsServer, beta: &KubernetesCluster) -> Result<()> {
    let name = "gw.beta.test";
    let ipv6: IpAddr = "2001:db8::77".parse()?;
    let [old, new] = [beta.addresses().node, beta.addresses().gateway].map(IpAddr::from);
    let at = async |address: IpAddr| {
        import.wait_at("STATIC", &[(&address.to_string(), GATEWAY_PORT)]).await
    };
    dns.set(name, &[ipv6, old]);
    let ingress = json!([{ "hostname": name }]);
    beta.objects().put_load_balancer(NAMESPACE, GATEWAY, &ingress).await?;
    at(old).await?;
    dns.set(name, &[ipv6, new]);
    at(new).await?;

    // When only IPv4 addresses cannot be looked up, the last one stays, and the finding says so.
    dns.set_fails_for_ipv4(true);
    let warned = async || {
        let output = import.alpha.fedgate(&["status", "--output", "json"]).await?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        let findings = status["findings"].as_array().into_iter().flatten();
        let mut not_found = findings.filter(|finding| finding["reason"] == "gateway_not_found");
        Ok(not_found.any(|finding| finding["message"].to_string().contains("IPv4")))
    };
    wait::until_true("the failure to be reported", SOON, warned).await?;
    at(new).await?;

    // The twin: with IPv6 addresses only, nothing has failed, so that is where the gateway is.
    dns.set_fails_for_ipv4(false);
    dns.set(name, &[ipv6]);
    at(ipv6).await
}

#[test]
fn a_moved_gateway_updates_the_same_import() {
    scenario("moves", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let host = pair.web.clone();
        let [alpha, beta] = &mut pair.federation.clusters;
        let dns = DnsServer::start(run.path(), alpha.addresses().gateway.into()).await?;
        alpha.set_program(dns.program());
        alpha.restart_with(&[]).await?;
        let import = Moving::new(alpha, &host).await?;
        let first = beta.addresses().gateway.to_string();
        import.wait_at("STATIC", &[(&first, GATEWAY_PORT)]).await?;

        // Another address, several addresses, then a name. If an entry has both, its address is
        // used.
        let ingress =
            json!([{ "ip": "2001:db8::9" }, { "ip": "192.0.2.9", "hostname": "not-this.example" }]);
        beta.objects().put_load_balancer(NAMESPACE, GATEWAY, &ingress).await?;
        import
            .wait_at("STATIC", &[("192.0.2.9", GATEWAY_PORT), ("2001:db8::9", GATEWAY_PORT)])
            .await?;
        follow_name(&import, &dns, beta).await?;
        let ingress = json!([{ "hostname": "localhost" }]);
        beta.objects().put_load_balancer(NAMESPACE, GATEWAY, &ingress).await?;
        let named: Vec<_> = looked_up("localhost").await?;
        let named: Vec<_> = named.iter().map(|address| (address.as_str(), GATEWAY_PORT)).collect();
        import.wait_at("STATIC", &named).await?;

        // Announcing no address at all does not remove the last one.
        beta.objects().put_load_balancer(NAMESPACE, GATEWAY, &json!([])).await?;
        wait_condition(alpha, "beta", "Held", ("True", "HeldDocument")).await?;
        import.wait_at("STATIC", &named).await?;

        // A node port on the nodes that run a gateway: external addresses first.
        let node_port = json!({ "spec": { "type": "NodePort", "ports": [{ "name": "tls", "port": GATEWAY_PORT, "nodePort": 30443 }] } });
        beta.objects().patch(GATEWAY_SERVICE, &node_port).await?;
        let internal = beta.addresses().node.to_string();
        import.wait_at("STATIC", &[(&internal, 30443)]).await?;
        let addresses = json!([{ "type": "InternalIP", "address": internal }, { "type": "ExternalIP", "address": "2001:db8::1" }]);
        beta.objects()
            .patch_status(
                Key::cluster_scoped("v1", "Node", NODE),
                &json!({ "addresses": addresses }),
            )
            .await?;
        import.wait_at("STATIC", &[("2001:db8::1", 30443)]).await?;

        // A configured address takes precedence over discovered ones.
        beta.restart_with(&[("FEDGATE_ADVERTISE", "[2001:db8::5]:443,192.0.2.5:8443")]).await?;
        import.wait_at("STATIC", &[("192.0.2.5", 8443), ("2001:db8::5", 443)]).await?;
        beta.restart_with(&[("FEDGATE_ADVERTISE", "")]).await?;
        import.wait_at("STATIC", &[("2001:db8::1", 30443)]).await?;
        import.was_only_updated()
    });
}
