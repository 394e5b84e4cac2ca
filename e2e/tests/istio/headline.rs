//! The headline: what one trusted root can do in the name of another. Stock Istio believes it on
//! both sides; fedgate refuses it.
//!
//! The tests of stock Istio stay: if Istio ever binds roots to trust domains, they fail and tell
//! us.

use super::fixture::run;
use anyhow::{Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::{self, Response, plain_get};
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::istio::agent::{Agent, Identity, Role};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::install::GATEWAY_PORT;
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, NAMESPACE, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::net::SocketAddr;

/// gamma's client, in certificates signed by gamma's own root and by beta's.
const CLIENT: &str = "spiffe://gamma.example/ns/shop/sa/client";

/// beta's gateway, in certificates signed by beta's own root and by gamma's.
const SERVER: &str = "spiffe://beta.example/ns/fedgate-system/sa/fedgate-gateway";

const HOST: &str = "web.shop.svc.beta.example";

/// alpha is a mesh. beta and gamma have only controllers and roots, which is enough.
async fn clusters(run: &RunFolder) -> Result<(Mesh, KubernetesCluster, KubernetesCluster)> {
    let (beta, gamma) = tokio::try_join!(
        KubernetesCluster::start(run, "beta"),
        KubernetesCluster::start(run, "gamma")
    )?;
    let root = |cluster: &KubernetesCluster| json!({ "pem": cluster.authority().pem(), "trustDomains": [cluster.trust_domain()] });
    let one = |variable: &str| [(variable.to_owned(), "true".to_owned())].into();
    let options = MeshOptions {
        mesh_config: [("caCertificates".to_owned(), json!([root(&beta), root(&gamma)]))].into(),
        variables: one("ISTIO_MULTIROOT_MESH"),
        agent_variables: one("PROXY_CONFIG_XDS_AGENT"),
        ..MeshOptions::default()
    };
    Ok((Mesh::start(run, "alpha", &options).await?, beta, gamma))
}

/// Installs fedgate in alpha and pairs alpha with the others.
async fn federate(alpha: &mut Mesh, peers: [&mut KubernetesCluster; 2]) -> Result<()> {
    for peer in peers {
        peer.put_peer(&alpha.cluster).await?;
        alpha.cluster.put_peer(peer).await?;
        peer.start_replica().await?;
    }
    alpha.cluster.start_replica().await?;
    alpha.start_gateway().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_gammas_name_signed_by_beta() -> Result<()> {
    let run = run("headline-client")?;
    let (mut alpha, mut beta, mut gamma) = clusters(&run).await?;
    let backend = Backend::http_at(alpha.cluster.addresses().node, "web", "alpha").await?;
    let web = Service::new("web", "http", 80, backend.address()).exported();
    alpha.cluster.put_service(&web).await?;
    let (genuine, impostor) =
        (gamma.authority().workload(CLIENT)?, beta.authority().workload(CLIENT)?);
    let betas = beta.authority().workload("spiffe://beta.example/ns/shop/sa/client")?;
    let ask = async |gateway: SocketAddr, caller| -> Result<Response> {
        client::Client::new(Some(caller))?
            .get(gateway, &web.sni("alpha.example"), &web.host("alpha.example"))
            .await
    };

    let stock = stock_gateway(&alpha).await?;
    let gateway = (stock.address(), GATEWAY_PORT).into();
    wait::until_true("the stock gateway to answer gamma", SOON, async || {
        Ok(ask(gateway, &genuine).await?.status == 200)
    })
    .await?;
    wait::until_true("the AuthorizationPolicy to be in force", SOON, async || {
        Ok(ask(gateway, &betas).await.is_err())
    })
    .await?;
    let answer = ask(gateway, &impostor).await;
    ensure!(
        answer.as_ref().is_ok_and(|answer| answer.status == 200),
        "stock Istio refuses gamma's name signed by beta: it binds roots to trust domains now? {answer:?}"
    );

    federate(&mut alpha, [&mut beta, &mut gamma]).await?;
    let gateway = alpha.gateway_address();
    wait::until_true("the gateway to answer gamma", SOON, async || {
        Ok(ask(gateway, &genuine).await?.status == 200)
    })
    .await?;
    let log = AccessLog::from_now(alpha.gateway()?.agent().log());
    let before = backend.connections();
    ensure!(ask(gateway, &impostor).await.is_err(), "gamma's name signed by beta is believed");
    log.wait_for("a refused handshake", |entry| {
        entry
            .tls_failure
            .as_ref()
            .is_some_and(|failure| failure.contains("unable_to_get_local_issuer_certificate"))
    })
    .await?;
    assert_eq!(backend.connections(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_certificate_of_betas_name_signed_by_gamma() -> Result<()> {
    let run = run("headline-server")?;
    let (mut alpha, mut beta, mut gamma) = clusters(&run).await?;
    // The address of beta's gateway.
    let address = SocketAddr::from((beta.addresses().gateway, GATEWAY_PORT));
    // The previous server may not have released the address yet.
    let server = async |root: &Authority, name: &str| {
        let certificate = root.workload(SERVER)?;
        let start = async || Backend::https_at(address, &certificate, "web", name).await.map(Some);
        wait::until("the address to be free", SOON, start).await
    };
    let import = Import { host: HOST.into(), port: 80, protocol: "HTTP" };
    let ask =
        async |client: &Client| client.call(HOST, 80, |address| plain_get(address, HOST)).await;

    stock_import(&alpha, address).await?;
    let forged = server(gamma.authority(), "gamma").await?;
    let client = Client::start(&alpha, "stock-client", std::slice::from_ref(&import)).await?;
    let answers = async || {
        let answer = ask(&client).await?;
        ensure!(
            answer.status == 200,
            "{answer:?}: does stock Istio bind roots to trust domains now?"
        );
        Ok(Some(answer))
    };
    let answer =
        wait::until("a stock sidecar to believe beta's name signed by gamma", SOON, answers)
            .await?;
    assert_eq!(answer.body, "this is web of gamma");
    drop((client, forged));
    for kind in ["ServiceEntry", "DestinationRule"] {
        alpha
            .cluster
            .objects()
            .delete(Key::namespaced("networking.istio.io/v1", kind, NAMESPACE, HOST))
            .await?;
    }

    federate(&mut alpha, [&mut beta, &mut gamma]).await?;
    beta.put_service(&Service::new("web", "http", 80, address).exported()).await?;
    let genuine = server(beta.authority(), "beta").await?;
    let client = Client::start(&alpha, "client", &[import]).await?;
    wait::until_true("beta's own server to be believed", SOON, async || {
        Ok(ask(&client).await?.status == 200)
    })
    .await?;
    drop(genuine);
    let _forged = server(gamma.authority(), "gamma").await?;
    let refused = async || {
        let answer = ask(&client).await?;
        ensure!(answer.status == 503, "{answer:?}");
        let failures = client
            .agent()
            .ask("/stats?filter=web.shop.svc.beta.example.*ssl.fail_verify_error")
            .await?;
        let count = failures.trim().rsplit(": ").next().and_then(|count| count.parse::<u64>().ok());
        let is_counted = count.is_some_and(|count| count > 0);
        ensure!(is_counted, "it was refused for another reason: {failures}");
        Ok(Some(()))
    };
    wait::until("beta's name signed by gamma to be refused", SOON, refused).await
}

/// A gateway as in Istio's own documentation, with an AuthorizationPolicy for gamma alone.
async fn stock_gateway(alpha: &Mesh) -> Result<Agent> {
    let labels = json!({ "istio": "stock" });
    let object = |api: &str, kind: &str, spec: serde_json::Value| json!({ "apiVersion": api, "kind": kind, "metadata": { "namespace": SHOP, "name": "stock" }, "spec": spec });
    let network = "networking.istio.io/v1";
    let server = json!({
        "port": { "number": GATEWAY_PORT, "name": "tls", "protocol": "TLS" },
        "hosts": ["*.alpha.example"],
        "tls": { "mode": "ISTIO_MUTUAL" },
    });
    let destination = json!({ "host": "web.shop.svc.alpha.example", "port": { "number": 80 } });
    let route = json!({ "hosts": ["*.alpha.example"], "gateways": ["stock"], "tcp": [{ "route": [{ "destination": destination }] }] });
    let rule = json!({ "from": [{ "source": { "principals": ["gamma.example/*"] } }] });
    for object in [
        object(network, "Gateway", json!({ "selector": labels, "servers": [server] })),
        object(network, "VirtualService", route),
        object(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            json!({ "selector": { "matchLabels": labels }, "action": "ALLOW", "rules": [rule] }),
        ),
    ] {
        alpha.cluster.objects().apply_one(&object).await?;
    }
    let identity = Identity {
        namespace: SHOP.into(),
        name: "stock-1".into(),
        service_account: "stock".into(),
        labels,
    };
    Agent::prepare(&alpha.cluster, alpha.folder(), &identity)
        .await?
        .start(&alpha.cluster, &alpha.istiod, Role::Router)
        .await
}

/// A handwritten import of beta's service, which expects the identity of beta's gateway.
async fn stock_import(alpha: &Mesh, address: SocketAddr) -> Result<()> {
    let object = |kind: &str, spec: serde_json::Value| {
        let metadata = json!({ "namespace": NAMESPACE, "name": HOST });
        json!({ "apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec })
    };
    let entry = json!({
        "hosts": [HOST],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
        "endpoints": [{ "address": address.ip().to_string(), "ports": { "http": address.port() } }],
        "subjectAltNames": [SERVER],
    });
    let rule = json!({ "host": HOST, "trafficPolicy": { "tls": { "mode": "ISTIO_MUTUAL" } } });
    alpha.cluster.objects().apply_one(&object("ServiceEntry", entry)).await?;
    alpha.cluster.objects().apply_one(&object("DestinationRule", rule)).await.map(drop)
}
