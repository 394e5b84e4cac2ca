//! Many peers, for load measurements.
//!
//! One server stands in for the controllers of hundreds or thousands of clusters, which would not
//! fit on one machine. It serves the documents of all of them; each peer has its own UUID, key,
//! root, trust domain and Services. It is a test double: it accepts any token, and asks other
//! clusters only when a test says so ([`Asker`]). So it is not used for tests that two real clusters
//! can serve.
//!
//! Its peers let others wait for a change, like fedgate clusters, unless [`POLLED`] is set: then they
//! are polled, like DKP clusters.

mod asker;
mod gateway;

pub use asker::{Asker, Round};

use crate::authority::{Authority, Identity};
use crate::cluster::{Cluster, metadata_leaf};
use crate::manifest;
use crate::tls_listener::TlsListener;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gateway::Gateways;
use jiff::Timestamp;
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The environment variable that asks for peers that nobody can wait at.
const POLLED: &str = "FLEET_POLLED";

/// The running server for all peers. Stops when dropped.
pub struct Fleet {
    address: SocketAddr,
    ca: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    _gateways: Option<Gateways>,
    /// Accepts connections and never answers: the endpoint of every tenth peer.
    silent: Option<TcpListener>,
}

struct Shared {
    peers: Vec<Peer>,
    services: usize,
    requests: AtomicUsize,
    /// Whether others may wait at these peers.
    waits: bool,
}

/// The version of every public document.
const PUBLIC_VERSION: usize = 1;

/// One peer.
struct Peer {
    uuid: String,
    /// The key that signs its tokens.
    key: KeyPair,
    /// Its public document, which never changes.
    public: String,
    gateway: SocketAddr,
    /// What changes: a second gateway, at which nothing listens.
    moving: Mutex<Moving>,
    /// The version of the private document, for those who wait for the next one.
    version: watch::Sender<usize>,
}

/// What changes in a peer's private document.
#[derive(Clone, Copy)]
struct Moving {
    gateway: Option<Ipv4Addr>,
    /// The document's sequence, which does not count changes of the view.
    sequence: usize,
    /// The document's entity tag.
    version: usize,
    /// Whether the peer says that it cannot fetch its reader's document.
    fails: bool,
    /// When the document was first served with this gateway.
    served: Option<Instant>,
}

impl Fleet {
    /// Starts `peers` idle peers with `services` Services each. No gateway exists at the addresses
    /// that they announce.
    ///
    /// # Errors
    /// When there is no free port, or no key can be generated.
    pub async fn start(peers: usize, services: usize) -> Result<Self> {
        let peers =
            (0..peers).map(|number| Ok(Peer::new(number, (unreachable(number), 15443).into())?.0));
        Self::serve(peers.collect::<Result<_>>()?, services, None, None).await
    }

