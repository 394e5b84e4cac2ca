//! The endpoint behind a load balancer that says where connections are from.

use super::server_tests::{TestServer, documents};
use super::{Dropped, DroppedLabels, ExporterSettings, Limits, MetadataPath, Metrics};
use crate::keyring::Keyring;
use fedgate_federation::proxy_header::LOCAL;
use std::{iter, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const GET: &str =
    "GET /metadata/public/public.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const FIRST: &str = "PROXY TCP4 192.0.2.1 10.0.0.1 40000 443\r\n";
const SECOND: &str = "PROXY TCP4 192.0.2.2 10.0.0.1 40000 443\r\n";

async fn server(proxy_protocol: bool, limits: Limits) -> TestServer {
    let (path, metrics) = (MetadataPath::default(), Metrics::default());
    let settings = ExporterSettings::new(path, None, metrics, Keyring::default());
    let settings = settings.behind_balancer(proxy_protocol);
    let per_source = limits.connections_per_source.and(settings.limits.connections_per_source);
    let limits = Limits { connections_per_source: per_source.map(|_| 2), ..limits };
    TestServer::with(documents(), ExporterSettings { limits, ..settings }).await
}

fn dropped(server: &TestServer, reason: Dropped) -> u64 {
    server.metrics.dropped_connections.get_or_create(&DroppedLabels { reason }).get()
}

fn is_answer(text: &str) -> bool {
    text.starts_with("HTTP/1.1 200") && text.ends_with("{\"public\":1}")
}

#[tokio::test]
async fn both_versions_and_the_balancers_own_connections_are_answered() {
    let server = server(true, Limits::default()).await;
    let v2 = [&LOCAL[..12], &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 1, 187]].concat();
    for header in [FIRST.as_bytes(), b"PROXY UNKNOWN\r\n", &LOCAL, &v2] {
        let answer = server.request([header, GET.as_bytes()].concat()).await;
        assert!(is_answer(&answer), "{answer}");
    }
    assert_eq!(dropped(&server, Dropped::NoProxyHeader), 0);
}

#[tokio::test]
async fn a_connection_without_a_header_gets_nothing() {
    let server = server(true, Limits::default()).await;
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    let huge = [&LOCAL[..14], &[0xff, 0xff]].concat();
    for bytes in [GET.as_bytes(), long.as_bytes(), b"PROXY TCP4 x y 1 2\r\n", &huge] {
        assert_eq!(server.request([bytes, GET.as_bytes()].concat()).await, "");
    }
    assert_eq!(dropped(&server, Dropped::NoProxyHeader), 4);
}

/// The twin: where nobody expects a header, it is no request.
#[tokio::test]
async fn a_header_is_no_request_where_no_balancer_is_expected() {
    let server = server(false, Limits::default()).await;
    let answer = server.request(format!("{FIRST}{GET}")).await;
    assert!(!is_answer(&answer), "{answer}");
    assert!(is_answer(&server.request(GET).await));
}

/// The header may come in pieces, and the request with its end.
#[tokio::test]
async fn a_header_in_pieces_is_read_to_its_end_and_no_further() {
    let server = server(true, Limits::default()).await;
    let mut stream = server.connect().await;
    let whole = format!("{FIRST}{GET}");
    for piece in whole.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(is_answer(&answer), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_header_is_dropped_in_time() {
    let server = server(true, Limits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"PROXY").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(dropped(&server, Dropped::NoProxyHeader), 1);
}

async fn open(server: &TestServer, header: &str) -> TcpStream {
    let mut stream = server.connect().await;
    ask(&mut stream, header).await;
    stream
}

/// Asks once, and keeps the connection.
async fn ask(stream: &mut TcpStream, header: &str) {
    let request = GET.replace("Connection: close\r\n", "");
    stream.write_all(format!("{header}{request}").as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(read > 0, "answered");
}

/// Each source has its own share, although all connections are the balancer's.
#[tokio::test]
async fn sources_behind_one_balancer_have_shares_of_their_own() {
    let server = server(true, Limits::default()).await;
    let mut quiet = open(&server, SECOND).await;
    let mut crowd: Vec<_> = Vec::new();
    for header in iter::repeat_n(FIRST, 3) {
        crowd.push(open(&server, header).await);
    }
    let mut oldest = crowd.swap_remove(0);
    assert_eq!(oldest.read(&mut [0; 1]).await.unwrap_or(0), 0, "the third takes the first's place");
    assert_eq!(dropped(&server, Dropped::SourceLimit), 1);
    ask(&mut quiet, "").await;
}
