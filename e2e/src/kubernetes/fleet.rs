//! Many idle peers, for load measurements.
//!
//! One server stands in for the controllers of 100 to 500 clusters, which would not fit on one
//! machine. It serves the documents of all of them; each peer has its own UUID, key, root, trust
//! domain and Services. It is a test double: it accepts any token and fetches nothing, and no
//! gateway exists at the addresses that it announces. So it is not used for tests that two real
//! clusters can serve.

use crate::authority::Authority;
use crate::cluster::metadata_leaf;
use crate::manifest;
use crate::tls_listener::TlsListener;
use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// The documents never change, so all responses share one ETag.
const TAG: &str = "\"1\"";

/// The running server for all peers. Stops when dropped.
pub struct Fleet {
    address: SocketAddr,
    ca: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    peers: Vec<Peer>,
    requests: AtomicUsize,
}

/// The documents of one peer.
struct Peer {
    public: String,
    private: String,
}

impl Fleet {
    /// Starts `peers` peers with `services` Services each.
    ///
    /// # Errors
    /// When there is no free port, or no key can be generated.
    pub async fn start(peers: usize, services: usize) -> Result<Self> {
        let authority = Authority::root("metadata root of the fleet")?;
        let listener = TlsListener::bind(&authority.sign(&metadata_leaf()?)?).await?;
        let address = listener.address();
        let peers = (0..peers).map(|number| Peer::new(number, services)).collect::<Result<_>>()?;
        let shared = Arc::new(Shared { peers, requests: AtomicUsize::new(0) });
        let router = Router::new()
            .route("/peers/{number}/metadata/public/public.json", get(public))
            .route("/peers/{number}/metadata/private/federation.json", get(private))
            .with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, ca: authority.pem(), shared, task })
    }

    /// The `IstioFederation`s of all peers, as YAML.
    pub fn federations(&self) -> String {
        let federation = |number| {
            let endpoint = format!("https://{}/peers/{number}/metadata", self.address);
            manifest::federation(&name(number), &trust_domain(number), &endpoint, &self.ca)
        };
        (0..self.shared.peers.len()).map(federation).collect::<Vec<_>>().join("---\n")
    }

    /// The host of a peer's Service. Peers and Services count from 0.
    pub fn host(&self, peer: usize, service: usize) -> String {
        host(peer, service)
    }

    /// The number of requests since the start, including those answered with 304 or 401.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    fn new(number: usize, services: usize) -> Result<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let public = json!({
            "clusterUUID": uuid::Uuid::new_v4().to_string(),
            "authnKeyPub": key.public_key_pem(),
            "rootCA": Authority::root(&format!("root of {}", name(number)))?.pem(),
        });
        let service = |service| json!({ "hostname": host(number, service), "ports": [{ "name": "http", "port": 80 }] });
        let private = json!({
            "ingressGateways": [{ "address": gateway(number).to_string(), "port": 15443 }],
            "publicServices": (0..services).map(service).collect::<Vec<Value>>(),
        });
        Ok(Self { public: public.to_string(), private: private.to_string() })
    }
}

async fn public(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    answer(&headers, shared.peers.get(number).map(|peer| &peer.public))
}

async fn private(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    match headers.contains_key(header::AUTHORIZATION) {
        true => answer(&headers, shared.peers.get(number).map(|peer| &peer.private)),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn answer(headers: &HeaderMap, document: Option<&String>) -> Response {
    let tag = [(header::ETAG, TAG)];
    match document {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(_) if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == TAG) => {
            (StatusCode::NOT_MODIFIED, tag).into_response()
        }
        Some(document) => (tag, document.clone()).into_response(),
    }
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
fn gateway(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}
