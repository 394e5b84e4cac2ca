//! One fetch from servers that lie, hang, flood or break. Each refusal has a counterpart that is
//! accepted.

use super::{
    FetchFailure, FetchLimits, SystemRoots,
    client::client,
    failure::Refused,
    fetch::{Answer, Fetched, Get, get},
};
use crate::loopback::{Leaf, Server, TestCa, TestClock};
use fedgate_federation::object::EndpointTls;
use fedgate_process::clock::Clock;
use std::{future::pending, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

const LIMIT: usize = 1000;

fn limits() -> FetchLimits {
    FetchLimits {
        connect: Duration::from_millis(500),
        fetch: Duration::from_millis(900),
        ..FetchLimits::default()
    }
}

fn no_roots() -> SystemRoots {
    SystemRoots::only([]).unwrap()
}

async fn fetch_with(
    server: &Server,
    tls: &EndpointTls,
    roots: &SystemRoots,
) -> Result<Answer, FetchFailure> {
    fetched_with(server, tls, roots, &TestClock::new()).await.answer
}

async fn fetched_with(
    server: &Server,
    tls: &EndpointTls,
    roots: &SystemRoots,
    clock: &TestClock,
) -> Fetched {
    let client = client(tls, roots, &limits()).unwrap();
    get(&client, Get { url: server.url("/x"), bearer: None, known: None, limit: LIMIT }, clock)
        .await
}

async fn fetch(server: &Server, ca: &TestCa) -> Result<Answer, FetchFailure> {
    fetch_with(server, &EndpointTls::SystemAnd(vec![ca.der()]), &no_roots()).await
}

/// A server that sends `response`, then closes.
async fn answering(leaf: &Leaf, response: impl Into<Vec<u8>>) -> Server {
    let response = response.into();
    Server::tls(leaf, move |_, stream| send(stream, response.clone())).await
}

async fn send(mut stream: TlsStream<TcpStream>, response: Vec<u8>) {
    let _ = stream.write_all(&response).await;
    let _ = stream.shutdown().await;
    // Closing with unread bytes would reset the connection, and the client might lose the response.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// The outcome for a server with a good certificate that sends `response`.
async fn answer_to(response: impl Into<Vec<u8>>) -> Result<Answer, FetchFailure> {
    let ca = TestCa::new();
    fetch(&answering(&ca.leaf(), response).await, &ca).await
}

fn fresh(body: &str) -> Result<Answer, FetchFailure> {
    Ok(Answer::Fresh { body: body.into(), etag: None })
}

#[tokio::test]
async fn a_document_is_fetched_with_any_content_type() {
    assert_eq!(answer_to("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await, fresh("{}"));
    let texted = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(answer_to(texted).await, fresh("{}"));
    assert_eq!(
        answer_to("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n{}").await,
        fresh("{}")
    );
}

#[tokio::test]
async fn the_request_is_plain_http_1_1_without_accept_encoding() {
    let ca = TestCa::new();
    let echo = Server::tls(&ca.leaf(), |head, stream| {
        send(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()).into(),
        )
    })
    .await;
    let Ok(Answer::Fresh { body, .. }) = fetch(&echo, &ca).await else { panic!("no answer") };
    let head = String::from_utf8(body).unwrap().to_lowercase();
    assert!(head.starts_with("get /x http/1.1\r\n"), "{head}");
    assert!(
        !head.contains("accept-encoding")
            && !head.contains("authorization")
            && !head.contains("if-none-match"),
        "{head}"
    );
}

#[tokio::test]
async fn only_200_is_success_and_redirects_are_not_followed() {
    let ca = TestCa::new();
    let there = answering(&ca.leaf(), "HTTP/1.1 200 OK\r\n\r\nthere").await;
    for status in [301, 302, 307, 308] {
        let redirect = format!(
            "HTTP/1.1 {status} Go\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            there.url("/x")
        );
        let here = answering(&ca.leaf(), redirect).await;
        let refused = Refused { status, location: Some(there.url("/x")), ..Refused::default() };
        assert_eq!(fetch(&here, &ca).await, Err(FetchFailure::Status(refused)));
    }
    for status in [201, 204, 206, 304, 401, 404, 500, 503] {
        let refused = Refused { status, ..Refused::default() };
        assert_eq!(
            answer_to(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await,
            Err(FetchFailure::Status(refused))
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a_document_is_described() {
    for (response, expected) in [
        (
            "HTTP/1.1 301 X\r\nLocation: https://new.example/metadata\r\n\r\nbody",
            "expected HTTP status 200, found 301, a redirect to \"https://new.example/metadata\", which is not followed; set \
             spec.metadataEndpoint to what stands before /public/public.json at the peer, where the documents are",
        ),
        (
            "HTTP/1.1 302 X\r\n\r\n",
            "expected HTTP status 200, found 302, a redirect without a Location; set spec.metadataEndpoint to what stands before \
             /public/public.json at the peer, where the documents are",
        ),
        (
            "HTTP/1.1 503 X\r\nRetry-After: 120\r\n\r\n\n  no healthy upstream\u{1b}[1m \nsecond",
            "expected HTTP status 200, found 503 (\"no healthy upstream\\\\u{1b}[1m\"); the server says Retry-After: 120; ask the \
             peer's operator: the log of the controller, or of the proxy in front of it, says why",
        ),
        (
            "HTTP/1.1 404 X\r\n\r\n404 page not found\n",
            "expected HTTP status 200, found 404 (\"404 page not found\"); set spec.metadataEndpoint to what stands before \
             /public/public.json at the peer, where the documents are",
        ),
        (
            "HTTP/1.1 403 X\r\nContent-Encoding: gzip\r\n\r\nxyz",
            "expected HTTP status 200, found 403; let this cluster's controllers pass the firewall or proxy in front of the peer's controller",
        ),
        (
            "HTTP/1.1 204 X\r\n\r\n",
            "expected HTTP status 200, found 204; set spec.metadataEndpoint to what stands before /public/public.json at the peer, where \
             the documents are",
        ),
        (
            "HTTP/1.1 401 X\r\n\r\n",
            "expected HTTP status 200, found 401; let requests for the metadata pass what asks for a login in front of the peer's controller",
        ),
        (
            "HTTP/1.1 429 X\r\nRetry-After: Fri, 01 Jan 2027 00:00:00 GMT\r\n\r\nslow down",
            "expected HTTP status 200, found 429 (\"slow down\"); the server says Retry-After: Fri, 01 Jan 2027 00:00:00 GMT; it is asked \
             again at the usual pace; ask the peer's operator to allow as many requests",
        ),
        (
            "HTTP/1.1 502 X\r\n\r\n<html>\r\n<head><TITLE> 502 Bad Gateway </TITLE></head>\r\n<body>nginx",
            "expected HTTP status 200, found 502 (\"502 Bad Gateway\"); ask the peer's operator: the log of the controller, or of the \
             proxy in front of it, says why",
        ),
        (
            "HTTP/1.1 418 X\r\n\r\n\u{fc}",
            "expected HTTP status 200, found 418 (\"\u{fc}\"); check that spec.metadataEndpoint leads to the peer's controller, and not to \
             another server",
        ),
    ] {
        assert_eq!(answer_to(response).await.unwrap_err().to_string(), expected);
    }
    let endless = format!("HTTP/1.1 500 X\r\n\r\n{}", "x".repeat(1_000_000));
    let failure = answer_to(endless).await.unwrap_err().to_string();
    assert!(failure.len() < 300, "{failure}");
}

#[tokio::test]
async fn a_token_echoed_by_a_server_appears_in_no_message() {
    let (ca, token) =
        (TestCa::new(), "eyJhbGciOiJFZERTQSJ9.eyJhdWQiOiIyMjIyMjIy.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg");
    let server = Server::tls(&ca.leaf(), |head, stream| {
        let sent = head
            .lines()
            .find(|line| line.to_lowercase().starts_with("authorization"))
            .unwrap()
            .to_owned();
        let (_, sent) = sent.rsplit_once(' ').unwrap();
        send(
            stream,
            format!(
                "HTTP/1.1 401 X\r\nRetry-After: {sent}\r\n\r\ninvalid token {sent} in {}",
                &sent[21..]
            )
            .into(),
        )
    })
    .await;
    let client = client(&EndpointTls::SystemAnd(vec![ca.der()]), &no_roots(), &limits()).unwrap();
    let ask = Get { url: server.url("/x"), bearer: Some(token), known: None, limit: LIMIT };
    let failure = get(&client, ask, &TestClock::new()).await.answer.unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(text.contains("invalid token <token>"), "{text}");
    assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
}

/// Interim answers (RFC 9110 section 15.2) are not answers, however many come.
#[tokio::test]
async fn interim_answers_are_skipped_until_the_timeout() {
    let few = format!(
        "{}HTTP/1.1 200 OK\r\n\r\n{{}}",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(3)
    );
    assert_eq!(answer_to(few).await, fresh("{}"));
    let ca = TestCa::new();
    let server = Server::tls(&ca.leaf(), |_, mut stream| async move {
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(fetch(&server, &ca).await, Err(FetchFailure::Timeout("while fetching")));
}

#[tokio::test]
async fn absurd_headers_are_handled() {
    for date in [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 0000 00:00:00 GMT",
        "Mon, 99 Foo 99999999999 99:99:99 GMT",
        "\u{7f}",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}");
        let answer = answer_to(response).await;
        assert!(
            answer == fresh("{}") || matches!(answer, Err(FetchFailure::Broken(_))),
            "{date}: {answer:?}"
        );
    }
    let huge = format!(
        "HTTP/1.1 200 OK\r\nETag: \"{}\"\r\nContent-Length: 2\r\n\r\n{{}}",
        "e".repeat(50_000)
    );
    assert_eq!(answer_to(huge).await, fresh("{}"));
    let lies = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}";
    assert!(answer_to(lies).await.is_err());
}

#[tokio::test]
async fn the_entity_tag_is_sent_back_and_304_is_accepted() {
    let ca = TestCa::new();
    let server = Server::tls(&ca.leaf(), |head, stream| {
        let known = head.to_lowercase().contains("if-none-match: w/\"7\"");
        let status = if known { "304 Not Modified" } else { "200 OK" };
        send(
            stream,
            format!("HTTP/1.1 {status}\r\nETag: W/\"7\"\r\nContent-Length: 0\r\n\r\n").into(),
        )
    })
    .await;
    let Ok(Answer::Fresh { etag: Some(etag), .. }) = fetch(&server, &ca).await else {
        panic!("no tag")
    };
    let client = client(&EndpointTls::SystemAnd(vec![ca.der()]), &no_roots(), &limits()).unwrap();
    let clock = TestClock::new();
    let again =
        |known| Get { url: server.url("/x"), bearer: None, known: Some(known), limit: LIMIT };
    assert_eq!(get(&client, again(&etag), &clock).await.answer, Ok(Answer::NotModified));
    assert!(matches!(get(&client, again("\"8\""), &clock).await.answer, Ok(Answer::Fresh { .. })));
}

#[tokio::test]
async fn a_long_entity_tag_is_ignored() {
    let response = format!(
        "HTTP/1.1 200 OK\r\nETag: \"{}\"\r\nContent-Length: 2\r\n\r\n{{}}",
        "x".repeat(300)
    );
    assert_eq!(answer_to(response).await, fresh("{}"));
}

#[tokio::test]
async fn a_body_is_limited_in_size() {
    let too_large = Err(FetchFailure::TooLarge { limit: LIMIT });
    let (fits, over) = ("x".repeat(LIMIT), "x".repeat(LIMIT + 1));
    assert_eq!(answer_to(format!("HTTP/1.1 200 OK\r\n\r\n{fits}")).await, fresh(&fits));
    assert_eq!(answer_to(format!("HTTP/1.1 200 OK\r\n\r\n{over}")).await, too_large);
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LIMIT + 1);
    assert_eq!(answer_to(announced).await, too_large);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n{0}\r\n1f5\r\n{0}x\r\n",
        "x".repeat(500)
    );
    assert_eq!(answer_to(chunked).await, too_large);
}

#[tokio::test]
async fn an_endless_body_ends_at_the_limit() {
    let ca = TestCa::new();
    let server = Server::tls(&ca.leaf(), |_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b' '; 100]).await.is_ok() {}
    })
    .await;
    assert_eq!(fetch(&server, &ca).await, Err(FetchFailure::TooLarge { limit: LIMIT }));
}

#[tokio::test]
async fn a_truncated_body_is_a_failure() {
    let failure = answer_to("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").await.unwrap_err();
    assert!(matches!(failure, FetchFailure::Broken(_)), "{failure:?}");
    let failure = answer_to("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}")
        .await
        .unwrap_err();
    assert!(matches!(failure, FetchFailure::Broken(_)), "{failure:?}");
}

#[tokio::test]
async fn a_connection_reset_within_the_body_is_a_failure() {
    let ca = TestCa::new();
    let server = Server::tls(&ca.leaf(), |_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{").await;
        let _ = stream.flush().await;
        let _ = stream.get_ref().0.set_zero_linger();
    })
    .await;
    let failure = fetch(&server, &ca).await.unwrap_err();
    assert!(matches!(failure, FetchFailure::Broken(_)), "{failure:?}");
}

#[tokio::test]
async fn unrequested_compression_is_refused() {
    let failure =
        answer_to("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
            .await
            .unwrap_err();
    let expected = "the document: expected no content encoding, which is what was asked for, found \"gzip\"; switch compression off";
    assert!(failure.to_string().starts_with(expected), "{failure}");
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{{}}", "x".repeat(2_000_000));
    assert!(matches!(answer_to(long).await, Err(FetchFailure::Broken(_))));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n{{}}", "X: y\r\n".repeat(200));
    assert!(matches!(answer_to(many).await, Err(FetchFailure::Broken(_))));
}

#[tokio::test]
async fn every_phase_of_a_fetch_is_limited_by_the_timeout() {
    let ca = TestCa::new();
    let at_handshake = Server::tcp(|stream| async move {
        let _stream = stream;
        pending().await
    })
    .await;
    assert_eq!(fetch(&at_handshake, &ca).await, Err(FetchFailure::Timeout("while connecting")));
    let before_head = Server::tls(&ca.leaf(), |_, _stream| async move {
        let _stream = _stream;
        pending().await
    })
    .await;
    assert_eq!(fetch(&before_head, &ca).await, Err(FetchFailure::Timeout("while fetching")));
    // A byte now and then, so that no single read takes long.
    let in_body = Server::tls(&ca.leaf(), |_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n").await;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
            tick.tick().await;
        }
    })
    .await;
    assert_eq!(fetch(&in_body, &ca).await, Err(FetchFailure::Timeout("while fetching")));
}

#[tokio::test]
async fn the_certificate_must_come_from_the_peers_ca_or_a_system_root() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let server = answering(&ca.leaf(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let own = |ca: &TestCa| EndpointTls::SystemAnd(vec![ca.der()]);
    let system = SystemRoots::only([ca.der().into_vec().into()]).unwrap();
    assert_eq!(fetch_with(&server, &own(&ca), &no_roots()).await, fresh("{}"));
    assert_eq!(fetch_with(&server, &EndpointTls::System, &system).await, fresh("{}"));
    // In addition to the system's roots, not instead of them.
    assert_eq!(fetch_with(&server, &own(&other), &system).await, fresh("{}"));
    for tls in [own(&other), EndpointTls::System] {
        let failure = fetch_with(&server, &tls, &no_roots()).await.unwrap_err();
        assert!(failure.to_string().contains("spec.metadata.ca"), "{failure}");
    }
}

#[tokio::test]
async fn the_certificate_must_be_valid_now_and_for_the_host() {
    let ca = TestCa::new();
    for (leaf, word, detail) in [
        (ca.expired_leaf(), "expired", "2001-01-01T00:00:00Z"),
        (ca.leaf_for("beta.example"), "another host", "it names beta.example"),
    ] {
        let server = answering(&leaf, "HTTP/1.1 200 OK\r\n\r\n{}").await;
        let failure = fetch(&server, &ca).await.unwrap_err();
        assert!(
            matches!(&failure, FetchFailure::Tls(message) if message.contains(word)),
            "{failure:?}"
        );
        assert!(
            matches!(&failure, FetchFailure::Tls(message) if message.contains(detail)),
            "{failure:?}"
        );
        // The counterpart: only the certificate was at fault.
        assert_eq!(fetch_with(&server, &EndpointTls::Unverified, &no_roots()).await, fresh("{}"));
    }
}

/// As `openssl req -x509` makes it. Go's TLS accepts it too.
#[tokio::test]
async fn a_ca_certificate_is_accepted_for_a_server_only_if_listed_in_ca() {
    let ca = TestCa::for_host("127.0.0.1", 2100);
    let server = answering(&ca.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let exactly = |ca: &TestCa| EndpointTls::SystemAnd(vec![ca.der()]);
    let refusal = async |server: &Server, tls: EndpointTls, system: SystemRoots| {
        fetch_with(server, &tls, &system).await.unwrap_err().to_string()
    };
    assert_eq!(fetch_with(&server, &exactly(&ca), &no_roots()).await, fresh("{}"));
    // The same `ca` accepts a leaf that it signed, but no other certificate for the same host.
    let leaf = answering(&ca.leaf(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    assert_eq!(fetch_with(&leaf, &exactly(&ca), &no_roots()).await, fresh("{}"));
    let twin = TestCa::for_host("127.0.0.1", 2100);
    assert!(refusal(&server, exactly(&twin), no_roots()).await.contains("spec.metadata.ca"));
    // A system root does not say who owns this address.
    let system = SystemRoots::only([ca.der().into_vec().into()]).unwrap();
    assert!(
        refusal(&server, EndpointTls::System, system).await.contains("CA certificate as its own")
    );
    // Host and dates are checked.
    let elsewhere = TestCa::for_host("meta.beta.example", 2100);
    let server = answering(&elsewhere.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let message = refusal(&server, exactly(&elsewhere), no_roots()).await;
    assert!(message.contains("it names meta.beta.example"), "{message}");
    let old = TestCa::for_host("127.0.0.1", 2001);
    let server = answering(&old.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let message = refusal(&server, exactly(&old), no_roots()).await;
    assert!(message.contains("expired at 2001-01-01T00:00:00Z"), "{message}");
}

#[tokio::test]
async fn a_refused_certificate_is_described_by_names_and_dates() {
    let ca = TestCa::new();
    for (leaf, parts) in [
        (ca.expired_leaf(), ["expired", "2001-01-01T00:00:00Z"]),
        (ca.leaf_for("meta.beta.example"), ["another host", "it names meta.beta.example"]),
        (ca.leaf_of(&[]), ["another host", "it names none"]),
    ] {
        let server = answering(&leaf, "HTTP/1.1 200 OK\r\n\r\n{}").await;
        let message = fetch(&server, &ca).await.unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!message.contains("Error(") && !message.contains("DnsName"), "{message}");
    }
}

/// Other servers on the port: plain HTTP in both directions, and one that closes. Each gets its own
/// message with what to do.
#[tokio::test]
async fn a_server_of_another_protocol_is_described_with_advice() {
    let ca = TestCa::new();
    for banner in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "220 mail.example ESMTP Postfix\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\0\0\0\0\0",
        "-ERR unknown command\r\n",
        "",
    ] {
        let server = Server::tcp(move |mut stream| async move {
            let _ = stream.write_all(banner.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let message = fetch(&server, &ca).await.unwrap_err().to_string();
        assert!(
            message.contains("check that the port in spec.metadataEndpoint speaks HTTPS"),
            "{banner:?}: {message}"
        );
        crate::readable::assert_readable(&[message], crate::advice::problems_of_finding);
    }
}

#[tokio::test]
async fn every_fetch_failure_gives_advice() {
    let ca = TestCa::new();
    let mut answers = Vec::new();
    for status in [201, 204, 301, 304, 400, 401, 403, 404, 407, 410, 418, 429, 500, 502, 503, 504] {
        answers.push(answer_to(format!("HTTP/1.1 {status} X\r\n\r\n")).await);
    }
    for broken in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}",
        "HTTP/9.9 200 OK\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n{}",
        "",
    ] {
        answers.push(answer_to(broken).await);
    }
    for leaf in [
        ca.expired_leaf(),
        ca.leaf_for("beta.example"),
        ca.leaf_of(&[]),
        TestCa::new().leaf(),
        ca.itself(),
    ] {
        let server = answering(&leaf, "HTTP/1.1 200 OK\r\n\r\n{}").await;
        answers.push(fetch(&server, &ca).await);
    }
    // The last one shows exactly the certificate in `ca`, and is refused for its name.
    let messages: Vec<_> =
        answers.into_iter().map(|answer| format!("peer beta: {}", answer.unwrap_err())).collect();
    crate::readable::assert_readable(&messages, crate::advice::problems_of_finding);
}

#[test]
fn a_text_cut_within_a_character_is_shown_up_to_it() {
    assert_eq!(super::fetch::beginning_in_utf8(&"no \u{fc}".as_bytes()[..4]), Some("no "));
    assert_eq!(super::fetch::beginning_in_utf8(b"\xc3\x28"), None);
}

#[tokio::test]
async fn a_server_without_tls_and_a_silent_one_are_distinguished() {
    let ca = TestCa::new();
    let plain = Server::tcp(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let failure = fetch(&plain, &ca).await.unwrap_err();
    assert!(
        matches!(&failure, FetchFailure::Tls(message) if message.contains("plain HTTP")),
        "{failure}"
    );
    let gone = Server::tcp(|_| async {}).await;
    let address = gone.address;
    drop(gone);
    let client = client(&EndpointTls::System, &no_roots(), &limits()).unwrap();
    let refused = Get {
        url: format!("https://{address}/secret?x"),
        bearer: Some("tok.en"),
        known: None,
        limit: LIMIT,
    };
    let failure = get(&client, refused, &TestClock::new()).await.answer.unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(matches!(failure, FetchFailure::Connect(_)) && !text.contains("os error"), "{text}");
    assert!(!text.contains("secret") && !text.contains("tok.en"), "{text}");
}

#[tokio::test]
async fn the_servers_clock_is_read_from_every_answer() {
    let (ca, clock) = (TestCa::new(), TestClock::new());
    let now = clock.now();
    let tls = EndpointTls::SystemAnd(vec![ca.der()]);
    let reading = async |head: &str| {
        let server = answering(
            &ca.leaf(),
            format!("HTTP/1.1 {head}Content-Length: 0\r\nConnection: close\r\n\r\n"),
        )
        .await;
        fetched_with(&server, &tls, &no_roots(), &clock).await.clock
    };
    // The test's clock stands at midnight of 2026-01-01.
    for status in ["200 OK", "401 Unauthorized", "304 Not Modified"] {
        let clock =
            reading(&format!("{status}\r\nDate: Thu, 01 Jan 2026 00:00:40 GMT\r\n")).await.unwrap();
        assert_eq!((clock.ours, clock.skew().as_secs()), (now, 40), "{status}");
    }
    let behind = reading("200 OK\r\nDate: Wed, 31 Dec 2025 23:59:00 GMT\r\n").await.unwrap();
    assert_eq!(behind.skew().as_secs(), -59, "up to a second may be its rounding");
    assert_eq!(
        reading("200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n")
            .await
            .unwrap()
            .skew()
            .as_secs(),
        0
    );
    for silent in ["", "Date: yesterday\r\n", "Age: 30\r\nDate: Thu, 01 Jan 2026 00:00:40 GMT\r\n"]
    {
        assert_eq!(reading(&format!("200 OK\r\n{silent}")).await, None, "{silent}");
    }
}
