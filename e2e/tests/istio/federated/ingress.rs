//! Routes of the mesh's own ingress gateway to a federated name.

use super::super::fixture::run;
use super::trio::{FAILOVER, Trio, WEB};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::identity;
use fedgate_e2e::client::{Response, plain_get};
use fedgate_e2e::istio::agent::{Agent, Identity, Role};
use fedgate_e2e::kubernetes::SHOP;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The name by which the world calls the gateway.
const OUTSIDE: &str = "shop.example.test";
const PORT: u16 = 8080;

/// alpha's ingress gateway, which is not fedgate's.
struct Ingress {
    agent: Agent,
}

impl Ingress {
    async fn start(trio: &Trio) -> Result<Self> {
        let server = json!({
            "port": { "number": PORT, "name": "http", "protocol": "HTTP" },
            "hosts": ["*"],
        });
        let gateway = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": { "namespace": SHOP, "name": "ingress" },
            "spec": { "selector": { "istio": "ingress" }, "servers": [server] },
        });
        trio.alpha.cluster.objects().apply_one(&gateway).await?;
        route(trio, json!([{ "destination": { "host": WEB } }])).await?;
        let identity = Identity {
            namespace: SHOP.into(),
            name: "ingress".into(),
            service_account: "ingress".into(),
            labels: json!({ "istio": "ingress" }),
        };
        let (cluster, istiod) = (&trio.alpha.cluster, &trio.alpha.istiod);
        let pod = Agent::prepare(cluster, trio.alpha.folder(), &identity).await?;
        Ok(Self { agent: pod.start(cluster, istiod, Role::Router).await? })
    }

    async fn get(&self, host: &str) -> Result<Response> {
        plain_get((self.agent.address(), PORT).into(), host).await
    }

    async fn is_answered_by(&self, cluster: &str) -> Result<bool> {
        let answer = self.get(OUTSIDE).await?;
        Ok(answer.status == 200 && answer.body == identity("web", cluster))
    }

    async fn wait_answered_by(&self, cluster: &str, within: Duration) -> Result<()> {
        let what = format!("{cluster} to answer");
        wait::until_true(&what, within, async || self.is_answered_by(cluster).await).await
    }
}

/// Routes all requests that come from outside.
async fn route(trio: &Trio, route: Value) -> Result<()> {
    let routes = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "namespace": SHOP, "name": "outside" },
        "spec": { "hosts": [OUTSIDE], "gateways": ["ingress"], "http": [{ "route": route }] },
    });
    trio.alpha.cluster.objects().apply_one(&routes).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_meshs_ingress_gateway_routes_to_a_federated_name() -> Result<()> {
    let run = run("federated-ingress")?;
    let mut trio = Trio::start(&run).await?;
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }]);
    trio.put_web(members, &["beta", "gamma"]).await?;
    let ingress = Ingress::start(&trio).await?;
    ingress.wait_answered_by("beta", SOON).await?;
    ensure!(ingress.get("other.example.test").await?.status == 404, "no route leads there");

    // Shared with a Service of this cluster.
    let half = |host: &str| json!({ "destination": { "host": host }, "weight": 50 });
    let both = json!([half(WEB), half("web.shop.svc.alpha.example")]);
    route(&trio, both).await?;
    let shared = async || {
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..40 {
            *answers.entry(ingress.get(OUTSIDE).await?.body).or_default() += 1;
        }
        let expected = ["alpha", "beta"].map(|cluster| identity("web", cluster));
        ensure!(answers.keys().eq(&expected), "{answers:?}");
        Ok(true)
    };
    wait::until_true("both to answer", SOON, shared).await?;

    route(&trio, json!([{ "destination": { "host": WEB } }])).await?;
    wait::until_true("only beta to answer", SOON, async || {
        let is_beta = async || ingress.is_answered_by("beta").await;
        wait::stays("beta answers", FAILOVER, is_beta).await.map(|()| true)
    })
    .await?;
    trio.beta.stop_gateways().await?;
    ingress.wait_answered_by("gamma", FAILOVER).await
}
