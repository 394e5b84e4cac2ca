//! A DKP cluster as a peer: the stand-in in `e2e/dkp_peer`, a Python program written from the
//! description of the peer protocol alone. It shares no code with fedgate.

use crate::authority::{Authority, Identity, IdentityFiles};
use crate::cluster::{Cluster, metadata_leaf};
use crate::manifest;
use crate::process::Process;
use crate::run_folder::RunFolder;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::ports;

/// The path of its metadata.
const PATH: &str = "/dkp/metadata";

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A DKP cluster with a gateway and a Service `shop/web`.
pub struct DkpPeer {
    name: String,
    uuid: String,
    folder: PathBuf,
    control: SocketAddr,
    metadata: SocketAddr,
    gateway: SocketAddr,
    authority: Authority,
    metadata_authority: Authority,
    http: reqwest::Client,
    _process: Process,
}

impl DkpPeer {
    /// Starts one with the trust domain `NAME.example`, which knows no peers yet.
    ///
    /// # Errors
    /// When there is no Python, or it does not start.
    pub async fn start(run: &RunFolder, name: &str) -> Result<Self> {
        let folder = run.path().join(name);
        std::fs::create_dir_all(&folder)?;
        let authority = Authority::root(&format!("root of {name}"))?;
        let metadata_authority = Authority::root(&format!("metadata root of {name}"))?;
        let [control, metadata, gateway] = [ports::free()?, ports::free()?, ports::free()?];
        let uuid = uuid::Uuid::new_v4().to_string();
        let domain = format!("{name}.example");
        let workload = |namespace: &str, account: &str| -> Result<Map<String, Value>> {
            let id = format!("spiffe://{domain}/ns/{namespace}/sa/{account}");
            files(&authority.workload(&id)?.write(&folder, account)?)
        };
        let seed: String = (0..32).map(|_| format!("{:02x}", fastrand::u8(..))).collect();
        let mut web = workload("shop", "web")?;
        web.insert("hostname".into(), format!("web.shop.svc.{domain}").into());
        web.insert("ports".into(), json!([{ "name": "http", "port": 80 }]));
        web.insert("answer".into(), answer(name).into());
        let configuration = json!({
            "clusterUUID": uuid,
            "trustDomain": domain,
            "seed": seed,
            "rootCA": authority.pem(),
            "metadataPath": PATH,
            "metadata": files(&metadata_authority.sign(&metadata_leaf()?)?.write(&folder, "metadata")?)?,
            "health": workload("d8-istio", "health")?,
            "client": workload("shop", "cart")?,
            "gateways": [gateway_row(gateway)],
            "services": [web],
            "listen": { "control": pair(control), "metadata": pair(metadata), "gateway": pair(gateway) },
        });
        let file = folder.join("configuration.json");
        std::fs::write(&file, configuration.to_string())?;
        let program = xtask::root().join("e2e/dkp_peer");
        let arguments = ["-B".as_ref(), program.as_os_str(), file.as_os_str()];
        let process_name = format!("{name}, a DKP cluster");
        let mut process =
            Process::start(&process_name, Path::new("python3"), &arguments, &run.log(name))?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let listens = async || {
            let answer = http.get(format!("http://{control}/state")).send().await?;
            Ok(answer.status().is_success().then_some(()))
        };
        process.wait_until("the DKP cluster to start", START, listens).await?;
        Ok(Self {
            name: name.into(),
            uuid,
            folder,
            control,
            metadata,
            gateway,
            authority,
            metadata_authority,
            http,
            _process: process,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> String {
        format!("{}.example", self.name)
    }

    /// The root of its workloads.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The root of its metadata endpoint.
    pub fn metadata_authority(&self) -> &Authority {
        &self.metadata_authority
    }

    /// The URL of its metadata endpoint.
    pub fn metadata_url(&self) -> String {
        format!("https://{}{PATH}", self.metadata)
    }

    /// The path of a document in the requests that it gets.
    pub fn path(suffix: &str) -> String {
        format!("{PATH}{suffix}")
    }

    /// The address of its gateway.
    pub fn gateway_address(&self) -> SocketAddr {
        self.gateway
    }

    /// The host of its Service `web`.
    pub fn web(&self) -> String {
        format!("web.shop.svc.{}", self.trust_domain())
    }

    /// The answer of its Service `web`.
    pub fn answer(&self) -> String {
        answer(&self.name)
    }

    /// The host by which its peers check that they reach it.
    pub fn health_host(&self) -> String {
        health_host(&self.uuid, &self.trust_domain())
    }

    /// Makes it and a cluster peers of each other. The stand-in knows no peers but this one.
    ///
    /// # Errors
    /// When a manifest cannot be written, or it does not answer.
    pub async fn pair_with(&self, cluster: &Cluster) -> Result<()> {
        cluster.put_manifest(&self.manifest_file(), &self.federation(&self.metadata_url()))?;
        self.know(cluster, &cluster.metadata_url()).await
    }

    /// The file of its `IstioFederation` in a cluster's folder.
    pub fn manifest_file(&self) -> String {
        format!("peer-{}.yaml", self.name)
    }

    /// Its `IstioFederation` in other clusters, with this metadata endpoint.
    pub fn federation(&self, endpoint: &str) -> String {
        let ca = self.metadata_authority.pem();
        manifest::federation(&self.name, &self.trust_domain(), endpoint, &ca)
    }

    /// Gives it an `IstioFederation` for a cluster, and no other.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn know(&self, cluster: &Cluster, endpoint: &str) -> Result<()> {
        let peers = json!({ cluster.name(): {
            "trustDomain": cluster.trust_domain(),
            "metadataEndpoint": endpoint,
            "ca": cluster.metadata_authority().pem(),
        }});
        self.change(json!({ "peers": peers })).await
    }

    /// Changes its configuration. `e2e/dkp_peer/peer.py` has the quirks.
    ///
    /// # Errors
    /// When it does not answer, or has no such quirk.
    pub async fn change(&self, changes: Value) -> Result<()> {
        self.ask("change", changes).await.map(drop)
    }

    /// Switches a quirk.
    ///
    /// # Errors
    /// Same as [`Self::change`].
    pub async fn quirk(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        self.change(json!({ "quirks": { name: value.into() } })).await
    }

    /// Makes it ask all its peers for both documents. Returns its state.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn poll(&self) -> Result<DkpState> {
        self.ask("poll", json!({})).await.map(DkpState)
    }

    /// Like [`Self::poll`], `times` times with the tokens of the same second.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn poll_within_a_second(&self, times: u32) -> Result<DkpState> {
        self.ask("poll", json!({ "times": times })).await.map(DkpState)
    }

