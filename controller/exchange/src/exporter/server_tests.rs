//! The server against misbehaving clients. Answers are compared byte by byte where it matters.

use super::{
    Document, Dropped, DroppedLabels, ExporterSettings, Limits, MetadataPath, Metrics, Published,
    ServerTls, Transport, serve,
};
use crate::keyring::Keyring;
use crate::loopback::{TestCa, read_head};
use fedgate_process::clock::Clock;
use jiff::Timestamp;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything here takes, shorter than a person would wait.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) published: watch::Sender<Arc<Published>>,
    pub(crate) metrics: Metrics,
    pub(crate) keyring: Keyring,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start(
        published: Published,
        limits: Limits,
        transport: Transport,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let settings = ExporterSettings {
            path: MetadataPath::default(),
            transport,
            proxy_protocol: false,
            limits,
            clock,
            metrics: Metrics::default(),
            keyring: Keyring::default(),
        };
        Self::with(published, settings).await
    }

    pub(crate) async fn with(published: Published, settings: ExporterSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, keyring) = (settings.metrics.clone(), settings.keyring.clone());
        let published = watch::Sender::new(Arc::new(published));
        let (stop, stopped) = oneshot::channel();
        let served = published.clone();
        let task = tokio::spawn(async move {
            serve(listener, settings, served, async { drop(stopped.await) }).await
        });
        Self { address, published, metrics, keyring, stop: Some(stop), task }
    }

    pub(crate) async fn plain(limits: Limits) -> Self {
        Self::start(documents(), limits, Transport::Plain, Arc::new(|| Timestamp::UNIX_EPOCH)).await
    }

    /// Begins to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` and reads until the server closes.
    pub(crate) async fn request(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(request.as_ref()).await;
        read_all(&mut stream).await
    }

    /// The status of one request.
    pub(crate) async fn status(&self, request_line: &str) -> u16 {
        let response = self
            .request(format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await;
        response
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{response:?}"))
    }
}

/// Everything up to the end, when the server closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    // A reset is an end too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut response)).await.expect("the server closes");
    String::from_utf8(response).unwrap()
}

pub(crate) fn documents() -> Published {
    Published {
        public: Some(Document::new("{\"public\":1}")),
        bundle: Some(Document::new("{\"keys\":[]}")),
        ..Published::default()
    }
}

const PUBLIC: &str = "GET /metadata/public/public.json HTTP/1.1\r\nHost: x\r\n";

#[tokio::test]
async fn documents_have_exactly_one_path() {
    let server = TestServer::plain(Limits::default()).await;
    let response = server.request(format!("{PUBLIC}Connection: close\r\n\r\n")).await;
    assert!(
        response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n{\"public\":1}"),
        "{response}"
    );
    assert_eq!(server.status("GET /metadata/public/spiffe-bundle-endpoint").await, 200);
    for path in [
        "/",
        "//",
        "/metadata",
        "/metadata/",
        "/metadata/public",
        "/metadata/public/",
        "/metadata/public/public.json/",
        "//metadata/public/public.json",
        "/metadata//public/public.json",
        "/metadata/public//public.json",
        "/metadata/private/../public/public.json",
        "/metadata/./public/public.json",
        "/metadata/private/%2e%2e/public/public.json",
        "/metadata/public/public%2ejson",
        "/%6detadata/public/public.json",
        "/metadata/public%2fpublic.json",
        "/METADATA/public/public.json",
        "/metadata/public/public.json%00",
        "/metadata/public/public.json;x",
        "/metadata\\public\\public.json",
        "/metadata/private/federation.json/",
        "//metadata/private/federation.json",
        "/metadata/private//federation.json",
        "/metadata/public/..%2fprivate/federation.json",
        "/metadata/%70rivate/federation.json",
    ] {
        assert_eq!(server.status(&format!("GET {path}")).await, 404, "{path}");
    }
    assert_eq!(server.status("GET /metadata/public/public.json?x=1").await, 200);
}

