//! Limits the time of every request to the API server.
//!
//! A connection can die silently: packets are dropped, a load balancer forgets it, the server
//! hangs. Then a request waits until the kernel gives up, which takes up to fifteen minutes. So
//! each request has a time limit, until the last byte of its answer. The limit of a watch, whose
//! answer does not end, is for the first byte. Whoever follows a watch has its own limit for
//! silence.
//!
//! A request without an answer makes all open connections suspect, because they use the same path.
//! They are dropped, and the next request opens a new one.

use super::unreached::Unreached;
use axum::body::{Body as AnswerBody, to_bytes};
use futures_util::future::BoxFuture;
use hyper::{Method, Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};

/// The time limit for a write. It exceeds a webhook's default limit (10 s), so that the API server
/// can name a webhook that does not answer.
pub(crate) const WRITE: Duration = Duration::from_secs(15);
/// The time limit for all other requests: a page of a list may have megabytes.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// A request that is dropped earlier than this says nothing about the connection: its caller was in
/// a hurry.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// The error of a request without an answer in time.
#[derive(Debug)]
pub(crate) struct NoAnswer(Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server has not answered within {:?}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// A connection to the API server on which each request ends.
pub(super) struct Limited {
    client: Client,
    /// Creates a client without open connections.
    open: Box<dyn FnMut() -> Option<Client> + Send>,
    suspect: Arc<AtomicBool>,
    /// Where the API server is, for errors.
    server: Option<Uri>,
}

impl Limited {
    pub(super) fn new(
        client: Client,
        server: Option<Uri>,
        open: impl FnMut() -> Option<Client> + Send + 'static,
    ) -> Self {
        Self { client, open: Box::new(open), suspect: Arc::default(), server }
    }
}

impl Service<Request<Body>> for Limited {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.suspect.swap(false, Ordering::AcqRel)
            && let Some(client) = (self.open)()
        {
            self.client = client;
        }
        let (client, suspect) = (self.client.clone(), Arc::clone(&self.suspect));
        let server = self.server.clone();
        Box::pin(async move {
            let limit = if *request.method() == Method::GET { READ } else { WRITE };
            let mut unanswered = Unanswered { since: Some(Instant::now()), suspect };
            let Ok(answer) = timeout(limit, whole(&client, request)).await else {
                return Err(NoAnswer(limit).into());
            };
            unanswered.since = None;
            answer.map_err(|error| Unreached::new(server.as_ref(), error.as_ref()).into())
        })
    }
}

/// Reads the whole answer; of a watch only the head.
async fn whole(client: &Client, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
    let has_an_end = !is_watch(&request);
    let (head, body) = client.send(request).await?.into_parts();
    let mut body = AnswerBody::new(body);
    if has_an_end {
        body = to_bytes(body, usize::MAX).await?.into();
    }
    Ok(Response::from_parts(head, body))
}

fn is_watch(request: &Request<Body>) -> bool {
    request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")))
}

/// A request without an answer so far.
struct Unanswered {
    since: Option<Instant>,
    suspect: Arc<AtomicBool>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= SUSPICIOUS) {
            self.suspect.store(true, Ordering::Release);
        }
    }
}
