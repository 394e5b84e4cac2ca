//! The only container of a Pod in a mesh: istio-agent and the Envoy that it starts.

use super::istiod::Istiod;
use super::pod::PodNetwork;
use crate::kubernetes::KubernetesCluster;
use crate::kubernetes::objects::Key;
use crate::kubernetes::platform::Pod;
use crate::process::Process;
use crate::programs;
use crate::wait::SOON;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a proxy may take to become ready on a fully loaded machine.
const START: Duration = Duration::from_secs(120);

/// The port where istio-agent reports whether the proxy is ready.
const STATUS_PORT: u16 = 15020;

/// The port of the kubelet's readiness probe.
const READY_PORT: u16 = 15021;

/// The port of Envoy's admin interface in each Pod, on the loopback address.
const ADMIN_PORT: u16 = 15000;

/// The file with what is merged into Envoy's bootstrap, if there is one, relative to the Pod's
/// working folder. Istio's injection mounts it there.
pub(super) const BOOTSTRAP: &str = "etc/istio/custom-bootstrap/custom_bootstrap.json";

/// The kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A gateway.
    Router,
    /// A workload's sidecar.
    Sidecar,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Sidecar => "sidecar",
        }
    }
}

/// What identifies a Pod.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account, which is created if it does not exist.
    pub service_account: String,
    /// Its labels.
    pub labels: Value,
}

/// A Pod with a running proxy. Everything in it ends when dropped; the Pod's object stays.
pub struct Agent {
    folder: PathBuf,
    log: PathBuf,
    client: reqwest::Client,
    process: Process,
    network: PodNetwork,
}

impl Agent {
    /// Creates a Pod's network, working folder and object, before anything runs in it.
    ///
    /// # Errors
    /// When one of them cannot be created.
    pub async fn prepare(
        cluster: &KubernetesCluster,
        run: &Path,
        identity: &Identity,
    ) -> Result<Prepared> {
        let name = format!("{}-{}", cluster.name(), identity.name);
        let (folder, log) = (run.join(&name), run.join(format!("{name}.log")));
        std::fs::create_dir_all(&folder)?;
        let network = PodNetwork::start(&name, &log).await?;
        put_pod(cluster, identity, network.address()).await?;
        Ok(Prepared { identity: identity.clone(), folder, log, network })
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.network.address()
    }

    /// Its network.
    pub fn network(&self) -> &PodNetwork {
        &self.network
    }

    /// The file with the output of the agent and Envoy, including access logs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the agent to exit (SIGTERM), as a kubelet does. It lets open connections finish for up
    /// to the mesh's `terminationDrainDuration`.
    ///
    /// # Errors
    /// When it does not exit.
    pub async fn terminate(&mut self) -> Result<()> {
        // The started process is nsenter, which waits for the agent.
        let nsenter = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{nsenter}/task/{nsenter}/children"))?;
        let agent = children
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("there is no agent")?;
        rustix::process::kill_process(agent, rustix::process::Signal::TERM)?;
        crate::wait::until_true("the agent to end", SOON, async || {
            Ok(self.process.check().is_err())
        })
        .await
    }

    /// The agent's process ID.
    fn id(&self) -> Result<u32> {
        // The started process is nsenter, which waits for the agent.
        child(self.process.id()).context("the agent")
    }

    /// Envoy's process ID.
    ///
    /// # Errors
    /// When it is not running.
    pub fn envoy_id(&self) -> Result<u32> {
        // Any thread of the agent may have started it.
        let agent = self.id()?;
        let threads = std::fs::read_dir(format!("/proc/{agent}/task"))?;
        let mut threads =
            threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        threads.find_map(|thread| child_of_thread(agent, thread)).context("Envoy does not run")
    }

    /// Requests a path of Envoy's admin interface.
    ///
    /// # Errors
    /// When it does not answer with status 200.
    pub async fn ask(&self, path: &str) -> Result<String> {
        let (client, path) = (self.client.clone(), path.to_owned());
        let admin = (Ipv4Addr::LOCALHOST, ADMIN_PORT).into();
        self.network.inside(move || async move { get(&client, admin, &path).await }).await
    }