#[tokio::test]
async fn only_get_and_head_without_a_body_are_accepted() {
    let server = TestServer::plain(Limits::default()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        for path in
            ["/metadata/public/public.json", "/metadata/private/federation.json", "/nowhere"]
        {
            let response =
                server.request(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(response.starts_with("HTTP/1.1 405 "), "{method} {path}: {response}");
            assert!(
                response.contains("allow: GET, HEAD\r\n") && response.contains("connection: close"),
                "{response}"
            );
        }
    }
    assert_eq!(server.status("CONNECT x:443").await, 405);
    let head = server
        .request(
            "HEAD /metadata/public/public.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n")
            && head.contains("content-length: 12\r\n")
            && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let response = server.request(format!("{PUBLIC}{body}")).await;
        assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1);
    }
}

#[tokio::test]
async fn a_client_that_has_the_document_gets_304() {
    let server = TestServer::plain(Limits::default()).await;
    let etag = documents().public.unwrap().etag().to_str().unwrap().to_owned();
    let ask = |tag: String| format!("{PUBLIC}If-None-Match: {tag}\r\nConnection: close\r\n\r\n");
    let response = server.request(ask(etag.clone())).await;
    assert!(response.starts_with("HTTP/1.1 304 ") && response.ends_with("\r\n\r\n"), "{response}");
    assert!(response.contains(&format!("etag: {etag}\r\n")), "{response}");
    assert!(server.request(ask("\"other\"".into())).await.starts_with("HTTP/1.1 200 "));
    server.published.send_replace(Arc::new(Published {
        public: Some(Document::new("{\"public\":2}")),
        ..documents()
    }));
    let response = server.request(ask(etag)).await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.ends_with("{\"public\":2}"),
        "{response}"
    );
}

#[tokio::test]
async fn a_document_that_is_not_ready_is_503() {
    let server = TestServer::plain(Limits::default()).await;
    server.published.send_replace(Arc::default());
    assert_eq!(server.status("GET /metadata/public/public.json").await, 503);
    assert_eq!(server.status("GET /metadata/public/spiffe-bundle-endpoint").await, 503);
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let server = TestServer::plain(Limits::default()).await;
    let long =
        |bytes: usize| format!("{PUBLIC}X: {}\r\nConnection: close\r\n\r\n", "x".repeat(bytes));
    assert!(server.request(long(10_000)).await.starts_with("HTTP/1.1 200 "));
    assert!(server.request(long(20_000)).await.starts_with("HTTP/1.1 431 "));
    let many = format!("{PUBLIC}{}Connection: close\r\n\r\n", "X: y\r\n".repeat(150));
    assert!(server.request(many).await.starts_with("HTTP/1.1 431 "));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20_000));
    let response = server.request(path).await;
    assert!(
        response.starts_with("HTTP/1.1 414 ") || response.starts_with("HTTP/1.1 431 "),
        "{response}"
    );
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"]
    {
        let response = server.request(garbage).await;
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 400 "),
            "{garbage:?}: {response}"
        );
    }
}

fn quick() -> Limits {
    Limits {
        request_head: Duration::from_millis(200),
        handshake: Duration::from_millis(200),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let server = TestServer::plain(quick()).await;
    let mut silent = server.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
    let (mut reader, mut writer) = server.connect().await.into_split();
    let slow = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"X").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut response = Vec::new();
    let _ = timeout(DEADLINE, reader.read_to_end(&mut response)).await.expect("the server closes");
    slow.abort();
    let mut idle = server.connect().await;
    idle.write_all(format!("{PUBLIC}\r\n").as_bytes()).await.unwrap();
    let response = read_all(&mut idle).await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.ends_with("{\"public\":1}"),
        "{response}"
    );
}

#[tokio::test]
async fn a_handshake_times_out() {
    let tls = Transport::Tls(TestCa::new().leaf().tls());
    let server =
        TestServer::start(documents(), quick(), tls, Arc::new(|| Timestamp::UNIX_EPOCH)).await;
    let mut silent = server.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
    let mut half = server.connect().await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let _ = timeout(DEADLINE, half.read_to_end(&mut Vec::new())).await.expect("the server closes");
}

