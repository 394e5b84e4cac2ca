//! alpha calls names whose members are in alpha, beta and gamma.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{Response, plain_get, plain_greeting};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh, Server};
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long calls may fail after a member has died.
pub(super) const FAILOVER: Duration = Duration::from_secs(2);

pub(super) const WEB: &str = "web.shop.global";
pub(super) const MAIL: &str = "mail.shop.global";

/// Three meshes, all peers of each other. beta and gamma export `web` (HTTP) and `mail`, whose
/// servers speak first. alpha has a `web` of its own.
pub(super) struct Trio {
    pub(super) alpha: Mesh,
    pub(super) beta: Mesh,
    pub(super) gamma: Mesh,
    pub(super) backends: Vec<Backend>,
    _server: Server,
}

impl Trio {
    pub(super) async fn start(run: &RunFolder) -> Result<Self> {
        let names = ["alpha", "beta", "gamma"];
        let [alpha, beta, gamma] = federation(run, names, &MeshOptions::default()).await?;
        let mut backends = Vec::new();
        for mesh in [&beta, &gamma] {
            let (name, node) = (mesh.cluster.name(), mesh.cluster.addresses().node);
            let web = Backend::http_at(node, "web", name).await?;
            let mail = Backend::greeting_at(node, "mail", name).await?;
            for service in [
                Service::new("web", "http", 80, web.address()).exported(),
                Service::new("mail", "smtp", 25, mail.address()).exported(),
            ] {
                mesh.cluster.put_service(&service).await?;
            }
            backends.extend([web, mail]);
        }
        let server = Server::start(&alpha, "web").await?;
        let web = Service::new("web", "http", 80, server.address()).of_pod("web");
        alpha.cluster.put_service(&web).await?;
        Ok(Self { alpha, beta, gamma, backends, _server: server })
    }

    /// Applies alpha's `FederatedService` `shop/NAME`, and waits until these clusters are in use.
    pub(super) async fn put(
        &self,
        name: &str,
        port: (&str, u16),
        members: Value,
        in_use: &[&str],
    ) -> Result<()> {
        self.put_port(name, json!({ "name": port.0, "port": port.1 }), members, in_use).await
    }

    /// Like [`Self::put`], with more than a name and a number in the port.
    pub(super) async fn put_port(
        &self,
        name: &str,
        port: Value,
        members: Value,
        in_use: &[&str],
    ) -> Result<()> {
        let object = json!({
            "apiVersion": "fedgate.dev/v1alpha1",
            "kind": "FederatedService",
            "metadata": { "namespace": SHOP, "name": name },
            "spec": { "ports": [port], "members": members },
        });
        self.alpha.cluster.objects().apply_one(&object).await?;
        self.wait_in_use(name, in_use).await.map(drop)
    }

    /// `web`, with this cluster's own Service first.
    pub(super) async fn put_web(&self, members: Value, in_use: &[&str]) -> Result<()> {
        self.put("web", ("http", 80), members, in_use).await
    }

    /// `mail` of beta, then of gamma.
    pub(super) async fn put_mail(&self) -> Result<()> {
        let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }]);
        self.put("mail", ("smtp", 25), members, &["beta", "gamma"]).await
    }

    /// Waits until exactly these members are not passed over; returns the object.
    pub(super) async fn wait_in_use(&self, name: &str, expected: &[&str]) -> Result<Value> {
        let key = Key::namespaced("fedgate.dev/v1alpha1", "FederatedService", SHOP, name);
        let what = format!("to use {expected:?}");
        let in_use = |object: &Value| {
            let members = object["status"]["members"].as_array().into_iter().flatten();
            let used = members
                .filter(|member| {
                    ["ready", "unproven"].contains(&member["state"].as_str().unwrap_or(""))
                })
                .filter_map(|member| member["cluster"].as_str());
            object["metadata"]["generation"] == object["status"]["observedGeneration"]
                && used.eq(expected.iter().copied())
        };
        self.alpha.cluster.objects().wait_for(key, &what, in_use).await
    }

    /// Like [`Self::client`]. Its sidecar repeats requests to `web` whose connection broke: they
    /// may have had an effect, so Istio does not repeat them unless their owner says that it may.
    pub(super) async fn client_that_retries(&self) -> Result<Client> {
        let conditions = "connect-failure,refused-stream,unavailable,cancelled,reset";
        let routes = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": { "namespace": SHOP, "name": "web-global" },
            "spec": {
                "hosts": [WEB],
                "http": [{
                    "retries": { "attempts": 3, "retryOn": conditions },
                    "route": [{ "destination": { "host": WEB } }],
                }],
            },
        });
        self.alpha.cluster.objects().apply_one(&routes).await?;
        let client = self.client().await?;
        let dump = "/config_dump?resource=dynamic_route_configs";
        client.agent().wait_configured(dump, "cancelled,reset").await?;
        Ok(client)
    }

    /// A program of alpha that calls both names.
    pub(super) async fn client(&self) -> Result<Client> {
        Client::start_for_names(&self.alpha, "client", &[web(), mail()]).await
    }
}

