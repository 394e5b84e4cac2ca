//! Maps paths to documents.

use super::{
    Document, ExporterSettings, PeerAccess, Published,
    authorize::Authorizer,
    connection::stopped,
    metrics::DocumentLabel,
    news,
    slots::Slot,
    tls::Started,
    waiting::{Turn, WaitingRoom},
};
use crate::prefer::{self, PREFER, PREFERENCE_APPLIED};
use axum::{
    Router,
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use fedgate_federation::{
    document::{ClusterUuid, PRIVATE_PATH, PUBLIC_PATH, SPIFFE_BUNDLE_PATH},
    key::PublicKey,
    signature::SIGNATURE_HEADER,
};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

/// The state shared by all handlers.
pub(super) struct Exporter {
    pub(super) settings: Arc<ExporterSettings>,
    pub(super) published: watch::Sender<Arc<Published>>,
    pub(super) authorizer: Authorizer,
    pub(super) waiting: WaitingRoom,
    /// Becomes true when the exporter stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// A peer that has shown a valid token.
struct Reader {
    cluster: ClusterUuid,
    /// The key that signed the token.
    key: PublicKey,
    slot: Arc<Slot>,
    started: Started,
}

/// Routes the documents' paths. Paths are compared byte by byte, so each has exactly one spelling.
pub(super) fn router(
    settings: Arc<ExporterSettings>,
    published: watch::Sender<Arc<Published>>,
    stop: watch::Receiver<bool>,
) -> Router {
    let path = |suffix| format!("{}{suffix}", settings.path.as_str());
    Router::new()
        .route(&path(PUBLIC_PATH), get(public_document))
        .route(&path(SPIFFE_BUNDLE_PATH), get(bundle_document))
        .route(&path(PRIVATE_PATH), get(private_document))
        .fallback(nothing_here)
        .with_state(Arc::new(Exporter {
            authorizer: Authorizer::new(settings.metrics.clone(), settings.clock.now()),
            waiting: WaitingRoom::new(settings.limits.waiting, settings.metrics.waiting.clone()),
            settings,
            published,
            stop,
        }))
}

async fn public_document(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> Response {
    let published = exporter.published();
    exporter.counted(DocumentLabel::Public, exporter.open(published.public.as_ref(), &headers))
}

async fn bundle_document(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> Response {
    let published = exporter.published();
    exporter.counted(DocumentLabel::Bundle, exporter.open(published.bundle.as_ref(), &headers))
}

async fn private_document(
    State(exporter): State<Arc<Exporter>>,
    Extension(slot): Extension<Arc<Slot>>,
    Extension(started): Extension<Started>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let published = exporter.published();
    let now = exporter.settings.clock.now();
    let response = match exporter.authorizer.authorize(&published, &headers, now) {
        Ok((token, peer)) => {
            let (cluster, key) = (token.subject, token.key);
            slot.mark_proven(&cluster);
            let reader = Reader { cluster, key, slot, started };
            let wait = prefer::wait(headers.get_all(PREFER)).filter(|_| method == Method::GET);
            match wait {
                Some(wait) => exporter.answer_in_time(&reader, wait, &headers).await,
                None => exporter.answer_peer(peer, &headers),
            }
        }
        Err(_) => unauthorized(),
    };
    exporter.counted(DocumentLabel::Private, response)
}

async fn nothing_here(State(exporter): State<Arc<Exporter>>) -> Response {
    exporter.counted(DocumentLabel::Other, (StatusCode::NOT_FOUND, "not found\n").into_response())
}

impl Exporter {
    fn published(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// Answers a peer that is ready to wait, once it does not have the document or its time is up.
    /// The answer says that the preference was applied, unless there was no place for the peer or
    /// it has sent a newer request.
    async fn answer_in_time(
        &self,
        reader: &Reader,
        wait: Duration,
        headers: &HeaderMap,
    ) -> Response {
        let wait = wait.min(self.settings.limits.wait);
        let applied = match wait {
            Duration::ZERO => self.waiting.has_place(),
            wait => self.wait(reader, wait, headers).await,
        };
        let published = self.published();
        // It may have been removed meanwhile.
        let Some(peer) = access_of(&published, reader) else { return unauthorized() };
        let mut response = self.answer_peer(peer, headers);
        if applied {
            response.headers_mut().insert(PREFERENCE_APPLIED, prefer::waiting(wait));
        }
        response
    }

    /// Waits until the reader's document is not the one it has, the time is up, or the connection
    /// has to end. Returns false if the reader should not wait again soon.
    async fn wait(&self, reader: &Reader, wait: Duration, headers: &HeaderMap) -> bool {
        let until = Instant::now() + wait;
        let is_peer = |cluster: &ClusterUuid| self.published.borrow().peer(cluster).is_some();
        let Some(turn) = self.waiting.enter(&reader.cluster, is_peer) else { return false };
        reader.slot.take_seat(&reader.cluster);
        let applied = tokio::select! {
            biased;
            () = turn.superseded() => false,
            // The peer asks again at once, on another connection, and so reaches another replica.
            () = stopped(self.stop.clone()) => true,
            // It asks again at once, and verifies the new certificate.
            () = reader.started.clone().replaced() => true,
            () = self.changed(reader, &turn, until, headers) => true,
        };
        turn.end();
        applied
    }

    async fn changed(&self, reader: &Reader, turn: &Turn, until: Instant, headers: &HeaderMap) {
        let mut published = self.published.subscribe();
        let changed = async {
            loop {
                let now = published.borrow_and_update().clone();
                if access_of(&now, reader).is_none_or(|peer| !is_known(&peer.document, headers)) {
                    return;
                }
                if published.changed().await.is_err() {
                    return pending().await;
                }
            }
        };
        let _ = timeout_at(until, changed).await;
        turn.pause().await;
    }

    /// Answers with a document, with 304 if the client already has it, or with 503 before there is
    /// one. Half a document would count as broken.
    fn open(&self, document: Option<&Document>, headers: &HeaderMap) -> Response {
        match document {
            Some(document) => self.answer(document, headers),
            None => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "not ready\n")
                .into_response(),
        }
    }

    /// Answers with a peer's document. If it is news, the answer says which trace it belongs to.
    fn answer_peer(&self, peer: &PeerAccess, headers: &HeaderMap) -> Response {
        let mut response = self.answer(&peer.document, headers);
        let news = peer.news.as_ref().filter(|_| response.status() == StatusCode::OK);
        if let Some(trace) = news.and_then(|news| news.tell()) {
            response.headers_mut().insert(news::HEADER, trace);
        }
        response
    }

    fn answer(&self, document: &Document, headers: &HeaderMap) -> Response {
        let mut response = answer(document, headers);
        let now = self.settings.clock.now();
        if let Some(signature) = document.signature(&self.settings.keyring, now) {
            response.headers_mut().insert(SIGNATURE, signature);
        }
        response
    }

    fn counted(&self, document: DocumentLabel, response: Response) -> Response {
        self.settings.metrics.answered(document, response.status().as_u16());
        response
    }
}

/// What the reader may read, if it is still a peer that may sign with the same key.
fn access_of<'p>(published: &'p Published, reader: &Reader) -> Option<&'p PeerAccess> {
    published.peer(&reader.cluster).filter(|peer| peer.keys.contains(&reader.key))
}

fn is_known(document: &Document, headers: &HeaderMap) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|sent| document.is_in(sent))
}

/// The answer to every client without access.
fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "unauthorized\n")
        .into_response()
}

fn answer(document: &Document, headers: &HeaderMap) -> Response {
    // A client may store the document but must ask again each time. Shared caches may not store it,
    // because private documents are for one peer.
    let etag = [(header::ETAG, document.etag().clone())];
    let rules = [(header::CACHE_CONTROL, "private, no-cache")];
    if is_known(document, headers) {
        return (StatusCode::NOT_MODIFIED, etag, rules).into_response();
    }
    let form = [(header::CONTENT_TYPE, "application/json")];
    (etag, rules, form, document.body()).into_response()
}
