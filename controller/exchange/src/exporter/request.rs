//! Checks that apply to every request: GET or HEAD only, and no body.

use super::{Metrics, metrics::DocumentLabel};
use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;

/// Answers one request. The connection closes after that if it is the last one.
pub(super) async fn answer(
    request: Request<Body>,
    router: &TowerToHyperService<Router>,
    is_last: impl Fn() -> bool,
    metrics: &Metrics,
) -> Result<Response<Body>, Infallible> {
    if let Some(mut refused) = refuse(&request) {
        metrics.answered(DocumentLabel::Other, refused.status().as_u16());
        // The body is not read, so its bytes must not be taken for the next request.
        close(&mut refused);
        return Ok(refused);
    }
    let mut response = router.call(request).await?;
    if is_last() {
        close(&mut response);
    }
    Ok(response)
}

fn close(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

fn refuse(request: &Request<Body>) -> Option<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return Some(
            (StatusCode::METHOD_NOT_ALLOWED, allow, "GET and HEAD only\n").into_response(),
        );
    }
    if !request.body().is_end_stream() {
        return Some((StatusCode::PAYLOAD_TOO_LARGE, "no request body\n").into_response());
    }
    None
}