pub(super) fn web() -> Import {
    Import { host: WEB.into(), port: 80, protocol: "HTTP" }
}

pub(super) fn mail() -> Import {
    Import { host: MAIL.into(), port: 25, protocol: "TCP" }
}

/// Calls `web` by its federated name.
pub(super) async fn get(client: &Client) -> Result<Response> {
    client.call(WEB, 80, async |address| plain_get(address, WEB).await).await
}

/// Opens a connection to `mail` and returns the greeting.
pub(super) async fn greeting(client: &Client) -> Result<String> {
    client.call(MAIL, 25, async |address| Ok(plain_greeting(address).await?.1)).await
}

/// Calls a name once; `Ok` is the cluster that answered.
pub(super) async fn answered_by(client: &Client, name: &str) -> Result<String> {
    let (text, service) = match name {
        WEB => {
            let answer = get(client).await?;
            ensure!(answer.status == 200, "{answer:?}");
            (answer.body, "web")
        }
        _ => (greeting(client).await?.trim_start_matches("220 ").to_owned(), "mail"),
    };
    let clusters = ["alpha", "beta", "gamma"];
    let found = clusters.into_iter().find(|cluster| text == identity(service, cluster));
    Ok(found.with_context(|| format!("nobody's answer: {text:?}"))?.to_owned())
}

/// Waits until a name is answered by this cluster.
pub(super) async fn wait_answers(client: &Client, name: &str, cluster: &str) -> Result<()> {
    wait::until_true(&format!("{name} to be answered by {cluster}"), SOON, async || {
        Ok(answered_by(client, name).await? == cluster)
    })
    .await
}

/// How many calls in a row must go the same way before all of them do. Each of an Envoy's worker
/// threads takes a change by itself, and a call meets one of them.
const IN_A_ROW: usize = 10;

/// Like [`wait_answers`], until no other cluster answers.
pub(super) async fn wait_only(client: &Client, name: &str, cluster: &str) -> Result<()> {
    wait::until_true(&format!("{name} to be answered by {cluster} alone"), SOON, async || {
        for _ in 0..IN_A_ROW {
            if answered_by(client, name).await? != cluster {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// Calls until it is answered by this cluster, as [`leads_to`] does.
///
/// # Errors
/// When it takes longer than a failover may.
pub(super) async fn fails_over(client: &Client, name: &str, to: &str) -> Result<()> {
    let took = leads_to(client, name, to).await?;
    ensure!(took < FAILOVER, "{name}: {to} answers only after {took:?}");
    Ok(())
}

/// Calls a name again and again, at most one call at a time, until it is answered by this cluster.
/// Returns how long that took, and prints it with the number of calls that failed.
///
/// # Errors
/// When it takes twice as long as a failover may. What takes almost that long on a quiet machine can
/// take longer on a busy one.
pub(super) async fn leads_to(client: &Client, name: &str, to: &str) -> Result<Duration> {
    let (start, mut failed) = (Instant::now(), 0);
    let (mut in_a_row, mut took) = (0, Duration::ZERO);
    while in_a_row < IN_A_ROW {
        match tokio::time::timeout(FAILOVER, answered_by(client, name)).await {
            Ok(Ok(cluster)) if cluster == to => {
                if in_a_row == 0 {
                    took = start.elapsed();
                }
                in_a_row += 1;
                continue;
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => failed += 1,
        }
        in_a_row = 0;
        let elapsed = start.elapsed();
        ensure!(elapsed < 2 * FAILOVER, "{name}: {to} does not answer; {failed} calls failed");
    }
    println!("{name}: {to} answers after {took:?}, and {failed} calls failed");
    Ok(took)
}
