//! TLS passes through the gateway to the workload. The workload sees who calls; the gateway sees
//! only what is called.

use super::fixture::{of_delivery, run, set_exported};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Leaf;
use fedgate_e2e::client::{self, Response, plain_get};
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Import, Mesh, Server};
use fedgate_e2e::kubernetes::{Key, NAMESPACE, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

/// alpha and beta as peers. beta is set up for TLS passthrough.
async fn meshes(run: &RunFolder, options: &MeshOptions) -> Result<[Mesh; 2]> {
    let (mut alpha, mut beta) =
        tokio::try_join!(Mesh::start(run, "alpha", options), Mesh::start(run, "beta", options))?;
    beta.cluster.settings().insert("FEDGATE_PASSTHROUGH".into(), "true".into());
    alpha.cluster.put_peer(&beta.cluster).await?;
    beta.cluster.put_peer(&alpha.cluster).await?;
    for mesh in [&mut alpha, &mut beta] {
        mesh.cluster.start_replica().await?;
        mesh.start_gateway().await?;
    }
    Ok([alpha, beta])
}

fn host(service: &str) -> String {
    format!("{service}.{SHOP}.svc.beta.example")
}

async fn call(client: &Client, host: &str) -> Result<Response> {
    let name = host.to_owned();
    client.call(host, 80, move |address| async move { plain_get(address, &name).await }).await
}

/// The TLS modes of the gateway's servers.
async fn modes(mesh: &Mesh) -> Result<Vec<String>> {
    let key = Key::namespaced("networking.istio.io/v1", "Gateway", NAMESPACE, "fedgate-gateway");
    let gateway = mesh.cluster.objects().get(key).await?.context("there is no Gateway")?;
    let servers = gateway["spec"]["servers"].as_array().context("no servers")?;
    Ok(servers
        .iter()
        .filter_map(|server| server["tls"]["mode"].as_str().map(str::to_owned))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workload_checks_the_caller_and_the_gateway_checks_the_export() -> Result<()> {
    passed_through("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_filter_passes_tls_through_as_well() -> Result<()> {
    passed_through("DynamicModule").await
}

async fn passed_through(delivery: &str) -> Result<()> {
    let run = run(&format!("passthrough-{delivery}"))?;
    let [alpha, beta] = meshes(&run, &of_delivery(delivery)).await?;
    let server = Server::start(&beta, "web").await?;
    let web =
        Service::new("web", "http", 80, server.address()).of_pod("web").exported().passed_through();
    beta.cluster.put_service(&web).await?;

    // Without the permission it is not exported, and the finding says what to do.
    wait::until_true("the finding of what is missing", SOON, async || {
        let status = beta.cluster.fedgate(&["status", "--output", "json"]).await?;
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        Ok(text.contains("passthrough_unavailable")
            && text.contains("deploy/passthrough/rbac.yaml"))
    })
    .await?;
    ensure!(modes(&beta).await? == ["ISTIO_MUTUAL"]);
    beta.cluster.objects().apply_file(&xtask::root().join("deploy/passthrough/rbac.yaml")).await?;

    let import = Import { host: host("web"), port: 80, protocol: "HTTP" };
    let clerk = Client::start(&alpha, "clerk", std::slice::from_ref(&import)).await?;
    wait::until_true("the server that passes TLS through", SOON, async || {
        Ok(modes(&beta).await? == ["ISTIO_MUTUAL", "AUTO_PASSTHROUGH"])
    })
    .await?;
    wait::until("web to answer the clerk", SOON, async || {
        let answer = call(&clerk, &host("web")).await?;
        ensure!(answer.status == 200 && answer.body == "this is web of beta", "{answer:?}");
        Ok(Some(()))
    })
    .await?;

    // The workload's own policy checks the caller's own identity.
    let principals = ["alpha.example/ns/shop/sa/clerk", "beta.example/ns/shop/sa/clerk"];
    let rule = json!({ "from": [{ "source": { "principals": principals } }] });
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": { "namespace": SHOP, "name": "web" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "rules": [rule] },
    });
    beta.cluster.objects().apply_one(&policy).await?;
    let stranger = Client::start(&alpha, "stranger", std::slice::from_ref(&import)).await?;
    wait::until_true("the stranger to be refused by the workload", SOON, async || {
        Ok(call(&stranger, &host("web")).await?.status == 403)
    })
    .await?;
    ensure!(call(&clerk, &host("web")).await?.status == 200);

    // A certificate with alpha's name, signed by beta's own CA: the workload binds each root to its
    // trust domain.
    let gateway = beta.gateway_address();
    let sni = web.sni("beta.example");
    let genuine = alpha.cluster.authority().workload("spiffe://alpha.example/ns/shop/sa/clerk")?;
    let forged = beta.cluster.authority().workload("spiffe://alpha.example/ns/shop/sa/clerk")?;
    let log = AccessLog::from_now(beta.gateway()?.agent().log());
    let answer = client::Client::new(Some(&genuine))?
        .offering_istio()
        .get(gateway, &sni, &host("web"))
        .await?;
    ensure!(answer.status == 200, "{answer:?}");
    let entry =
        log.wait_for("the call", |entry| entry.reason.as_deref() == Some("granted")).await?;
    ensure!(
        entry.client_uri_san.is_none() && entry.peer.is_none(),
        "the gateway has seen who calls: {entry:?}"
    );
    ensure!(entry.cluster.as_ref() == Some(&sni), "{entry:?}");
    let before = server.backend().connections();
    let answer =
        client::Client::new(Some(&forged))?.offering_istio().get(gateway, &sni, &host("web")).await;
    ensure!(answer.is_err(), "the impostor is answered: {answer:?}");
    ensure!(server.backend().connections() == before, "the impostor has reached the program");
    ensure!(call(&clerk, &host("web")).await?.status == 200);

    // Two names, the second one in beta's own trust domain: the validator checks the first, and an
    // AuthorizationPolicy accepts either.
    let two = Leaf::new()
        .uri("spiffe://alpha.example/ns/shop/sa/stranger")?
        .uri("spiffe://beta.example/ns/shop/sa/clerk")?;
    let two = alpha.cluster.authority().sign(&two)?;
    let before = server.backend().connections();
    let answer =
        client::Client::new(Some(&two))?.offering_istio().get(gateway, &sni, &host("web")).await;
    ensure!(answer.is_err(), "two names are one too many: {answer:?}");
    ensure!(
        server.backend().connections() == before,
        "whoever has two names has reached the program"
    );

    a_foreign_server_opens_nothing(&beta, &server, &genuine).await?;

    // A client that does not offer the mesh's protocol matches no filter chain, not even the one
    // that terminates TLS.
    let answer = client::Client::new(Some(&genuine))?.get(gateway, &sni, &host("web")).await;
    ensure!(answer.is_err(), "{answer:?}");

    set_exported(&beta, "web", false).await?;
    wait::until_true("web to be refused", SOON, async || {
        Ok(call(&clerk, &host("web")).await.map_or(true, |answer| answer.status == 503))
    })
    .await?;
    wait::until_true(
        "the server to go",
        SOON,
        async || Ok(modes(&beta).await? == ["ISTIO_MUTUAL"]),
    )
    .await?;
    let key = Key::namespaced(
        "networking.istio.io/v1alpha3",
        "EnvoyFilter",
        SHOP,
        "fedgate-passthrough-web",
    );
    wait::until_true("its EnvoyFilter to go", SOON, async || {
        Ok(beta.cluster.objects().get(key).await?.is_none())
    })
    .await
}

/// A foreign Gateway adds a host to the gateway's port. The filter is in that filter chain as well.
async fn a_foreign_server_opens_nothing(
    beta: &Mesh,
    server: &Server,
    genuine: &fedgate_e2e::authority::Identity,
) -> Result<()> {
    let hidden = Service::new("hidden", "http", 80, server.address()).of_pod("web");
    beta.cluster.put_service(&hidden).await?;
    let tls = json!({
        "port": { "number": 15443, "name": "tls-mine", "protocol": "TLS" },
        "hosts": [format!("{SHOP}/{}", host("hidden"))],
        "tls": { "mode": "AUTO_PASSTHROUGH" },
    });
    let spec = json!({ "selector": { "istio": "fedgate" }, "servers": [tls] });
    let metadata = json!({ "namespace": NAMESPACE, "name": "mine" });
    let gateway = json!({ "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec });
    beta.cluster.objects().apply_one(&gateway).await?;
    let sni = hidden.sni("beta.example");
    beta.gateway()?
        .agent()
        .wait_configured("/config_dump?resource=dynamic_listeners", &sni)
        .await?;
    let log = AccessLog::from_now(beta.gateway()?.agent().log());
    let client = client::Client::new(Some(genuine))?.offering_istio();
    let before = server.backend().connections();
    let answer = client.get(beta.gateway_address(), &sni, &host("hidden")).await;
    ensure!(answer.is_err(), "what nobody exports is answered: {answer:?}");
    log.wait_for_reason("unknown_service").await?;
    ensure!(server.backend().connections() == before, "the refused call has reached the program");
    Ok(())
}
