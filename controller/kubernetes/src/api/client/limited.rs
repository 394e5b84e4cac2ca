//! No request to the API server waits for ever.
//!
//! A connection can die without a word: packets are dropped, a load balancer forgets it, the server stops in the middle. Then a request
//! on it waits until the kernel gives up, which takes up to fifteen minutes. So each request has a limit, to the last byte of its answer;
//! of a watch, whose answer has no last byte, to the first. Who follows a watch has a limit of its own for silence.
//!
//! A request without an answer casts suspicion on all connections that are kept open, as they go the same way. They are given up,
//! and the next request makes a new one.

use axum::body::{Body as AnswerBody, to_bytes};
use futures_util::future::BoxFuture;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};

/// How long a write may take. Longer than a webhook may by default (10 s), so that the API server can say which one does not answer.
pub(crate) const WRITE: Duration = Duration::from_secs(15);
/// How long anything else may take: a page of a list may be megabytes.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// Who gives up earlier than this is in a hurry, and says nothing about the connection.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// There was no answer in time.
#[derive(Debug)]
pub(crate) struct NoAnswer(Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server has not answered within {:?}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// A way to the API server on which each request ends.
pub(super) struct Limited {
    way: Client,
    /// Makes a way without connections that are open already.
    open: Box<dyn FnMut() -> Option<Client> + Send>,
    suspect: Arc<AtomicBool>,
}

impl Limited {
    pub(super) fn new(way: Client, open: impl FnMut() -> Option<Client> + Send + 'static) -> Self {
        Self { way, open: Box::new(open), suspect: Arc::default() }
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
            && let Some(way) = (self.open)()
        {
            self.way = way;
        }
        let (way, suspect) = (self.way.clone(), Arc::clone(&self.suspect));
        Box::pin(async move {
            let limit = if *request.method() == Method::GET { READ } else { WRITE };
            let mut unanswered = Unanswered { since: Some(Instant::now()), suspect };
            let Ok(answer) = timeout(limit, whole(&way, request)).await else { return Err(NoAnswer(limit).into()) };
            unanswered.since = None;
            answer
        })
    }
}

/// The whole answer; of a watch, its head.
async fn whole(way: &Client, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
    let has_an_end = !is_watch(&request);
    let (head, body) = way.send(request).await?.into_parts();
    let mut body = AnswerBody::new(body);
    if has_an_end {
        body = to_bytes(body, usize::MAX).await?.into();
    }
    Ok(Response::from_parts(head, body))
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")))
}

/// A request that has no answer yet.
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
