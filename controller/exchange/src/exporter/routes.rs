//! Maps paths to documents.

use super::{
    Document, ExporterSettings, Published, authorize::Authorizer, metrics::DocumentLabel,
    slots::Slot,
};
use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use fedgate_federation::document::{PRIVATE_PATH, PUBLIC_PATH, SPIFFE_BUNDLE_PATH};
use std::sync::Arc;

/// The state shared by all handlers.
pub(super) struct Exporter {
    pub(super) settings: Arc<ExporterSettings>,
    pub(super) published: Arc<ArcSwap<Published>>,
    pub(super) authorizer: Authorizer,
}

/// Routes the documents' paths. Paths are compared byte by byte, so each has exactly one spelling.
pub(super) fn router(
    settings: Arc<ExporterSettings>,
    published: Arc<ArcSwap<Published>>,
) -> Router {
    let path = |suffix| format!("{}{suffix}", settings.path.as_str());
    Router::new()
        .route(&path(PUBLIC_PATH), get(public_document))
        .route(&path(SPIFFE_BUNDLE_PATH), get(bundle_document))
        .route(&path(PRIVATE_PATH), get(private_document))
        .fallback(nothing_here)
        .with_state(Arc::new(Exporter {
            authorizer: Authorizer::new(settings.metrics.clone(), settings.clock.now()),
            settings,
            published,
        }))
}

async fn public_document(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> Response {
    let published = exporter.published.load();
    exporter.counted(DocumentLabel::Public, open(published.public.as_ref(), &headers))
}

async fn bundle_document(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> Response {
    let published = exporter.published.load();
    exporter.counted(DocumentLabel::Bundle, open(published.bundle.as_ref(), &headers))
}

async fn private_document(
    State(exporter): State<Arc<Exporter>>,
    Extension(slot): Extension<Arc<Slot>>,
    headers: HeaderMap,
) -> Response {
    let published = exporter.published.load_full();
    let now = exporter.settings.clock.now();
    let response = match exporter.authorizer.authorize(&published, &headers, now) {
        Ok((cluster, peer)) => {
            slot.mark_proven(&cluster);
            answer(&peer.document, &headers)
        }
        Err(_) => unauthorized(),
    };
    exporter.counted(DocumentLabel::Private, response)
}

async fn nothing_here(State(exporter): State<Arc<Exporter>>) -> Response {
    exporter.counted(DocumentLabel::Other, (StatusCode::NOT_FOUND, "not found\n").into_response())
}

impl Exporter {
    fn counted(&self, document: DocumentLabel, response: Response) -> Response {
        self.settings.metrics.answered(document, response.status().as_u16());
        response
    }
}

/// Answers with a document, with 304 if the client already has it, or with 503 before there is one.
/// Half a document would count as broken.
fn open(document: Option<&Document>, headers: &HeaderMap) -> Response {
    match document {
        Some(document) => answer(document, headers),
        None => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "not ready\n")
            .into_response(),
    }
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
    if headers.get_all(header::IF_NONE_MATCH).iter().any(|sent| document.is_in(sent)) {
        return (StatusCode::NOT_MODIFIED, etag, rules).into_response();
    }
    let form = [(header::CONTENT_TYPE, "application/json")];
    (etag, rules, form, document.body()).into_response()
}