    /// Requests a path of istio-agent, for example `/stats/prometheus`.
    ///
    /// # Errors
    /// When it does not answer with status 200.
    pub async fn ask_agent(&self, path: &str) -> Result<String> {
        get(&self.client, (self.address(), STATUS_PORT).into(), path).await
    }

    /// The value of a counter or gauge, by its full name; `None` if it does not exist.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<Option<u64>> {
        let text = self.ask(&format!("/stats?filter=^{}$", name.replace('.', r"\."))).await?;
        Ok(text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()))
    }

    /// Waits until Envoy's configuration contains a text, for example a listener's name.
    ///
    /// # Errors
    /// When the text does not appear.
    pub async fn wait_configured(&self, path: &str, text: &str) -> Result<()> {
        let what = format!("{text} in {path} of {}", self.log.display());
        crate::wait::until_true(&what, START, async || Ok(self.ask(path).await?.contains(text)))
            .await
    }

    /// Probes the proxy as the kubelet would. Returns true if it is ready.
    pub async fn is_ready(&self) -> bool {
        get(&self.client, (self.address(), READY_PORT).into(), "/healthz/ready").await.is_ok()
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let (client, status) =
            (self.client.clone(), SocketAddr::from((self.address(), READY_PORT)));
        let ready = async || get(&client, status, "/healthz/ready").await.map(|_| Some(()));
        self.process.wait_until("the proxy to be ready", START, ready).await
    }
}

/// A Pod in which nothing runs yet.
pub struct Prepared {
    identity: Identity,
    /// The working folder. Relative paths of mounted files start here.
    pub folder: PathBuf,
    log: PathBuf,
    network: PodNetwork,
}

impl Prepared {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.network.address()
    }

    /// Its network.
    pub fn network(&self) -> &PodNetwork {
        &self.network
    }

    /// Starts the agent and waits until the proxy is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(
        self,
        cluster: &KubernetesCluster,
        istiod: &Istiod,
        role: Role,
    ) -> Result<Agent> {
        let mut agent = self.start_pending(cluster, istiod, role).await?;
        agent.wait_ready().await?;
        Ok(agent)
    }

    /// Starts the agent without waiting for the proxy.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_pending(
        self,
        cluster: &KubernetesCluster,
        istiod: &Istiod,
        role: Role,
    ) -> Result<Agent> {
        let Self { identity, folder, log, network } = self;
        report_start(cluster, &identity).await?;
        credentials(cluster, &identity, &folder).await?;
        let template = programs::istio_bootstrap()?.display().to_string();
        let domain = format!("{}.svc.{}", identity.namespace, cluster.trust_domain());
        let agent = programs::istio_agent()?.display().to_string();
        let words = [
            &agent,
            "proxy",
            role.word(),
            "--domain",
            &domain,
            "--templateFile",
            &template,
            "--log_output_level=default:info",
        ];
        let mut variables = variables(cluster, istiod, &identity, network.address())?;
        if folder.join(BOOTSTRAP).is_file() {
            variables.insert("ISTIO_BOOTSTRAP_OVERRIDE".into(), BOOTSTRAP.into());
        }
        let process = network.start_process(&identity.name, &folder, &words, &variables, &log)?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Agent { folder, log, client, process, network })
    }
}

/// Writes the Pod's object as the scheduler and a kubelet would.
async fn put_pod(
    cluster: &KubernetesCluster,
    identity: &Identity,
    address: Ipv4Addr,
) -> Result<()> {
    let Identity { namespace, name, service_account, labels } = identity;
    let objects = cluster.objects();
    let account = json!({ "namespace": namespace, "name": service_account });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": account });
    objects.apply_one(&account).await?;
    let key = Key::namespaced("v1", "Pod", namespace, name);
    if objects.get(key).await?.is_some() {
        objects.delete_now(key).await?;
    }
    let pod = Pod {
        namespace: namespace.clone(),
        name: name.clone(),
        node: crate::kubernetes::install::NODE.into(),
        service_account: service_account.clone(),
        labels: labels.clone(),
        address: address.to_string(),
        ready: true,
    };
    objects.put_pod(&pod).await
}