    /// Makes it call the health hosts of all its peers. Returns its state.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn probe(&self) -> Result<DkpState> {
        self.ask("probe", json!({})).await.map(DkpState)
    }

    /// Calls an imported service from one of its workloads. Returns `status`, `body`, `alpn` and
    /// `identities`, or `error`.
    ///
    /// # Errors
    /// When the stand-in itself does not answer.
    pub async fn call(&self, host: &str, port: u16) -> Result<Value> {
        self.ask("call", json!({ "host": host, "port": port })).await
    }

    /// Like [`Self::call`], offering only these application protocols.
    ///
    /// # Errors
    /// When the stand-in itself does not answer.
    pub async fn call_offering(&self, host: &str, port: u16, alpn: &[&str]) -> Result<Value> {
        self.ask("call", json!({ "host": host, "port": port, "alpn": alpn })).await
    }

    /// What it has seen and learned.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self) -> Result<DkpState> {
        self.ask("state", json!({})).await.map(DkpState)
    }

    /// Polls until it has both documents of a peer.
    ///
    /// # Errors
    /// When that does not happen; the message has the conditions.
    pub async fn wait_paired(&self, peer: &str) -> Result<DkpState> {
        let what = format!("{} to have {peer}'s documents", self.name);
        wait::until(&what, SOON, async || {
            let state = self.poll().await?;
            let condition = state.condition(peer, "PrivateMetadataExchangeReady");
            match condition[0] == "True" {
                true => Ok(Some(state)),
                false => bail!("its conditions are {}", state.0["peers"][peer]["conditions"]),
            }
        })
        .await
    }

    /// Waits until it has answered this many more requests for a document with this status.
    /// Returns its state.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn wait_asked(&self, suffix: &str, status: u16, times: usize) -> Result<DkpState> {
        let count = |state: &DkpState| {
            state.requests(suffix).iter().filter(|request| request["status"] == status).count()
        };
        let enough = count(&self.state().await?) + times;
        let what = format!("{} to be asked for {suffix} ({status})", self.name);
        wait::until(&what, 4 * SOON, async || {
            let state = self.state().await?;
            Ok((count(&state) >= enough).then_some(state))
        })
        .await
    }

    /// A certificate of a workload in its folder, for a further service of its gateway.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn workload_files(&self, name: &str, identity: &Identity) -> Result<Map<String, Value>> {
        files(&identity.write(&self.folder, name)?)
    }

    async fn ask(&self, action: &str, body: Value) -> Result<Value> {
        let url = format!("http://{}/{action}", self.control);
        let answer = self.http.post(url).body(body.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{action}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{action}: {text}"))
    }
}