#[tokio::test]
async fn a_connections_lifetime_and_requests_are_limited() {
    let limits = Limits {
        connection_life: Duration::from_millis(300),
        requests_per_connection: u32::MAX,
        ..Limits::default()
    };
    let server = TestServer::plain(limits).await;
    let mut busy = server.connect().await;
    let ended = timeout(DEADLINE, async {
        while busy.write_all(format!("{PUBLIC}\r\n").as_bytes()).await.is_ok()
            && read_head(&mut busy).await.is_some()
        {
            if busy.read_exact(&mut [0; 12]).await.is_err() {
                break;
            }
        }
    });
    ended.await.expect("the connection ends");
    assert_eq!(
        server
            .metrics
            .dropped_connections
            .get_or_create(&DroppedLabels { reason: Dropped::Life })
            .get(),
        1
    );

    let limits = Limits { requests_per_connection: 3, ..Limits::default() };
    let server = TestServer::plain(limits).await;
    let response = server.request(format!("{PUBLIC}\r\n").repeat(5)).await;
    assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 3, "{response}");
    assert_eq!(response.matches("connection: close").count(), 1, "{response}");
}

#[tokio::test]
async fn connections_are_limited_per_source_and_in_total() {
    let limits = Limits { connections: 4, connections_per_source: Some(2), ..Limits::default() };
    let server = TestServer::plain(limits.clone()).await;
    let mut two = [held(&server).await, held(&server).await];
    assert!(
        server
            .request(format!("{PUBLIC}Connection: close\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(read_all(&mut two[0]).await, "", "the oldest made room");
    assert!(
        timeout(Duration::from_millis(100), two[1].read_u8()).await.is_err(),
        "the other one is still open"
    );
    assert_eq!(dropped(&server, Dropped::SourceLimit), 1);

    // Behind a proxy there are no shares, and the oldest connection of all makes room.
    let server = TestServer::plain(Limits { connections_per_source: None, ..limits }).await;
    let mut four = Vec::new();
    for _ in 0..4 {
        four.push(held(&server).await);
    }
    assert!(
        server
            .request(format!("{PUBLIC}Connection: close\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(read_all(&mut four[0]).await, "");
    assert_eq!(
        (dropped(&server, Dropped::Crowded), dropped(&server, Dropped::SourceLimit)),
        (1, 0)
    );
}

fn dropped(server: &TestServer, reason: Dropped) -> u64 {
    server.metrics.dropped_connections.get_or_create(&DroppedLabels { reason }).get()
}

/// A connection from one of loopback's addresses.
pub(crate) async fn connect_from(source: &str, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0))?;
    socket.connect(server).await
}

/// Opens silent connections, in turn from ten addresses, as fast as it can, until it is dropped.
fn idle_flood(
    server: &Arc<TestServer>,
    opened: &Arc<std::sync::atomic::AtomicUsize>,
) -> tokio::task::JoinSet<()> {
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (server, opened) = (server.clone(), opened.clone());
        flood.spawn(async move {
            let mut kept = std::collections::VecDeque::new();
            loop {
                if let Ok(stream) =
                    connect_from(&format!("127.0.9.{}", n + 1), server.address).await
                {
                    opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    kept.push_back(stream);
                }
                // The attacker's descriptors belong to this process too. So it closes its oldest
                // sockets, long after the server did.
                if kept.len() > 40 {
                    kept.pop_front();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    flood
}

/// Connections that are only held open must lock nobody out, whichever document is requested and
/// wherever the peer is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_served_during_a_flood_of_idle_connections() {
    let ca = TestCa::new();
    let limits = Limits { connections: 64, connections_per_source: Some(16), ..Limits::default() };
    let tls = Transport::Tls(ca.leaf().tls());
    let server = Arc::new(
        TestServer::start(documents(), limits, tls, Arc::new(|| Timestamp::UNIX_EPOCH)).await,
    );
    let opened = Arc::default();
    let flood = idle_flood(&server, &opened);
    let all_taken = async {
        while dropped(&server, Dropped::Crowded) + dropped(&server, Dropped::SourceLimit) < 500 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, all_taken).await.expect("the flood fills all places many times over");
    let root = reqwest::Certificate::from_der(&ca.der()).unwrap();
    let client = |source: &str| {
        let builder =
            reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy().timeout(DEADLINE);
        builder.local_address(Some(source.parse::<std::net::IpAddr>().unwrap())).build().unwrap()
    };
    let url = format!("https://{}/metadata/public/public.json", server.address);
    for _ in 0..10 {
        let answer = client("127.0.8.1").get(&url).send().await.expect("the peer gets through");
        assert_eq!(answer.text().await.unwrap(), "{\"public\":1}");
    }
    drop(flood);
    let shrunk = async {
        while server.metrics.connections.get() > 64 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, shrunk).await.expect("no more stay open than there are places");
    // The counterpart: the source of the flood loses its own connections, oldest first.
    let mut oldest = connect_from("127.0.9.1", server.address).await.unwrap();
    let _more =
        futures_util::future::join_all((0..16).map(|_| connect_from("127.0.9.1", server.address)))
            .await;
    assert_eq!(read_all(&mut oldest).await, "");
}

/// A connection that got an answer and is still open.
async fn held(server: &TestServer) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(format!("{PUBLIC}\r\n").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
    stream.read_exact(&mut [0; 12]).await.unwrap();
    stream
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once() {
    // None of the connections is in the middle of an answer, so there is nothing to wait for.
    let mut server =
        TestServer::plain(Limits { drain: 1000 * DEADLINE, ..Limits::default() }).await;
    let mut open = held(&server).await;
    let _silent = server.connect().await;
    drop(server.stop.take());
    assert_eq!(read_all(&mut open).await, "");
    timeout(DEADLINE, &mut server.task).await.expect("it stops").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn shutdown_ends_handshakes_at_once() {
    let forever = 1000 * DEADLINE;
    let limits = Limits {
        handshake: forever,
        connection_life: forever,
        drain: forever,
        ..Limits::default()
    };
    let tls = Transport::Tls(TestCa::new().leaf().tls());
    let mut server =
        TestServer::start(documents(), limits, tls, Arc::new(|| Timestamp::UNIX_EPOCH)).await;
    let mut half = server.connect().await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let accepted = async {
        while server.metrics.connections.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, accepted).await.expect("it is accepted");
    drop(server.stop.take());
    timeout(DEADLINE, &mut server.task).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_served_without_closing_open_connections() {
    let (ca, next) = (TestCa::new(), TestCa::new());
    let tls: Arc<ServerTls> = ca.leaf().tls();
    let server = TestServer::start(
        documents(),
        Limits::default(),
        Transport::Tls(tls.clone()),
        Arc::new(|| Timestamp::UNIX_EPOCH),
    )
    .await;
    let url = format!("https://{}/metadata/public/public.json", server.address);
    let client = |ca: &TestCa| {
        let root = reqwest::Certificate::from_der(&ca.der()).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap()
    };
    let (before, after) = (client(&ca), client(&next));
    // Like DKP's importer: a plain GET without Accept.
    assert_eq!(before.get(&url).send().await.unwrap().text().await.unwrap(), "{\"public\":1}");
    assert!(after.get(&url).send().await.is_err());
    let leaf = next.leaf();
    tls.replace(leaf.chain.as_bytes(), leaf.key.as_bytes()).unwrap();
    assert_eq!(after.get(&url).send().await.unwrap().status(), 200);
    assert_eq!(
        before.get(&url).send().await.unwrap().status(),
        200,
        "its connection is still open"
    );
    assert!(client(&ca).get(&url).send().await.is_err());
}
