//! Peers that wait for a change of their document. Times are real, so each test waits for answers
//! only, never for their absence.

use super::{
    Document, Limits, Published, Transport, private_tests,
    server_tests::{TestServer, documents},
};
use crate::loopback::{OneKey, TestCa, TestClock, identity};
use fedgate_federation::token::TokenSource;
use fedgate_process::clock::Clock;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than a test takes.
const LONG: u64 = 50;

struct Scene {
    server: TestServer,
    clock: TestClock,
    ours: OneKey,
    peers: Vec<OneKey>,
    tokens: Vec<TokenSource>,
}

impl Scene {
    async fn new(peers: usize, limits: Limits) -> Self {
        let (ours, clock) = (identity(), TestClock::new());
        let peers: Vec<_> = (0..peers).map(|_| identity()).collect();
        let first = published(&ours, &peers, "one");
        let clock_of_server = Arc::new(clock.clone());
        let server = TestServer::start(first, limits, Transport::Plain, clock_of_server).await;
        let tokens = peers.iter().map(|_| TokenSource::default()).collect();
        Self { server, clock, ours, peers, tokens }
    }

    fn publish(&self, text: &'static str) {
        let published = published(&self.ours, &self.peers, text);
        self.server.published.send_replace(Arc::new(published));
    }

    fn token(&mut self, peer: usize) -> String {
        let (of, to) = (&self.peers[peer], &self.ours.cluster_uuid);
        self.tokens[peer].issue(&of.key, &of.cluster_uuid, to, self.clock.now()).unwrap()
    }

    /// A request of a peer that has the document `known`.
    fn request(&mut self, peer: usize, known: &'static str, wait: u64) -> String {
        let token = self.token(peer);
        let etag = Document::new(known).etag().to_str().unwrap().to_owned();
        format!(
            "GET /metadata/private/federation.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIf-None-Match: {etag}\r\nPrefer: wait={wait}\r\n\r\n"
        )
    }

    async fn ask(&mut self, peer: usize, known: &'static str, wait: u64) -> Client {
        let mut client = Client(self.server.connect().await);
        client.send(&self.request(peer, known, wait)).await;
        client
    }

    /// Waits until this many requests wait.
    async fn waiting(&self, count: i64) {
        let so = async {
            while self.server.metrics.waiting.get() != count {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, so).await.unwrap_or_else(|_| panic!("{count} requests that wait"));
    }
}

fn published(ours: &OneKey, peers: &[OneKey], text: &'static str) -> Published {
    let documents: Vec<_> = peers.iter().map(|peer| (peer, text)).collect();
    private_tests::published(ours, &documents)
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, request: &str) {
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// The head and the body of the next answer.
    async fn answer(&mut self) -> String {
        let answer = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap().into());
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            self.0.read_exact(&mut body).await.unwrap();
            head + &String::from_utf8(body).unwrap()
        };
        timeout(DEADLINE, answer).await.expect("an answer")
    }

    fn answer_later(mut self) -> JoinHandle<(Instant, String)> {
        tokio::spawn(async move {
            let answer = self.answer().await;
            (Instant::now(), answer)
        })
    }
}

fn is_applied(answer: &str) -> bool {
    answer.contains("preference-applied: wait=")
}

#[tokio::test]
async fn a_change_is_answered_at_once_and_the_connection_goes_on() {
    let mut scene = Scene::new(1, Limits::default()).await;
    let mut client = scene.ask(0, "one", LONG).await;
    scene.waiting(1).await;
    scene.publish("two");
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("two"), "{answer}");
    assert!(answer.contains("preference-applied: wait=50\r\n"), "{answer}");
    // More requests than a connection has otherwise.
    for _ in 0..Limits::default().requests_per_connection {
        client.send(&scene.request(0, "two", 0)).await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 304 ") && is_applied(&answer), "{answer}");
    }
}

#[tokio::test]
async fn what_a_peer_does_not_have_is_answered_at_once() {
    let mut scene = Scene::new(1, Limits::default()).await;
    let answer = scene.ask(0, "zero", LONG).await.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("one"), "{answer}");
    assert!(is_applied(&answer));
}

#[tokio::test]
async fn without_a_change_the_answer_comes_when_the_time_is_up() {
    let limits = Limits { wait: Duration::from_millis(1100), ..Limits::default() };
    let mut scene = Scene::new(1, limits).await;
    for (wait, least) in [(1, 1000), (LONG, 1100)] {
        let began = Instant::now();
        let answer = scene.ask(0, "one", wait).await.answer().await;
        assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
        assert!(answer.contains("preference-applied: wait=1\r\n"), "{answer}");
        assert!(began.elapsed() >= Duration::from_millis(least), "{:?}", began.elapsed());
    }
}

