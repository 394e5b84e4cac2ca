//! A proxy in front of a controller's metadata endpoint that makes a peer lie, stall or vanish. Our
//! own controller never behaves like a hostile one.

use crate::authority::Identity;
use crate::cluster::{Cluster, metadata_leaf};
use crate::kubernetes::KubernetesCluster;
use crate::tls_listener::TlsListener;
use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The response to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The `Location` header, for redirects.
    pub location: Option<String>,
    /// Whether to send nothing and keep the connection open.
    pub stalls: bool,
}

impl Reply {
    /// Status 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), location: None, stalls: false }
    }
}

/// Turns a true reply into the one that is sent. Its first argument is the path's suffix, for
/// example `/public/public.json`.
type Alter = dyn Fn(&str, Reply) -> Reply + Send + Sync;

/// The path of the public document, relative to the endpoint's URL.
pub const PUBLIC: &str = "/public/public.json";

/// The path of the private document, relative to the endpoint's URL.
pub const PRIVATE: &str = "/private/federation.json";

/// Adds a service to a private document and keeps the document's count of services right.
pub fn announce(document: &mut Value, host: &str) {
    if let Some(services) = document["publicServices"].as_array_mut() {
        services.push(json!({ "hostname": host, "ports": [{ "name": "http", "port": 80 }] }));
        let count = services.len();
        document["fedgate"]["serviceCount"] = count.into();
    }
}

/// A running proxy. Stops when dropped.
pub struct MetadataProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    alter: Mutex<Arc<Alter>>,
    requested: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
}

impl MetadataProxy {
    /// Starts a proxy in front of a cluster's endpoint, with a certificate from the same authority.
    ///
    /// # Errors
    /// Same as [`MetadataProxy::start`].
    pub async fn in_front_of(cluster: &Cluster) -> Result<Self> {
        let authority = cluster.metadata_authority();
        Self::start(&cluster.metadata_url(), &authority.pem(), &authority.sign(&metadata_leaf()?)?)
            .await
    }

    /// Like [`Self::in_front_of`], for a cluster on Kubernetes.
    ///
    /// # Errors
    /// Same as [`MetadataProxy::start`].
    pub async fn in_front_of_kubernetes(cluster: &KubernetesCluster) -> Result<Self> {
        let authority = cluster.metadata_authority();
        Self::start(&cluster.metadata_url(), &authority.pem(), &authority.sign(&metadata_leaf()?)?)
            .await
    }

    /// Starts a proxy that forwards the replies of the endpoint `upstream` unchanged until
    /// [`MetadataProxy::alter`] is called.
    ///
    /// # Errors
    /// When there is no free port, or a certificate is unusable.
    pub async fn start(upstream: &str, upstream_ca: &str, server: &Identity) -> Result<Self> {
        let listener = TlsListener::bind(server).await?;
        let address = listener.address();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::builder()
                .tls_certs_only([reqwest::Certificate::from_pem(upstream_ca.as_bytes())?])
                .timeout(Duration::from_secs(5))
                .build()?,
            alter: Mutex::new(Arc::new(|_, reply| reply)),
            requested: Mutex::default(),
            tokens: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, task })
    }

    /// The URL for the peers' `metadataEndpoint`.
    pub fn url(&self) -> String {
        format!("https://{}/metadata", self.address)
    }

    /// From now on, passes replies through `alter`.
    pub fn alter(&self, alter: impl Fn(&str, Reply) -> Reply + Send + Sync + 'static) {
        *self.shared.alter.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(alter);
    }

    /// From now on, changes one JSON document and forwards the others unchanged.
    pub fn alter_json(
        &self,
        suffix: &'static str,
        alter: impl Fn(&mut Value) + Send + Sync + 'static,
    ) {
        self.alter(move |path, mut reply| {
            if path == suffix
                && reply.status == 200
                && let Ok(mut document) = serde_json::from_slice(&reply.body)
            {
                alter(&mut document);
                reply.body = document.to_string().into_bytes();
            }
            reply
        });
    }

    /// The tokens that clients have presented.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests for a document since the start.
    pub fn requests(&self, suffix: &str) -> usize {
        let requested = self.shared.requested.lock().unwrap_or_else(PoisonError::into_inner);
        requested.iter().filter(|path| *path == suffix).count()
    }
}

impl Drop for MetadataProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let suffix = request.uri().path().trim_start_matches("/metadata").to_owned();
    shared.requested.lock().unwrap_or_else(PoisonError::into_inner).push(suffix.clone());
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")) {
        shared.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token.to_owned());
    }
    let truth = match fetch(&shared, &suffix, request.headers().get(header::AUTHORIZATION)).await {
        Ok(reply) => reply,
        Err(error) => Reply { status: 502, ..Reply::ok(format!("{error:#}")) },
    };
    let alter = shared.alter.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let reply = alter(&suffix, truth);
    if reply.stalls {
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Body::from(reply.body)).into_response();
    if let Some(location) = reply.location.and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Fetches without the request's condition (`If-None-Match`), because the reply may be altered.
async fn fetch(
    shared: &Shared,
    suffix: &str,
    token: Option<&header::HeaderValue>,
) -> Result<Reply> {
    let mut request = shared.client.get(format!("{}{suffix}", shared.upstream));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token.as_bytes());
    }
    let response = request.send().await?;
    Ok(Reply { status: response.status().as_u16(), ..Reply::ok(response.bytes().await?) })
}
