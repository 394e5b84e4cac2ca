//! Who may read: programs and browsers on this machine, by an address of this machine.
//!
//! A web page of somebody else can make a browser on this machine send requests here. With a name of
//! its own for a loopback address (DNS rebinding) it could also read the answers. So the Host header
//! must be loopback's. A browser says for each request which page caused it; pages from elsewhere
//! are refused.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Refuses requests whose Host header is not loopback's, or that a page from elsewhere caused.
pub async fn only_loopback(request: Request, next: Next) -> Response {
    match refused(request.headers()) {
        None => next.run(request).await,
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
    }
}

fn refused(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Some("expected a loopback Host header\n");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://") == Some(host);
    if text(header::ORIGIN).is_some_and(|origin| !is_own(origin)) {
        return Some("expected no Origin, or this page's own\n");
    }
    // A link from elsewhere may open the page, which then shows nothing to where it came from.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let opens = text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) && !opens {
        return Some("expected a request of this page's own\n");
    }
    None
}

/// Browsers leave out port 80.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    port.parse::<u16>().is_ok()
        && (name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(headers: &[(&'static str, &str)]) -> bool {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        refused(&headers.iter().map(pair).collect()).is_some()
    }

    #[test]
    fn only_this_machines_own_pages_may_read() {
        let host = ("host", "127.0.0.1:7000");
        for good in [
            &[host][..],
            &[("host", "localhost:7000")],
            &[("host", "[::1]:7000")],
            &[("host", "[::1]")],
            &[("host", "127.0.0.1")],
            &[("host", "LOCALHOST:7000")],
            &[host, ("origin", "http://127.0.0.1:7000"), ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "none")],
            &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        ] {
            assert!(!is_refused(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("host", "rebound.example:7000")],
            &[("host", "127.0.0.1.rebound.example")],
            &[("host", "127.0.0.1:7000.rebound.example")],
            &[("host", "localhost:rebound.example")],
            &[("host", "192.0.2.1:7000")],
            &[host, ("origin", "http://rebound.example:7000")],
            &[host, ("origin", "http://127.0.0.1:7001")],
            &[host, ("origin", "null")],
            &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            &[host, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
        ] {
            assert!(is_refused(bad), "{bad:?}");
        }
    }
}
