//! Names in a mesh whose sidecars do not answer DNS: `fedgate dns` behind a real CoreDNS.

use super::fixture::{Pair, run, set_exported};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::coredns::CoreDns;
use fedgate_e2e::dns::{self, Answer, MISSING, REFUSED};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::{Service, federated_service, policy};
use fedgate_e2e::name_server::{ACCOUNT, NameServer};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Within the addresses that are local in each Pod of these tests, apart from istiod's own range.
const RANGE: &str = "240.240.96.0/20";

async fn start_name_server(run: &RunFolder, mesh: &Mesh) -> Result<NameServer> {
    let kubeconfig = mesh.cluster.plane().service_account_kubeconfig(NAMESPACE, ACCOUNT).await?;
    let ip = mesh.cluster.addresses().node.into();
    let mut server = NameServer::start(run, "dns", ip, kubeconfig).await?;
    server.wait_readiness(200).await?;
    Ok(server)
}

/// A federation without DNS capture, in which alpha's imports have addresses of ours.
async fn start(run: &RunFolder) -> Result<Pair> {
    let capture = ("ISTIO_META_DNS_CAPTURE".to_owned(), "false".to_owned());
    let options = MeshOptions { agent_variables: [capture].into(), ..MeshOptions::default() };
    let mut pair = Pair::start_with(run, &options).await?;
    let objects = pair.alpha.cluster.objects();
    objects.apply_file(&xtask::root().join("deploy/names/dns.yaml")).await?;
    pair.alpha.cluster.restart_with(&[("FEDGATE_IMPORT_ADDRESSES", RANGE)]).await?;
    let key = Key::namespaced(
        "networking.istio.io/v1",
        "ServiceEntry",
        NAMESPACE,
        "web.shop.svc.beta.example",
    );
    let has_ours = |entry: &Value| entry["spec"]["addresses"][0].is_string();
    pair.alpha.cluster.objects().wait_for(key, "to have an address of ours", has_ours).await?;
    Ok(pair)
}

/// A name that leads to beta's `web`. Its port differs from that of `web`: here a sidecar listens at
/// addresses instead of catching packets, and for these it has only one set of routes for each port.
const GLOBAL: &str = "web.shop.global";
const GLOBAL_PORT: u16 = 8080;

async fn put_name(pair: &Pair) -> Result<()> {
    let members = "[{peers: [beta], ports: {http: 80}}]";
    let name = federated_service("web", ("http", GLOBAL_PORT), members);
    pair.alpha.cluster.objects().apply(&name).await
}

