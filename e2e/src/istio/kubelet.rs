//! Does for the chart what Kubernetes would: runs its Deployments and gives addresses to its load
//! balancers.
//!
//! No image is pulled. The controller's containers are this build's program with the Pod template's
//! environment. The gateway's containers are istio-agent and Envoy with the template's labels,
//! service account and volumes.

use super::gateway::{FILTER_FOLDER, GatewayPod, TRUST_FOLDER};
use super::istiod::Istiod;
use crate::kubernetes::balancer::Balancer;
use crate::kubernetes::install::{GATEWAY, GATEWAY_PORT};
use crate::kubernetes::objects::{Key, Objects};
use crate::kubernetes::replica::Replica;
use crate::kubernetes::{KubernetesCluster, NAMESPACE};
use crate::programs;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the operator may take between two steps.
const PATIENCE: Duration = Duration::from_secs(180);

/// The name of the controller's Deployment, and of the Service for peers' requests.
const CONTROLLER: &str = "fedgate";

/// The port of the metadata endpoint's Service.
const HTTPS: u16 = 443;

/// The chart's running programs. All stop when dropped.
pub struct Installed {
    /// The Pods of the gateway.
    pub gateways: Vec<GatewayPod>,
    _replicas: Vec<Replica>,
    _balancers: [Balancer; 2],
}

impl Installed {
    /// Waits for the chart's objects, runs what they describe, and writes their status to the API
    /// server.
    ///
    /// # Errors
    /// When an object does not appear, or a program does not become ready.
    pub async fn run(cluster: &KubernetesCluster, istiod: &Istiod, folder: &Path) -> Result<Self> {
        let objects = cluster.objects();
        let controller = deployment(objects, CONTROLLER).await?;
        let settings = environment(cluster, &controller, folder).await?;
        let mut replicas = Vec::new();
        for number in 1..=count(&controller)? {
            let name = format!("{}-{CONTROLLER}-{number}", cluster.name());
            let (fedgate, log) = (programs::fedgate()?, folder.join(format!("{name}.log")));
            let mut replica = Replica::start(fedgate, &name, &settings, &log).await?;
            replica.wait_ready().await?;
            replicas.push(replica);
        }
        let metadata = Balancer::start_at((cluster.addresses().node, HTTPS).into()).await?;
        metadata.set_targets(replicas.iter().map(Replica::metadata).collect());
        objects.put_load_balancer(NAMESPACE, CONTROLLER, &ip(cluster.addresses().node)).await?;
        available(objects, &controller).await?;

        let gateway = deployment(objects, GATEWAY).await?;
        let mut gateways = Vec::new();
        for number in 1..=count(&gateway)? {
            gateways.push(
                GatewayPod::start(cluster, istiod, folder, &format!("{GATEWAY}-{number}")).await?,
            );
        }
        let balancer =
            Balancer::start_at((cluster.addresses().gateway, GATEWAY_PORT).into()).await?;
        balancer.set_targets(gateways.iter().map(GatewayPod::address).collect());
        objects.put_load_balancer(NAMESPACE, GATEWAY, &ip(cluster.addresses().gateway)).await?;
        available(objects, &gateway).await?;
        Ok(Self { gateways, _replicas: replicas, _balancers: [metadata, balancer] })
    }
}

fn ip(address: std::net::Ipv4Addr) -> Value {
    json!([{ "ip": address.to_string() }])
}

async fn deployment(objects: &Objects, name: &str) -> Result<Value> {
    let key = Key::namespaced("apps/v1", "Deployment", NAMESPACE, name);
    let what = format!("{key}, which the chart makes");
    crate::wait::until(&what, PATIENCE, async || objects.get(key).await).await
}

fn count(deployment: &Value) -> Result<u64> {
    deployment["spec"]["replicas"].as_u64().context("a number of replicas")
}

/// Marks a Deployment as available, as its controller would.
async fn available(objects: &Objects, deployment: &Value) -> Result<()> {
    let replicas = count(deployment)?;
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
    });
    objects.patch_status(Key::of(deployment)?, &status).await
}

/// The environment of the Pod template, with the container's paths replaced by paths on this
/// machine.
async fn environment(
    cluster: &KubernetesCluster,
    deployment: &Value,
    folder: &Path,
) -> Result<BTreeMap<String, String>> {
    let pod = &deployment["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().context("a ServiceAccount")?;
    let variables = pod["containers"][0]["env"].as_array().context("an environment")?;
    let value = |variable: &Value| {
        let [name, value] = [&variable["name"], &variable["value"]].map(Value::as_str);
        Some((name?.to_owned(), value?.to_owned()))
    };
    let mut settings: BTreeMap<String, String> = variables.iter().filter_map(value).collect();
    let secret =
        pod["volumes"][0]["secret"]["secretName"].as_str().context("the certificate's Secret")?;
    let tls =
        secret_folder(cluster.objects(), secret, &folder.join(format!("{}-tls", cluster.name())))
            .await?;
    let kubeconfig = cluster.plane().service_account_kubeconfig(NAMESPACE, account).await?;
    for (variable, value) in [
        ("KUBECONFIG", kubeconfig.display().to_string()),
        ("FEDGATE_METADATA_TLS", tls.display().to_string()),
        ("FEDGATE_FILTER_FILE", programs::filter()?.display().to_string()),
        ("FEDGATE_FILTER_FOLDER", FILTER_FOLDER.to_owned()),
        ("FEDGATE_TRUST_FOLDER", TRUST_FOLDER.to_owned()),
        // With the default, the test would wait half a minute for each step.
        ("FEDGATE_POLL", "1s".to_owned()),
        ("FEDGATE_PROBE", "1s".to_owned()),
    ] {
        settings.insert(variable.to_owned(), value);
    }
    Ok(settings)
}

/// Writes a Secret into a folder as if it were mounted.
async fn secret_folder(objects: &Objects, name: &str, folder: &Path) -> Result<PathBuf> {
    let secret = objects.wait_present(Key::namespaced("v1", "Secret", NAMESPACE, name)).await?;
    std::fs::create_dir_all(folder)?;
    for (file, base64) in secret["data"].as_object().into_iter().flatten() {
        std::fs::write(folder.join(file), STANDARD.decode(base64.as_str().unwrap_or_default())?)?;
    }
    Ok(folder.to_owned())
}