/// Strangers, other documents and other methods are answered at once, whatever they prefer.
#[tokio::test]
async fn only_a_peer_waits_and_only_for_its_private_document() {
    let mut scene = Scene::new(1, Limits::default()).await;
    let good = scene.request(0, "one", LONG);
    let stranger = good.replace("Bearer ", "Bearer x");
    let none = good.replace("Authorization", "X");
    let etag = documents().public.unwrap().etag().to_str().unwrap().to_owned();
    let public = format!(
        "GET /metadata/public/public.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\nPrefer: wait=50\r\n\r\n"
    );
    let head = good.replace("GET", "HEAD");
    let without = scene.request(0, "one", LONG).replace("Prefer", "X");
    for (request, status) in
        [(stranger, 401), (none, 401), (public, 304), (head, 304), (without, 304)]
    {
        let mut client = Client(scene.server.connect().await);
        client.send(&request).await;
        let answer = client.answer().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(!is_applied(&answer), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_newer_request_ends_the_older_one_of_the_same_peer() {
    let mut scene = Scene::new(2, Limits::default()).await;
    let (mut older, other) = (scene.ask(0, "one", LONG).await, scene.ask(1, "one", LONG).await);
    scene.waiting(2).await;
    let newer = scene.ask(0, "one", LONG).await;
    let ended = older.answer().await;
    assert!(ended.starts_with("HTTP/1.1 304 ") && !is_applied(&ended), "{ended}");
    scene.waiting(2).await;
    scene.publish("two");
    for mut client in [newer, other] {
        let answer = client.answer().await;
        assert!(answer.ends_with("two") && is_applied(&answer), "{answer}");
    }
}

#[tokio::test]
async fn without_a_place_a_peer_is_answered_at_once_and_polls() {
    let mut scene = Scene::new(2, Limits { waiting: 1, ..Limits::default() }).await;
    let _first = scene.ask(0, "one", LONG).await;
    scene.waiting(1).await;
    for wait in [LONG, 0] {
        let answer = scene.ask(1, "one", wait).await.answer().await;
        assert!(answer.starts_with("HTTP/1.1 304 ") && !is_applied(&answer), "{answer}");
    }
}

#[tokio::test]
async fn a_peer_that_is_removed_or_changes_its_key_while_it_waits_gets_nothing() {
    let mut scene = Scene::new(2, Limits::default()).await;
    let (removed, rekeyed) = (scene.ask(0, "one", LONG).await, scene.ask(1, "one", LONG).await);
    scene.waiting(2).await;
    scene.peers.remove(0);
    scene.peers[0].key = identity().key;
    scene.publish("two");
    for mut client in [removed, rekeyed] {
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("two"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let mut scene = Scene::new(1, Limits::default()).await;
    let client = scene.ask(0, "one", LONG).await;
    scene.waiting(1).await;
    drop(client);
    scene.waiting(0).await;
}

#[tokio::test]
async fn a_stop_answers_those_who_wait() {
    let mut scene = Scene::new(1, Limits::default()).await;
    let mut client = scene.ask(0, "one", LONG).await;
    scene.waiting(1).await;
    scene.server.stop();
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 304 ") && is_applied(&answer), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

/// Also more than the connections that strangers have, from a single address.
#[tokio::test]
async fn a_thousand_waiting_peers_learn_of_a_change() {
    let mut scene = Scene::new(1000, Limits::default()).await;
    let mut clients = Vec::new();
    for peer in 0..scene.peers.len() {
        clients.push(scene.ask(peer, "one", LONG).await);
        if peer % 50 == 49 {
            // Those that do not wait yet count as strangers of one address.
            scene.waiting(peer as i64 + 1).await;
        }
    }
    // A stranger is answered meanwhile.
    assert_eq!(scene.server.status("GET /metadata/public/public.json").await, 200);
    let began = Instant::now();
    scene.publish("two");
    let answers: Vec<_> = clients.into_iter().map(Client::answer_later).collect();
    let mut times = Vec::new();
    for answer in answers {
        let (at, answer) = answer.await.unwrap();
        assert!(answer.ends_with("two") && is_applied(&answer), "{answer}");
        times.push(at - began);
    }
    times.sort();
    // `cargo xtask bench controller` measures how long it really takes.
    assert!(times[999] < Duration::from_secs(5), "{:?}", times[999]);
}

/// A connection would keep the certificate that it started with.
#[tokio::test]
async fn a_new_certificate_ends_a_wait_and_its_connection() {
    let (ours, beta, clock, ca) = (identity(), identity(), TestClock::new(), TestCa::new());
    let tls = ca.leaf().tls();
    let first = published(&ours, std::slice::from_ref(&beta), "one");
    let (transport, server_clock) = (Transport::Tls(tls.clone()), Arc::new(clock.clone()));
    let server = TestServer::start(first, Limits::default(), transport, server_clock).await;
    let mut scene =
        Scene { server, clock, ours, peers: vec![beta], tokens: vec![TokenSource::default()] };
    let etag = Document::new("one").etag().clone();
    let root = reqwest::Certificate::from_der(&ca.der()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let request = client
        .get(format!("https://{}/metadata/private/federation.json", scene.server.address))
        .bearer_auth(scene.token(0))
        .header("if-none-match", etag)
        .header("prefer", "wait=50");
    let answer = tokio::spawn(request.send());
    scene.waiting(1).await;
    let new = ca.leaf();
    tls.replace(new.chain.as_bytes(), new.key.as_bytes()).unwrap();
    let answer = timeout(DEADLINE, answer).await.expect("an answer").unwrap().unwrap();
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!((answer.status().as_u16(), header("connection")), (304, Some("close")));
    assert_eq!(header("preference-applied"), Some("wait=50"));
}
