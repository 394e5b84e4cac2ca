use super::*;
use crate::sample::Sample;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn start(feed: &Feed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, feed.clone()));
    address
}

/// An answer up to the end of its head, and the connection.
async fn head(address: SocketAddr, request: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        let byte = timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
        text.push(char::from(byte));
    }
    (text, stream)
}

async fn get(address: SocketAddr, path: &str) -> (String, TcpStream) {
    head(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")).await
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn every_answer_has_the_policy() {
    let address = start(&Sample::new().feed()).await;
    for path in
        ["/", "/page.js", "/page.css", "/page/overview", "/page/events", "/page/peer?name=x"]
    {
        let (head, _) = get(address, path).await;
        assert!(
            head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{head}"
        );
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert!(!head.contains("access-control"), "{head}");
    }
}

#[tokio::test]
async fn strangers_are_refused_and_nothing_can_be_written() {
    let address = start(&Sample::new().feed()).await;
    for (request, expected) in [
        (format!("GET /page/overview HTTP/1.1\r\nhost: {address}\r\n\r\n"), "200"),
        ("GET /page/overview HTTP/1.1\r\nhost: rebound.example\r\n\r\n".to_owned(), "403"),
        (format!("GET / HTTP/1.1\r\nhost: {address}\r\norigin: http://x.example\r\n\r\n"), "403"),
        (
            format!("POST /page/overview HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n"),
            "405",
        ),
        (format!("DELETE / HTTP/1.1\r\nhost: {address}\r\n\r\n"), "405"),
        (format!("GET /page/peer?name=none HTTP/1.1\r\nhost: {address}\r\n\r\n"), "404"),
        (format!("GET /page/explain?to=%3Cb%3E HTTP/1.1\r\nhost: {address}\r\n\r\n"), "400"),
        (format!("GET /page/peers?limit=-1 HTTP/1.1\r\nhost: {address}\r\n\r\n"), "400"),
    ] {
        let (head, _) = head(address, &request).await;
        assert_eq!(status(&head), expected, "{request}");
    }
}

#[tokio::test]
async fn before_anything_is_in_force_it_says_so() {
    let feed = Feed::new(std::sync::Arc::default(), crate::Around::new("files"));
    let address = start(&feed).await;
    assert_eq!(status(&get(address, "/page/overview").await.0), "503");
    assert_eq!(status(&get(address, "/").await.0), "200");
}

#[tokio::test]
async fn streams_are_bounded_report_changes_only_and_end_with_the_feed() {
    let feed = Sample::new().feed();
    let address = start(&feed).await;
    let mut streams = Vec::new();
    assert!(!feed.is_watched());
    for _ in 0..16 {
        let (head, stream) = get(address, "/page/events").await;
        assert_eq!(status(&head), "200", "{head}");
        streams.push(stream);
    }
    assert!(feed.is_watched());
    assert_eq!(status(&get(address, "/page/events").await.0), "503");
    let mut first = streams.remove(0);
    let mut text = until(&mut first, "data: 1\n\n\r\n").await;
    let quiet = timeout(Duration::from_millis(1_500), first.read_u8()).await;
    assert!(quiet.is_err(), "an event without a change");
    feed.surround(crate::Around { trouble: Some("new".to_owned()), ..crate::Around::new("files") });
    text += &until(&mut first, "data: 2\n\n\r\n").await;
    assert!(text.contains("event: changed"), "{text}");
    drop(streams);
    // A closed page makes room for another one.
    timeout(SOON, async {
        while status(&get(address, "/page/events").await.0) != "200" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    feed.stop();
    let mut rest = Vec::new();
    timeout(SOON, async {
        let mut byte = [0; 64];
        // The last chunk of the answer has no length.
        while !rest.ends_with(b"0\r\n\r\n") {
            let count = first.read(&mut byte).await.unwrap();
            rest.extend_from_slice(&byte[..count]);
            if count == 0 {
                break;
            }
        }
    })
    .await
    .expect("the stream goes on after the stop");
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let byte = timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
        text.push(char::from(byte));
    }
    text
}
