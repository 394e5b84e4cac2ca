//! beta's root is replaced under load: no request fails, and no connection is cut.

use super::fixture::run;
use super::load::Load;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::{self, plain_get, plain_greeting, send_line, server_certificate};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::TcpStream;

/// Certificates are renewed after half of their lifetime, plus or minus some seconds.
const RENEWAL: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_under_load() -> Result<()> {
    let run = run("rotation")?;
    let variables = ["ISTIO_MULTIROOT_MESH", "AUTO_RELOAD_PLUGIN_CERTS"]
        .map(|name| (name.to_owned(), "true".to_owned()));
    let options = MeshOptions {
        variables: variables.into(),
        agent_variables: [("SECRET_TTL".to_owned(), "30s".to_owned())].into(),
        ..MeshOptions::default()
    };
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &options).await?;
    let address = beta.cluster.addresses().node;
    let (web, mail) = (
        Backend::http_at(address, "web", "beta").await?,
        Backend::greeting_at(address, "mail", "beta").await?,
    );
    let web = Service::new("web", "http", 80, web.address()).exported();
    let mail_service = Service::new("mail", "smtp", 25, mail.address()).exported();
    for service in [&web, &mail_service] {
        beta.cluster.put_service(service).await?;
    }
    let (host, mail_host) = (web.host("beta.example"), mail_service.host("beta.example"));
    let imports = [
        Import { host: host.clone(), port: 80, protocol: "HTTP" },
        Import { host: mail_host.clone(), port: 25, protocol: "TCP" },
    ];
    let client = Client::start(&alpha, "client", &imports).await?;
    let open = async || {
        let call = async |address| Ok(plain_greeting(address).await?.0.into_inner().into_std()?);
        client.call(&mail_host, 25, call).await.map(Some)
    };
    let mut connection =
        BufReader::new(TcpStream::from_std(wait::until("a greeting", SOON, open).await?)?);
    let answers = async || {
        let name = host.clone();
        let answer = client
            .call(&host, 80, move |address| async move { plain_get(address, &name).await })
            .await?;
        Ok(answer.status == 200)
    };
    wait::until_true("web to answer", SOON, answers).await?;

    let (old, new) = (beta.cluster.authority(), Authority::root("the next root of beta")?);
    let both = old.pem() + &new.pem();
    let load = Load::default();
    let rotate = async {
        // First, everyone trusts both roots.
        beta.istiod.replace_ca(old, &both)?;
        wait_roots(&alpha, 2).await?;
        wait_acknowledged(&beta, "alpha").await?;
        // The acknowledgement says that alpha has written them, and istiod may be about to send them.
        let clusters = "/config_dump?resource=dynamic_active_clusters";
        client.agent().wait_configured(clusters, &line_of(&new)?).await?;
        // Then the new root signs.
        beta.istiod.replace_ca(&new, &both)?;
        wait_signed_by(&beta, "the next root of beta").await?;
        // Then the old root is removed.
        beta.istiod.replace_ca(&new, &new.pem())?;
        wait_roots(&alpha, 1).await?;
        wait::stays("web answers", Duration::from_secs(2), answers).await
    };
    load.beside(&client, &host, rotate).await?;
    ensure!(send_line(&mut connection, "NOOP").await? == "250 NOOP", "the open connection is gone");
    Ok(())
}

/// Waits until alpha's clients trust this many roots of beta.
async fn wait_roots(alpha: &Mesh, count: usize) -> Result<()> {
    let roots = |object: &Value| {
        let map: Value = serde_json::from_str(object["data"]["bundles.json"].as_str()?).ok()?;
        Some(map["trust_domains"]["beta.example"]["keys"].as_array()?.len())
    };
    let key = Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-trust-bundle");
    let what = format!("to have {count} roots of beta");
    alpha
        .cluster
        .objects()
        .wait_for(key, &what, |object| roots(object) == Some(count))
        .await
        .map(drop)
}

/// Waits until beta reports that it is safe to sign with the new root.
/// A line of a root's PEM that no other root has.
fn line_of(root: &Authority) -> Result<String> {
    root.pem().lines().nth(5).map(str::to_owned).context("a long certificate")
}

async fn wait_acknowledged(beta: &Mesh, peer: &str) -> Result<()> {
    let key = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", peer);
    let acknowledged = |object: &Value| {
        fedgate_e2e::kubernetes::condition(object, "RootsAcknowledged") == Some("True")
    };
    beta.cluster.objects().wait_for(key, "to acknowledge both roots", acknowledged).await.map(drop)
}

/// Waits until the gateway presents a certificate signed by this root.
async fn wait_signed_by(mesh: &Mesh, root: &str) -> Result<()> {
    let client = client::Client::new(None)?;
    wait::until_true(
        "the gateway's certificate to be signed by the new root",
        RENEWAL,
        async || {
            let sni = format!("outbound_.80_._.web.shop.svc.{}", mesh.cluster.trust_domain());
            let connection = client.connect(mesh.gateway_address(), &sni).await?;
            let certificate = server_certificate(&connection).context("no certificate")?;
            Ok(certificate.windows(root.len()).any(|bytes| bytes == root.as_bytes()))
        },
    )
    .await
}
