//! The admin address, for `fedgate status`, `explain`, `table` and `check rotation`, for the
//! operators' page, for Prometheus and for probes.
//!
//! It listens on loopback only and shows no secrets. A Host header that is not loopback's is
//! refused ([`only_loopback`]).

use arc_swap::ArcSwapOption;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fedgate_core::{PeerName, ServiceName};
use fedgate_engine::explain::{Caller, Question};
use fedgate_engine::in_force::InForce;
use fedgate_page::{Feed, only_loopback};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Where to query a running controller; kept in `state/admin.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminAddress {
    /// The address.
    pub address: SocketAddr,
}

#[derive(Clone)]
struct Admin {
    in_force: Arc<ArcSwapOption<InForce>>,
    registry: Arc<Registry>,
}

/// Serves until `shutdown` completes.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    in_force: Arc<ArcSwapOption<InForce>>,
    registry: Registry,
    page: Feed,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let admin = Admin { in_force, registry: Arc::new(registry) };
    let router = Router::new()
        .route("/status", get(status))
        .route("/explain", get(explain))
        .route("/table", get(table))
        .route("/rotation", get(rotation))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(from_fn(only_loopback))
        .with_state(admin)
        .merge(fedgate_page::router(page.clone()));
    let shutdown = async move {
        shutdown.await;
        // Otherwise open pages would keep the server from stopping.
        page.stop();
    };
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// Answers from what is in force; 503 if nothing is in force yet.
fn answer<T: Serialize>(admin: &Admin, of: impl FnOnce(&InForce) -> T) -> Response {
    match admin.in_force.load_full() {
        Some(in_force) => Json(of(&in_force)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing is in force yet\n").into_response(),
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    answer(&admin, InForce::status)
}

async fn table(State(admin): State<Admin>) -> Response {
    answer(&admin, InForce::configuration)
}

async fn rotation(State(admin): State<Admin>) -> Response {
    answer(&admin, |in_force| in_force.federation.rotation.clone())
}

#[derive(Deserialize)]
struct ExplainQuery {
    to: ServiceName,
    from: Option<String>,
    peer: Option<PeerName>,
}

async fn explain(State(admin): State<Admin>, Query(query): Query<ExplainQuery>) -> Response {
    let from = match (query.from, query.peer) {
        (Some(uri), _) => Caller::Identity(uri),
        (None, Some(peer)) => Caller::Peer(peer),
        (None, None) => Caller::Unknown,
    };
    answer(&admin, |in_force| in_force.explain(&Question { to: query.to, from }))
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.in_force.load().is_some() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "nothing is in force yet\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