/// What the stand-in has seen and learned.
#[derive(Debug, Clone)]
pub struct DkpState(pub Value);

impl DkpState {
    /// The requests for a document, in order: `at` (in seconds), `method`, `path`, `version`,
    /// `headers`, `status`, and `token` or `refused`.
    pub fn requests(&self, suffix: &str) -> Vec<&Value> {
        let all = self.0["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_it =
            |request: &&Value| request["path"].as_str().is_some_and(|path| path.ends_with(suffix));
        all.iter().filter(of_it).collect()
    }

    /// The connections to its gateway, in order: `sni`, `alpn`, `identities`, `request`, `error`.
    pub fn connections(&self) -> &[Value] {
        self.0["connections"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// A condition of a peer: status, reason and message; empty if there is none.
    pub fn condition(&self, peer: &str, kind: &str) -> [&str; 3] {
        let condition = &self.0["peers"][peer]["conditions"][kind];
        ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default())
    }

    /// What it imports of a host.
    pub fn import(&self, host: &str) -> Option<&Value> {
        self.0["imports"].as_array()?.iter().find(|import| import["host"] == host)
    }

    /// The outcome of its last probe of a peer.
    pub fn probe(&self, peer: &str) -> &Value {
        &self.0["probes"][peer]
    }
}

/// A request's or an answer's header.
pub fn header<'v>(message: &'v Value, name: &str) -> Option<&'v str> {
    let headers = message["headers"].as_array()?;
    let found =
        headers.iter().find(|row| row[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))?;
    found[1].as_str()
}

/// The host by which peers check that they reach a cluster.
pub fn health_host(uuid: &str, trust_domain: &str) -> String {
    format!("alliance-healthcheck-{uuid}.d8-istio.svc.{trust_domain}")
}

/// A gateway as a row of a private document.
pub fn gateway_row(address: SocketAddr) -> Value {
    json!({ "address": address.ip().to_string(), "port": address.port() })
}

fn answer(name: &str) -> String {
    format!("web of {name}, a DKP cluster")
}

fn pair(address: SocketAddr) -> Value {
    json!([address.ip().to_string(), address.port()])
}

fn files(identity: &IdentityFiles) -> Result<Map<String, Value>> {
    let path = |path: &Path| path.to_str().map(Value::from).context("a path that is not UTF-8");
    Ok(Map::from_iter([
        ("certificate".to_owned(), path(&identity.certificate)?),
        ("key".to_owned(), path(&identity.key)?),
    ]))
}