    /// Starts `peers` peers with gateways that answer. Every tenth peer is silent: its metadata
    /// endpoint accepts connections and says nothing.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_gateways(peers: usize, services: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let made =
            (0..peers).map(|number| Peer::new(number, address)).collect::<Result<Vec<_>>>()?;
        let (peers, identities): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let trust_domains = (0..peers.len()).map(trust_domain);
        let gateways = Gateways::start(listener, trust_domains.zip(identities).collect())?;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::serve(peers, services, Some(gateways), Some(silent)).await
    }

    async fn serve(
        peers: Vec<Peer>,
        services: usize,
        gateways: Option<Gateways>,
        silent: Option<TcpListener>,
    ) -> Result<Self> {
        let authority = Authority::root("metadata root of the fleet")?;
        let listener = TlsListener::bind(&authority.sign(&metadata_leaf()?)?).await?;
        let address = listener.address();
        let waits = std::env::var_os(POLLED).is_none();
        let shared = Arc::new(Shared { peers, services, requests: AtomicUsize::new(0), waits });
        let router = Router::new()
            .route("/peers/{number}/metadata/public/public.json", get(public))
            .route("/peers/{number}/metadata/private/federation.json", get(private))
            .with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, ca: authority.pem(), shared, task, _gateways: gateways, silent })
    }

    /// The `IstioFederation`s of all peers, as YAML.
    pub fn federations(&self) -> String {
        let all = 0..self.shared.peers.len();
        all.map(|number| self.federation(number)).collect::<Vec<_>>().join("---\n")
    }

    /// The `IstioFederation` of one peer, as YAML.
    pub fn federation(&self, number: usize) -> String {
        let silent = self.silent.as_ref().filter(|_| self.is_silent(number));
        let address = silent.and_then(|silent| silent.local_addr().ok()).unwrap_or(self.address);
        self.federation_at(number, address)
    }

    /// The `IstioFederation` of one peer with an endpoint that answers, even if the peer is silent
    /// otherwise.
    pub fn answering_federation(&self, number: usize) -> String {
        self.federation_at(number, self.address)
    }

    fn federation_at(&self, number: usize, address: SocketAddr) -> String {
        let endpoint = format!("https://{address}/peers/{number}/metadata");
        manifest::federation(&name(number), &trust_domain(number), &endpoint, &self.ca)
    }

    /// Returns true if the peer never answers.
    pub fn is_silent(&self, number: usize) -> bool {
        self.silent.is_some() && number % 10 == 9
    }

    /// The host of a peer's Service. Peers and Services count from 0.
    pub fn host(&self, peer: usize, service: usize) -> String {
        host(peer, service)
    }

    /// A peer as a client of another cluster's metadata endpoint.
    ///
    /// # Errors
    /// When there is no such peer, or TLS cannot be set up.
    pub fn asker(&self, peer: usize, other: &Cluster) -> Result<Asker> {
        let Peer { uuid, key, .. } = self.shared.peers.get(peer).context("no such peer")?;
        Asker::new(peer, uuid, key, other)
    }

    /// The number of requests since the start, including those answered with 304 or 401.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Makes a peer announce another second gateway, at port 15443 of this address.
    ///
    /// # Errors
    /// When there is no such peer.
    pub fn move_gateway(&self, peer: usize, address: Ipv4Addr) -> Result<()> {
        let peer = self.shared.peers.get(peer).context("no such peer")?;
        let mut moving = peer.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, version) = (moving.sequence + 1, moving.version + 1);
        *moving = Moving { gateway: Some(address), sequence, version, served: None, ..*moving };
        peer.version.send_replace(version);
        Ok(())
    }

    /// Makes all peers say that they cannot fetch their reader's document, or that they can.
    pub fn change_views(&self, fails: bool) {
        for peer in &self.shared.peers {
            let mut moving = peer.moving.lock().unwrap_or_else(PoisonError::into_inner);
            let version = moving.version + 1;
            *moving = Moving { version, fails, ..*moving };
            peer.version.send_replace(version);
        }
    }

    /// When the peer's document was first served with its current second gateway.
    pub fn served(&self, peer: usize) -> Option<Instant> {
        let peer = self.shared.peers.get(peer)?;
        peer.moving.lock().unwrap_or_else(PoisonError::into_inner).served
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// A peer, and the certificate of its gateway.
    fn new(number: usize, gateway: SocketAddr) -> Result<(Self, Identity)> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let authority = Authority::root(&format!("root of {}", name(number)))?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let public = json!({
            "clusterUUID": uuid,
            "authnKeyPub": key.public_key_pem(),
            "rootCA": authority.pem(),
        });
        let id = format!("spiffe://{}/ns/fedgate/sa/gateway", trust_domain(number));
        let moving = Mutex::new(Moving {
            gateway: None,
            sequence: 1,
            version: 1,
            fails: false,
            served: None,
        });
        let version = watch::Sender::new(1);
        let peer = Self { uuid, key, public: public.to_string(), gateway, moving, version };
        Ok((peer, authority.workload(&id)?))
    }

    /// Waits until the document differs from the one that the client has.
    async fn wait(&self, headers: &HeaderMap, time: Duration) {
        let mut version = self.version.subscribe();
        let changed = version.wait_for(|version| !is_known(headers, *version));
        let _ = timeout(time, changed).await;
    }

    fn private(&self, number: usize, services: usize, moving: Moving) -> String {
        let service = |service| json!({ "hostname": host(number, service), "ports": [{ "name": "http", "port": 80 }] });
        let gateway = |address: SocketAddr| json!({ "address": address.ip().to_string(), "port": address.port() });
        let second = moving.gateway.map(|address| (address, 15443).into());
        let public_tag = PUBLIC_VERSION.to_string();
        let fetch = if moving.fails { "FetchFailed" } else { "Succeeded" };
        let view = json!({ "fetch": { "reason": fetch, "since": Timestamp::now().to_string() } });
        json!({
            "fedgate": {
                "sequence": moving.sequence,
                "serviceCount": services,
                "publicTag": public_tag,
                "view": view,
            },
            "ingressGateways": second.into_iter().chain([self.gateway]).map(gateway).collect::<Vec<_>>(),
            "publicServices": (0..services).map(service).collect::<Vec<Value>>(),
        })
        .to_string()
    }
}

async fn public(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    match shared.peers.get(number) {
        Some(peer) => answer(&headers, PUBLIC_VERSION, || peer.public.clone()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn private(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let Some(peer) = shared.peers.get(number) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !headers.contains_key(header::AUTHORIZATION) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let preference = headers.get("prefer").filter(|_| shared.waits);
    if let Some(wait) = preference.and_then(seconds) {
        peer.wait(&headers, wait).await;
    }
    let moving = {
        let mut moving = peer.moving.lock().unwrap_or_else(PoisonError::into_inner);
        moving.served.get_or_insert_with(Instant::now);
        *moving
    };
    let mut response =
        answer(&headers, moving.version, || peer.private(number, shared.services, moving));
    if let Some(preference) = preference {
        response.headers_mut().insert("preference-applied", preference.clone());
    }
    response
}

fn answer(headers: &HeaderMap, version: usize, document: impl FnOnce() -> String) -> Response {
    let tag = [(header::ETAG, format!("\"{version}\""))];
    match is_known(headers, version) {
        true => (StatusCode::NOT_MODIFIED, tag).into_response(),
        false => (tag, document()).into_response(),
    }
}

/// Reads `wait=50` (RFC 7240).
fn seconds(preference: &HeaderValue) -> Option<Duration> {
    let seconds = preference.to_str().ok()?.strip_prefix("wait=")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_known(headers: &HeaderMap, version: usize) -> bool {
    headers.get(header::IF_NONE_MATCH).is_some_and(|sent| *sent == *format!("\"{version}\""))
}

fn name(number: usize) -> String {
    format!("peer{number}")
}

fn trust_domain(number: usize) -> String {
    format!("{}.example", name(number))
}

fn host(peer: usize, service: usize) -> String {
    format!("service{service}.shop.svc.{}", trust_domain(peer))
}

/// An address in the range reserved for benchmarks, 198.18.0.0/15.
fn unreachable(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}
