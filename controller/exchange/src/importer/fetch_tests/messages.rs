//! How failures are described.

use super::*;

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
            "expected HTTP status 200, found 503 (\"no healthy upstream\\u{1b}[1m\"); the server says Retry-After: 120; ask the \
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
    let client = client(&EndpointTls::SystemAnd(vec![ca.der()]), &no_roots());
    let ask = Get {
        url: server.url("/x"),
        bearer: Some(token),
        known: None,
        limit: LIMIT,
        wait: None,
        traced: false,
    };
    let failure = get(&client, ask, &TestClock::new()).await.answer.unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(text.contains("invalid token <token>"), "{text}");
    assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
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
    assert_eq!(super::super::fetch::beginning_in_utf8(&"no \u{fc}".as_bytes()[..4]), Some("no "));
    assert_eq!(super::super::fetch::beginning_in_utf8(b"\xc3\x28"), None);
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
    let client = client(&EndpointTls::System, &no_roots());
    let refused = Get {
        url: format!("https://{address}/secret?x"),
        bearer: Some("tok.en"),
        known: None,
        limit: LIMIT,
        wait: None,
        traced: false,
    };
    let failure = get(&client, refused, &TestClock::new()).await.answer.unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(matches!(failure, FetchFailure::Connect(_)) && !text.contains("os error"), "{text}");
    assert!(!text.contains("secret") && !text.contains("tok.en"), "{text}");
}