/// Writes the container's start to the Pod's status, as a kubelet would.
async fn report_start(cluster: &KubernetesCluster, identity: &Identity) -> Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let container = json!({
        "name": "istio-proxy",
        "image": "",
        "imageID": "",
        "ready": true,
        "restartCount": 0,
        "state": { "running": { "startedAt": now } },
    });
    let status = json!({ "startTime": now, "containerStatuses": [container] });
    cluster
        .objects()
        .patch_status(Key::namespaced("v1", "Pod", &identity.namespace, &identity.name), &status)
        .await
}

fn child(process: u32) -> Option<u32> {
    child_of_thread(process, process)
}

fn child_of_thread(process: u32, thread: u32) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Writes the files that are mounted into the Pod: the token that istiod reviews, and istiod's own
/// root.
async fn credentials(
    cluster: &KubernetesCluster,
    identity: &Identity,
    folder: &Path,
) -> Result<()> {
    let Identity { namespace, service_account, .. } = identity;
    let secrets = folder.join("var/run/secrets");
    let (tokens, istio) = (secrets.join("tokens"), secrets.join("istio"));
    std::fs::create_dir_all(&tokens)?;
    std::fs::create_dir_all(&istio)?;
    let token =
        cluster.plane().service_account_token_for(namespace, service_account, "istio-ca").await?;
    std::fs::write(tokens.join("istio-token"), token)?;
    let key = Key::namespaced("v1", "ConfigMap", namespace, "istio-ca-root-cert");
    let roots = crate::wait::until(&format!("{key}, which istiod writes"), SOON, async || {
        let roots = cluster.objects().get(key).await?.context("there is none")?;
        Ok(roots["data"]["root-cert.pem"].as_str().map(str::to_owned))
    })
    .await?;
    Ok(std::fs::write(istio.join("root-cert.pem"), roots)?)
}

fn variables(
    cluster: &KubernetesCluster,
    istiod: &Istiod,
    identity: &Identity,
    address: Ipv4Addr,
) -> Result<BTreeMap<String, String>> {
    let mut config = json!({
        "binaryPath": programs::envoy()?,
        "configPath": "./etc/istio/proxy",
        "discoveryAddress": istiod.discovery(),
        "proxyAdminPort": ADMIN_PORT,
        "concurrency": 2,
        "statusPort": STATUS_PORT,
        "drainDuration": "5s",
    });
    if !istiod.usual_stats() {
        config["proxyStatsMatcher"] = json!({ "inclusionRegexps": [".*"] });
    }
    let variables = [
        ("POD_NAME", identity.name.clone()),
        ("POD_NAMESPACE", identity.namespace.clone()),
        ("INSTANCE_IP", address.to_string()),
        ("SERVICE_ACCOUNT", identity.service_account.clone()),
        ("TRUST_DOMAIN", cluster.trust_domain()),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes".into()),
        ("CA_ADDR", istiod.discovery()),
        ("ISTIOD_SAN", "istiod.istio-system.svc".into()),
        ("ISTIO_METAJSON_LABELS", identity.labels.to_string()),
        ("ISTIO_META_DNS_CAPTURE", "true".into()),
        // As in the chart: a terminating proxy waits for its connections.
        ("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "true".into()),
        ("MINIMUM_DRAIN_DURATION", "1s".into()),
        ("PROXY_CONFIG", config.to_string()),
    ];
    let mut variables: BTreeMap<_, _> =
        variables.map(|(variable, value)| (variable.to_owned(), value)).into();
    variables.extend(istiod.agent_variables().clone());
    Ok(variables)
}

async fn get(client: &reqwest::Client, address: SocketAddr, path: &str) -> Result<String> {
    let response = client.get(format!("http://{address}{path}")).send().await?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status == 200, "{address}{path} answered {status}: {text}");
    Ok(text)
}
