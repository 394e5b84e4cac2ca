//! Which member a call goes to, and what happens when none is left.

use super::super::fixture::{run, set_exported};
use super::trio::{MAIL, Trio, WEB, get, greeting, wait_answers};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::kubernetes::objects::condition_with_reason;
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

/// Makes the workloads of alpha's `web` ready, or not.
async fn set_local(trio: &Trio, ready: bool) -> Result<()> {
    let key = Key::namespaced("discovery.k8s.io/v1", "EndpointSlice", SHOP, "web-1");
    let objects = trio.alpha.cluster.objects();
    let mut endpoints = objects.get(key).await?.unwrap_or_default()["endpoints"].clone();
    endpoints[0]["conditions"] = json!({ "ready": ready });
    objects.patch(key, &json!({ "endpoints": endpoints })).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_to_the_first_member_that_is_ready() -> Result<()> {
    let run = run("federated-order")?;
    let trio = Trio::start(&run).await?;
    let members = json!([{ "local": {} }, { "peers": ["beta"] }, { "peers": ["gamma"] }]);
    trio.put_web(members, &["local", "beta", "gamma"]).await?;
    trio.put_mail().await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "alpha").await?;
    wait_answers(&client, MAIL, "beta").await?;

    // No workload of this cluster is ready: istiod says so, and Envoy passes it over.
    set_local(&trio, false).await?;
    wait_answers(&client, WEB, "beta").await?;
    // beta no longer offers it: the controller passes it over.
    set_exported(&trio.beta, "web", false).await?;
    trio.wait_in_use("web", &["local", "gamma"]).await?;
    wait_answers(&client, WEB, "gamma").await?;
    set_local(&trio, true).await?;
    wait_answers(&client, WEB, "alpha").await?;

    // The other way round.
    set_exported(&trio.beta, "web", true).await?;
    let members = json!([{ "peers": ["beta", "gamma"] }, { "local": {} }]);
    trio.put_web(members, &["beta", "gamma", "local"]).await?;
    wait_answers(&client, WEB, "beta").await?;
    set_exported(&trio.beta, "web", false).await?;
    wait_answers(&client, WEB, "gamma").await?;
    set_exported(&trio.gamma, "web", false).await?;
    wait_answers(&client, WEB, "alpha").await
}

/// beta renames its Service: calls go to the new name as soon as it exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_peers_service_may_have_two_names() -> Result<()> {
    let run = run("federated-renamed")?;
    let trio = Trio::start(&run).await?;
    let members =
        json!([{ "peers": ["beta"], "service": { "name": "web-v2" } }, { "peers": ["beta"] }]);
    trio.put_web(members, &["beta"]).await?;
    trio.put_mail().await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "beta").await?;

    let new = Backend::http_at(trio.beta.cluster.addresses().node, "web-v2", "beta").await?;
    let service = Service::new("web-v2", "http", 80, new.address()).exported();
    trio.beta.cluster.put_service(&service).await?;
    trio.wait_in_use("web", &["beta", "beta"]).await?;
    wait::until_true("the new one to answer", SOON, async || {
        Ok(get(&client).await?.body == identity("web-v2", "beta"))
    })
    .await?;

    set_exported(&trio.beta, "web-v2", false).await?;
    trio.wait_in_use("web", &["beta"]).await?;
    wait_answers(&client, WEB, "beta").await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_member_left_calls_fail_and_the_log_says_why() -> Result<()> {
    let run = run("federated-none")?;
    let trio = Trio::start(&run).await?;
    let log = json!({
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": { "namespace": SHOP, "name": "log" },
        "spec": { "accessLogging": [{ "providers": [{ "name": "envoy" }] }] },
    });
    trio.alpha.cluster.objects().apply_one(&log).await?;
    trio.put_web(json!([{ "peers": ["beta"] }]), &["beta"]).await?;
    trio.put_mail().await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "beta").await?;

    for mesh in [&trio.beta, &trio.gamma] {
        for name in ["web", "mail"] {
            set_exported(mesh, name, false).await?;
        }
    }
    let object = trio.wait_in_use("web", &[]).await?;
    let ready = condition_with_reason(&object, "Ready");
    ensure!(ready == Some(("False", "NoMemberReady")), "{object:#}");
    trio.wait_in_use("mail", &[]).await?;
    let logged = |cluster: &str, flags: &str| {
        let log = std::fs::read_to_string(client.agent().log()).unwrap_or_default();
        log.lines().any(|line| line.contains(cluster) && line.contains(flags))
    };
    // Calls go on until the log has both: the first to fail may have met a gateway that refuses it
    // already, while Envoy still had the member.
    wait::until_true("calls to fail at once, and the log to say why", SOON, async || {
        let answer = get(&client).await?;
        Ok(answer.status == 503
            && answer.body == "no healthy upstream"
            && greeting(&client).await.is_err()
            && logged("outbound|80||web.shop.global", " 503 UH no_healthy_upstream ")
            && logged("outbound|25||mail.shop.global", " 0 UH "))
    })
    .await?;
    let printed = trio.alpha.cluster.fedgate(&["check"]).await?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    ensure!(printed.contains("none for mail.shop.global:25, web.shop.global:80"), "{printed}");

    // It is found again once a member is back.
    set_exported(&trio.gamma, "mail", true).await?;
    wait_answers(&client, MAIL, "gamma").await
}
