//! Hundreds of peers that reconnect in the same instant, as after a restart of this exporter or of
//! something in between. Each does what an importer does: a TLS handshake, a request that waits,
//! and after a failure another attempt, with growing pauses.

use super::{
    Document, Limits, Transport, private_tests,
    server_tests::{TestServer, connect_from},
};
use crate::loopback::{OneKey, TestCa, TestClock, identity};
use fedgate_federation::token::TokenSource;
use fedgate_process::backoff::backoff;
use fedgate_process::clock::Clock;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// With these limits, as many peers for each slot as 2,000 are with the defaults.
const PEERS: usize = 250;
/// Connections, in total and of each source.
const LIMITS: (usize, usize) = (64, 8);
/// The document of every peer.
const DOCUMENT: &str = "one";
/// How long it may take until all peers wait. Retries come after 1, 2 and 4 seconds.
const SOON: Duration = Duration::from_secs(30);

struct Storm {
    server: TestServer,
    tls: TlsConnector,
    clock: TestClock,
    ours: OneKey,
    peers: Vec<OneKey>,
}

/// A peer's open connection, on which it waits.
type Waiting = TlsStream<TcpStream>;

impl Storm {
    async fn new() -> Self {
        let (ca, ours, clock) = (TestCa::new(), identity(), TestClock::new());
        let peers: Vec<_> = (0..PEERS).map(|_| identity()).collect();
        let documents: Vec<_> = peers.iter().map(|peer| (peer, DOCUMENT)).collect();
        let (connections, per_source) = LIMITS;
        let limits = Limits {
            connections,
            connections_per_source: Some(per_source),
            waiting: 512,
            ..Limits::default()
        };
        let published = private_tests::published(&ours, &documents);
        let transport = Transport::Tls(ca.leaf().tls());
        let server = TestServer::start(published, limits, transport, Arc::new(clock.clone())).await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.der().into_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server, tls: Arc::new(tls).into(), clock, ours, peers }
    }

    /// All peers connect at once, each from its address, until all of them wait. Returns their
    /// connections, how many attempts failed, and how long it took.
    async fn all_connect(&self, address: fn(usize) -> String) -> (Vec<Waiting>, usize, Duration) {
        let (mut tasks, start) = (JoinSet::new(), Arc::new(Barrier::new(PEERS + 1)));
        let done = watch::Sender::new(false);
        for (number, peer) in self.peers.iter().enumerate() {
            let attempt = Attempt {
                source: address(number),
                server: self.server.address,
                tls: self.tls.clone(),
                token: self.token(peer),
            };
            let (start, done) = (start.clone(), done.subscribe());
            tasks.spawn(async move {
                start.wait().await;
                attempt.until(done).await
            });
        }
        start.wait().await;
        let began = Instant::now();
        let all = async {
            while self.server.metrics.waiting.get() != PEERS as i64 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, all).await.unwrap_or_else(|_| {
            panic!("{} of {PEERS} peers wait", self.server.metrics.waiting.get())
        });
        let took = began.elapsed();
        done.send_replace(true);
        let clients = tasks.join_all().await;
        let failed = clients.iter().map(|(_, failed)| failed).sum();
        (clients.into_iter().map(|(stream, _)| stream).collect(), failed, took)
    }

    fn token(&self, peer: &OneKey) -> String {
        let (uuid, to) = (&peer.cluster_uuid, &self.ours.cluster_uuid);
        TokenSource::default().issue(&peer.key, uuid, to, self.clock.now()).unwrap()
    }
}

/// One peer's attempts.
struct Attempt {
    source: String,
    server: SocketAddr,
    tls: TlsConnector,
    token: String,
}

impl Attempt {
    /// Waits at the server, and begins again when the connection ends, until `done`. Returns the
    /// connection, and how many attempts failed.
    async fn until(self, mut done: watch::Receiver<bool>) -> (Waiting, usize) {
        let mut failed = 0;
        loop {
            if let Some(mut waiting) = self.begin().await {
                let mut rest = [0; 4096];
                let ended =
                    async { while waiting.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
                tokio::select! {
                    _ = done.wait_for(|done| *done) => return (waiting, failed),
                    () = ended => {}
                }
            }
            failed += 1;
            let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
            let pause = backoff(first, longest, u32::try_from(failed).unwrap());
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        }
    }

    /// Connects, asks for the public document, and sends a request that waits. `None` if the
    /// connection ends before.
    async fn begin(&self) -> Option<Waiting> {
        let stream = connect_from(&self.source, self.server).await.ok()?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = self.tls.connect(name, stream).await.ok()?;
        let public = b"GET /metadata/public/public.json HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(public).await.ok()?;
        stream.read_exact(&mut [0; 12]).await.ok()?;
        let etag = Document::new(DOCUMENT).etag().to_str().unwrap().to_owned();
        let request = format!(
            "GET /metadata/private/federation.json HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {}\r\nIf-None-Match: {etag}\r\nPrefer: wait=50\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        Some(stream)
    }
}

fn everywhere(number: usize) -> String {
    format!("127.{}.{}.1", 1 + number / 200, number % 200)
}

fn one_address(_: usize) -> String {
    "127.0.0.1".to_owned()
}

/// At first, the exporter knows nobody, as after its own start. It may let peers wait for a moment,
/// but not for long. When they come back, it knows them, and displaces none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_reconnect_together_are_soon_back_and_known_ones_at_once() {
    for address in [everywhere, one_address] {
        let storm = Storm::new().await;
        let (connections, failed, took) = storm.all_connect(address).await;
        eprintln!("from {}: strangers wait after {took:?}, {failed} failed", address(0));
        drop(connections);
        storm.clock.advance(1);
        let (_connections, failed, took) = storm.all_connect(address).await;
        eprintln!("from {}: known peers wait after {took:?}, {failed} failed", address(0));
        assert_eq!(failed, 0);
    }
}
