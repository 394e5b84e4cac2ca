//! What a fetch accepts of an answer.

use super::*;

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
    let Ok(Answer::Fresh { delivery: Delivery { etag: Some(etag), .. }, .. }) =
        fetch(&server, &ca).await
    else {
        panic!("no tag")
    };
    let client = client(&EndpointTls::SystemAnd(vec![ca.der()]), &no_roots());
    let clock = TestClock::new();
    let again = |known| Get {
        url: server.url("/x"),
        bearer: None,
        known: Some(known),
        limit: LIMIT,
        wait: None,
        traced: false,
    };
    assert!(matches!(get(&client, again(&etag), &clock).await.answer, Ok(Answer::NotModified(_))));
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