/// The block that the command prints for CoreDNS, with the address of a Service that no kube-proxy
/// makes reachable here.
async fn corefile(mesh: &Mesh, server: SocketAddr) -> Result<(String, String)> {
    let output = mesh.cluster.fedgate(&["names", "--output", "corefile"]).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let key = Key::namespaced("v1", "Service", NAMESPACE, "fedgate-dns");
    let service = mesh.cluster.objects().get(key).await?.context("there is no Service")?;
    let cluster_ip = service["spec"]["clusterIP"].as_str().context("it has no address")?;
    ensure!(printed.contains(&format!("forward . {cluster_ip}\n")), "{printed}");
    let reachable = printed.replace(cluster_ip, &server.to_string());
    Ok((printed, reachable))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dns_capture_an_import_is_called_by_the_name_that_coredns_resolves() -> Result<()> {
    let run = run("names")?;
    let pair = start(&run).await?;
    let server = start_name_server(&run, &pair.alpha).await?;
    put_name(&pair).await?;
    let block = wait::until("a block with both zones", SOON, async || {
        let (_, block) = corefile(&pair.alpha, server.address()).await?;
        Ok(block.contains("global:53 svc.beta.example:53 {").then_some(block))
    })
    .await?;
    let ip = IpAddr::from(pair.alpha.cluster.addresses().node);
    let coredns = CoreDns::start(run.path(), ip, &block).await?;
    let ask = async |name: &str| dns::ask(coredns.address(), name).await;

    // The name is there, and a sidecar without DNS capture takes calls to its address.
    let Answer { code: 0, address: Some(address) } = ask(&pair.host()).await? else {
        anyhow::bail!("web has no address: {:?}", ask(&pair.host()).await?);
    };
    let in_range = matches!(address.octets(), [240, 240, 96..=111, _]);
    ensure!(in_range, "{address} is not in {RANGE}");
    let global = Import { host: GLOBAL.into(), port: GLOBAL_PORT, protocol: "HTTP" };
    let imports = [pair.import(), global];
    let client =
        Client::start_resolving_at(&pair.alpha, "client", &imports, coredns.address()).await?;
    pair.wait_answers(&client).await?;
    // So is the name of a FederatedService, and no other name in that zone exists.
    wait::until_true("an answer by the federated name", SOON, async || {
        let get = async |address| plain_get(address, GLOBAL).await;
        let answer = client.call(GLOBAL, GLOBAL_PORT, get).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(true)
    })
    .await?;
    let shown = ask(GLOBAL).await?.address.context("no address")?;
    ensure!(matches!(shown.octets(), [240, 240, 96..=111, _]) && shown != address, "{shown}");
    for name in ["mail.shop.global", "web.other.global"] {
        assert_eq!(ask(name).await?, MISSING, "{name}");
    }

    // Without DNS, the sidecar itself resolves nothing.
    let inside = client.agent().network().inside(async || {
        anyhow::Ok(dns::ask(dns::PROXY, "web.shop.svc.beta.example").await.is_err())
    });
    ensure!(inside.await?, "the sidecar answers DNS");

    // What is not imported does not exist, and what is nobody's zone is refused.
    assert_eq!(ask("mail.shop.svc.beta.example").await?, MISSING);
    assert_eq!(dns::ask(server.address(), "mail.shop.svc.beta.example").await?, MISSING);
    for name in ["gw.beta.example", "web.shop.svc.gamma.example", "example.com"] {
        assert_eq!(dns::ask(server.address(), name).await?, REFUSED, "{name}");
    }

    // A name that resolves grants nothing: now another caller is the only one that may call.
    let callers = r#"{peers: [alpha], callers: [{namespace: shop, serviceAccount: clerk}]}"#;
    pair.beta.cluster.objects().apply(&policy("alpha", callers)).await?;
    pair.wait_refused(&client).await?;
    assert_eq!(ask(&pair.host()).await?.address, Some(address), "and it keeps its address");

    // An import that goes takes its name with it.
    set_exported(&pair.beta, "web", false).await?;
    wait::until_true("the name to be gone", SOON, async || Ok(ask(&pair.host()).await? == MISSING))
        .await
}

/// The sidecar's own configuration: a port that is caught by its address, not by its number alone.
#[tokio::test(flavor = "multi_thread")]
async fn two_imports_with_the_same_tcp_port_have_a_listener_each() -> Result<()> {
    let run = run("names-tcp")?;
    let pair = start(&run).await?;
    let server = start_name_server(&run, &pair.alpha).await?;
    for name in ["mail", "news"] {
        let service = Service::new(name, "smtp", 25, pair.backend.address()).exported();
        pair.beta.cluster.put_service(&service).await?;
    }
    let client = Client::start_with_all(&pair.alpha, "client", &[]).await?;
    let mut found = Vec::new();
    for name in ["mail", "news"] {
        let host = format!("{name}.shop.svc.beta.example");
        let address = wait::until(&format!("an address of {name}"), SOON, async || {
            Ok(dns::ask(server.address(), &host).await?.address)
        })
        .await?;
        let listener = format!("\"{address}_25\"");
        client
            .agent()
            .wait_configured("/config_dump?resource=dynamic_listeners", &listener)
            .await?;
        found.push(address);
    }
    ensure!(found[0] != found[1], "both have {}", found[0]);
    Ok(())
}

/// What a newcomer misses is a line of `fedgate check`, until nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_missing_until_names_resolve() -> Result<()> {
    let run = run("names-check")?;
    let pair = start(&run).await?;
    let cluster = &pair.alpha.cluster;
    let mesh = json!({ "mesh": "trustDomain: alpha.example\n" });
    put_config_map(&pair.alpha, "istio-system", "istio", &mesh).await?;
    let line = async || {
        let output = cluster.fedgate(&["check", "--output", "json"]).await?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let sections = report["sections"].as_array().into_iter().flatten();
        let mut checks =
            sections.flat_map(|section| section["checks"].as_array().into_iter().flatten());
        let check = checks.find(|check| check["name"] == "names-resolve");
        check.cloned().context("there is no such line")
    };
    let expect = async |outcome: &str, words: &str| {
        let line = line().await?;
        ensure!(
            line["outcome"] == outcome && line.to_string().contains(words),
            "expected {outcome} with {words:?}, found {line}"
        );
        anyhow::Ok(())
    };
    expect("failed", "no Pod of the Service fedgate-dns is ready").await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": "fedgate-dns-1",
            "labels": { "kubernetes.io/service-name": "fedgate-dns" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.78.0.250"], "conditions": { "ready": true } }],
        "ports": [{ "name": "dns", "port": 15053, "protocol": "UDP" }],
    });
    cluster.objects().apply_one(&slice).await?;
    expect("warning", "there is no ConfigMap kube-system/coredns").await?;
    let corefile_of = |text: &str| json!({ "Corefile": text });
    let default = ".:53 {\n    forward . /etc/resolv.conf\n}\n";
    put_config_map(&pair.alpha, "kube-system", "coredns", &corefile_of(default)).await?;
    expect("warning", "does not forward svc.beta.example").await?;
    let (block, _) = corefile(&pair.alpha, ([127, 0, 0, 1], 53).into()).await?;
    let whole = corefile_of(&format!("{default}{block}"));
    put_config_map(&pair.alpha, "kube-system", "coredns", &whole).await?;
    expect("ok", "CoreDNS forwards svc.beta.example").await?;

    // The name of a FederatedService is in another zone.
    put_name(&pair).await?;
    let missing = async || Ok(expect("warning", "does not forward global").await.is_ok());
    wait::until_true("the zone of federated names to be missing", SOON, missing).await?;
    let (block, _) = corefile(&pair.alpha, ([127, 0, 0, 1], 53).into()).await?;
    let whole = corefile_of(&format!("{default}{block}"));
    put_config_map(&pair.alpha, "kube-system", "coredns", &whole).await?;
    expect("ok", "CoreDNS forwards global, svc.beta.example").await
}

async fn put_config_map(mesh: &Mesh, namespace: &str, name: &str, data: &Value) -> Result<()> {
    let metadata = json!({ "namespace": namespace, "name": name });
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    mesh.cluster.objects().apply_one(&map).await.map(drop)
}
