//! The server: the page's files, its data as JSON, and the stream of events. Only GET; nothing here
//! changes anything.

use crate::assets::{ASSETS, Asset};
use crate::feed::{Feed, Look};
use crate::guard::only_loopback;
use crate::stream::events;
use crate::view::{self, Query};
use axum::extract::{Query as Parameters, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fedgate_core::{PeerName, ServiceName};
use fedgate_engine::explain::{Caller, Question};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::net::TcpListener;

/// Nothing but this server is ever contacted, no script but its own runs, and no text becomes
/// markup: `require-trusted-types-for` makes the browser refuse `innerHTML`.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// How often a stream without events shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The routes of the page. All refuse requests that do not come from this machine.
pub fn router(feed: Feed) -> Router {
    let mut router = Router::new()
        .route("/page/events", get(stream))
        .route("/page/overview", get(overview))
        .route("/page/peers", get(peers))
        .route("/page/peer", get(peer))
        .route("/page/exports", get(exports))
        .route("/page/export", get(export))
        .route("/page/imports", get(imports))
        .route("/page/federated", get(federated))
        .route("/page/matrix", get(matrix))
        .route("/page/audit", get(audit))
        .route("/page/refusals", get(refusals))
        .route("/page/changes", get(changes))
        .route("/page/explain", get(explain));
    for asset in ASSETS {
        router = router.route(asset.0, get(move || async move { file(asset) }));
    }
    router.layer(from_fn(secure)).layer(from_fn(only_loopback)).with_state(feed)
}

/// Serves the page alone, for a command that runs as long as it is looked at.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, feed: Feed) -> std::io::Result<()> {
    axum::serve(listener, router(feed)).await
}

fn file((_, kind, text): Asset) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Adds the headers that every answer has.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn stream(State(feed): State<Feed>) -> Response {
    match feed.stream() {
        Some(permit) => {
            let alive = KeepAlive::new().interval(KEEP_ALIVE);
            Sse::new(events(feed, permit)).keep_alive(alive).into_response()
        }
        None => {
            let why = "too many pages are open; close some\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], why).into_response()
        }
    }
}

/// Answers from everything that is known; 503 if nothing is in force yet.
fn answer<T: Serialize>(feed: &Feed, of: impl FnOnce(&Look) -> T) -> Response {
    match feed.look() {
        Some(look) => Json(of(&look)).into_response(),
        None => {
            let trouble = feed.around().trouble.clone();
            let why = trouble.unwrap_or_else(|| "nothing is in force yet".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// The same for one object; 404 if there is none.
fn answer_one<T: Serialize>(feed: &Feed, of: impl FnOnce(&Look) -> Option<T>) -> Response {
    let Some(look) = feed.look() else { return answer(feed, |_| ()) };
    match of(&look) {
        Some(found) => Json(found).into_response(),
        None => (StatusCode::NOT_FOUND, "nothing has this name\n").into_response(),
    }
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

async fn overview(State(feed): State<Feed>) -> Response {
    answer(&feed, |look| view::overview(look, Timestamp::now()))
}

async fn peers(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::peers(look, &query))
}

async fn peer(State(feed): State<Feed>, Parameters(Name { name }): Parameters<Name>) -> Response {
    answer_one(&feed, |look| view::peer(look, &name, Timestamp::now()))
}

async fn exports(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::exports(look, &query))
}

async fn export(State(feed): State<Feed>, Parameters(Name { name }): Parameters<Name>) -> Response {
    answer_one(&feed, |look| view::export(look, &name))
}

async fn federated(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::federated(look, &query))
}

async fn imports(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::imports(look, &query))
}

async fn matrix(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::matrix(look, &query))
}

async fn audit(State(feed): State<Feed>) -> Response {
    answer(&feed, view::audit)
}

async fn refusals(State(feed): State<Feed>) -> Response {
    answer(&feed, view::refusals)
}

async fn changes(State(feed): State<Feed>, Parameters(query): Parameters<Query>) -> Response {
    answer(&feed, |look| view::changes(look, &query))
}

#[derive(Deserialize)]
struct ExplainQuery {
    to: ServiceName,
    from: Option<String>,
    peer: Option<PeerName>,
}

/// The answer of `fedgate explain`.
async fn explain(
    State(feed): State<Feed>,
    Parameters(query): Parameters<ExplainQuery>,
) -> Response {
    let from = match (query.from, query.peer) {
        (Some(uri), _) => Caller::Identity(uri),
        (None, Some(peer)) => Caller::Peer(peer),
        (None, None) => Caller::Unknown,
    };
    let question = Question { to: query.to, from };
    answer(&feed, |look| look.in_force.explain(&question))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
