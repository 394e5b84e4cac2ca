//! Who gets a private document. Each refusal is compared byte by byte with the answer to a request
//! without any token.

use super::{
    Access, Document, Limits, Published, TokenLabels, Transport,
    server_tests::{TestServer, documents},
};
use crate::loopback::{OneKey, TestCa, TestClock, identity};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fedgate_federation::key::PublicKeys;
use fedgate_federation::token::{TokenSource, sign};
use fedgate_process::clock::Clock;
use std::sync::Arc;

const PATH: &str = "/metadata/private/federation.json";

/// An exporter with two peers. Each has its own document.
struct Scene {
    server: TestServer,
    clock: TestClock,
    ours: OneKey,
    beta: OneKey,
    gamma: OneKey,
    tokens: TokenSource,
}

impl Scene {
    async fn new() -> Self {
        let (ours, beta, gamma) = (identity(), identity(), identity());
        let clock = TestClock::new();
        let published = published(&ours, &[(&beta, "for beta"), (&gamma, "for gamma")]);
        let server = TestServer::start(
            published,
            Limits::default(),
            Transport::Plain,
            Arc::new(clock.clone()),
        )
        .await;
        let scene = Self { server, clock, ours, beta, gamma, tokens: TokenSource::default() };
        scene.begin().await;
        scene
    }

    /// Another process serves the same.
    async fn restart(&mut self) {
        let published = Published::clone(&self.server.published.borrow());
        self.server = TestServer::start(
            published,
            Limits::default(),
            Transport::Plain,
            Arc::new(self.clock.clone()),
        )
        .await;
        self.begin().await;
    }

    /// An exporter counts as started from its first answer at the latest.
    async fn begin(&self) {
        assert_eq!(self.server.status("GET /").await, 404);
    }

    /// A token for us that nobody has used yet.
    fn fresh(&mut self, of: &OneKey) -> String {
        self.tokens
            .issue(&of.key, &of.cluster_uuid, &self.ours.cluster_uuid, self.clock.now())
            .unwrap()
    }

    fn beta(&mut self) -> String {
        let beta = self.beta.clone();
        self.fresh(&beta)
    }

    async fn ask(&self, token: &str) -> String {
        self.ask_with(&format!("Authorization: Bearer {token}\r\n")).await
    }

    /// The whole response, except for its date.
    async fn ask_with(&self, headers: &str) -> String {
        let response = self
            .server
            .request(format!(
                "GET {PATH} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"
            ))
            .await;
        response.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }

    fn refused_as(&self, reason: &'static str) -> u64 {
        self.server.metrics.refused_tokens.get_or_create(&TokenLabels { reason }).get()
    }
}

pub(super) fn published(ours: &OneKey, peers: &[(&OneKey, &'static str)]) -> Published {
    let mut access = Access::new(ours.cluster_uuid.clone(), ours.key.public());
    for (peer, document) in peers {
        access.allow(peer.cluster_uuid.clone(), peer.key.public(), Document::new(*document));
    }
    Published { access: Some(access), ..documents() }
}

#[tokio::test]
async fn each_peer_gets_its_own_document() {
    let mut scene = Scene::new().await;
    let (beta, gamma) = (scene.beta(), scene.fresh(&scene.gamma.clone()));
    let whole = scene.ask(&beta).await;
    assert!(
        whole.contains("content-length: 8\r\n") && whole.ends_with("\r\n\r\nfor beta"),
        "{whole}"
    );
    assert!(scene.ask(&gamma).await.ends_with("\r\n\r\nfor gamma"));
    let token = scene.beta();
    assert!(
        scene
            .ask_with(&format!("authorization: bearer  {token}\r\n"))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn a_peer_gets_304_for_its_known_document_and_a_stranger_does_not() {
    let mut scene = Scene::new().await;
    let etag = Document::new("for beta").etag().to_str().unwrap().to_owned();
    let token = scene.beta();
    let known = scene
        .ask_with(&format!("Authorization: Bearer {token}\r\nIf-None-Match: {etag}\r\n"))
        .await;
    assert!(known.starts_with("HTTP/1.1 304 "), "{known}");
    assert!(
        scene.ask_with(&format!("If-None-Match: {etag}\r\n")).await.starts_with("HTTP/1.1 401 ")
    );
    assert!(scene.ask_with("If-None-Match: *\r\n").await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn all_refusals_look_the_same() {
    let mut scene = Scene::new().await;
    let (ours, beta, gamma, stranger) =
        (scene.ours.clone(), scene.beta.clone(), scene.gamma.clone(), identity());
    let scene_now = scene.clock.now();
    let at = |seconds| scene_now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    let token = |key: &OneKey, subject: &OneKey, audience: &OneKey, at| {
        sign(&key.key, &subject.cluster_uuid, &audience.cluster_uuid, at).unwrap()
    };
    let good = scene.beta();
    assert!(scene.ask(&good).await.starts_with("HTTP/1.1 200 "));
    scene.clock.advance(1);
    let now = scene.clock.now();
    let spare = scene.beta();
    let (_, payload) = spare.split_once('.').unwrap();
    let headed = |header: &str| format!("{}.{payload}", BASE64_URL_SAFE_NO_PAD.encode(header));
    let unsigned = payload.split_once('.').unwrap().0;
    let none = format!("{}.{unsigned}.", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));

    let nothing = scene.ask_with("").await;
    assert!(
        nothing.starts_with("HTTP/1.1 401 ") && nothing.ends_with("\r\n\r\nunauthorized\n"),
        "{nothing}"
    );
    let mut refused = vec![
        ("no_token", "Authorization: \r\n".to_owned()),
        ("no_token", "Authorization: Bearer\r\n".to_owned()),
        ("no_token", "Authorization: Basic YTpi\r\n".to_owned()),
        ("no_token", format!("Authorization: Bearer {spare}\r\nAuthorization: Bearer {spare}\r\n")),
        ("no_token", format!("Proxy-Authorization: Bearer {spare}\r\n")),
    ];
    let tokens = [
        ("form", "garbage".into()),
        ("form", "a.b.c".into()),
        ("form", format!("{spare}.x")),
        ("too_long", "x".repeat(3000)),
        ("header", none),
        ("header", headed(r#"{"alg":"HS256"}"#)),
        ("header", headed(r#"{"alg":"EdDSA","kid":"x"}"#)),
        ("replayed", good.clone()),
        ("audience", token(&beta, &beta, &gamma, now)),
        ("signature", token(&gamma, &beta, &ours, now)),
        ("signature", token(&ours, &beta, &ours, now)),
        ("unknown_subject", token(&stranger, &stranger, &ours, now)),
        ("unknown_subject", token(&ours, &stranger, &ours, now)),
        ("unknown_subject", token(&ours, &ours, &ours, now)),
        ("expired", token(&beta, &beta, &ours, at(-69))),
        ("before_start", token(&beta, &beta, &ours, at(-1))),
        ("not_yet_valid", token(&beta, &beta, &ours, at(62))),
    ];
    refused.extend(
        tokens.map(|(reason, token)| (reason, format!("Authorization: Bearer {token}\r\n"))),
    );
    for (reason, headers) in refused {
        let before = scene.refused_as(reason);
        assert_eq!(scene.ask_with(&headers).await, nothing, "{reason}: {headers}");
        assert_eq!(scene.refused_as(reason), before + 1, "{reason}: {headers}");
    }
    // The counterpart: none of that spoiled a good token.
    assert!(scene.ask(&spare).await.ends_with("for beta"));
}

#[tokio::test]
async fn small_clock_differences_are_tolerated() {
    let mut scene = Scene::new().await;
    let token = scene.beta();
    scene.clock.advance(69);
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 200 "));
    let token = scene.beta();
    scene.clock.advance(70);
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
    let ahead = scene.beta();
    scene.clock.advance(-60);
    assert!(scene.ask(&ahead).await.starts_with("HTTP/1.1 200 "));
}

/// Two polls of a DKP cluster within one second carry the same token, and get the same answer.
#[tokio::test]
async fn a_token_may_be_reused_only_within_a_second() {
    let mut scene = Scene::new().await;
    let token = scene.beta();
    let first = scene.ask(&token).await;
    assert!(first.ends_with("for beta"), "{first}");
    assert_eq!(scene.ask(&token).await, first);
    scene.clock.advance(1);
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
    // A token that was good a moment ago does not make its owner a member.
    let token = scene.beta();
    assert!(scene.ask(&token).await.ends_with("for beta"));
    scene
        .server
        .published
        .send_replace(Arc::new(published(&scene.ours, &[(&scene.gamma, "for gamma")])));
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn a_token_from_before_a_restart_is_refused() {
    let mut scene = Scene::new().await;
    let (used, unused) = (scene.beta(), scene.beta());
    assert!(scene.ask(&used).await.starts_with("HTTP/1.1 200 "));
    scene.clock.advance(5);
    scene.restart().await;
    for token in [used, unused] {
        assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
    }
    assert_eq!(scene.refused_as("before_start"), 2);
    let new = scene.beta();
    assert!(scene.ask(&new).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_start_with_a_clock_in_the_future_locks_out_no_peer() {
    let mut scene = Scene::new().await;
    scene.clock.advance(24 * 60 * 60);
    scene.restart().await;
    scene.clock.advance(-24 * 60 * 60);
    let token = scene.beta();
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 200 "));
    scene.clock.advance(1);
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn a_removed_peer_is_refused_at_once() {
    let mut scene = Scene::new().await;
    let (first, second, third) = (scene.beta(), scene.beta(), scene.fresh(&scene.gamma.clone()));
    assert!(scene.ask(&first).await.starts_with("HTTP/1.1 200 "));
    scene
        .server
        .published
        .send_replace(Arc::new(published(&scene.ours, &[(&scene.gamma, "for gamma")])));
    assert_eq!(scene.ask(&second).await, scene.ask_with("").await);
    assert_eq!(scene.refused_as("unknown_subject"), 1);
    assert!(scene.ask(&third).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_used_token_stays_used_after_a_new_federation() {
    let mut scene = Scene::new().await;
    let token = scene.beta();
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 200 "));
    scene
        .server
        .published
        .send_replace(Arc::new(published(&scene.ours, &[(&scene.beta, "new for beta")])));
    scene.clock.advance(1);
    assert!(scene.ask(&token).await.starts_with("HTTP/1.1 401 "));
    let token = scene.beta();
    assert!(scene.ask(&token).await.ends_with("new for beta"));
}

#[tokio::test]
async fn without_a_federation_all_tokens_are_refused() {
    let mut scene = Scene::new().await;
    let token = scene.beta();
    scene.server.published.send_replace(Arc::default());
    assert_eq!(scene.ask(&token).await, scene.ask_with("").await);
    assert_eq!(scene.refused_as("not_ready"), 1);
}

#[tokio::test]
async fn a_request_of_dkp_over_tls_is_answered() {
    let (ours, beta, ca, clock) = (identity(), identity(), TestCa::new(), TestClock::new());
    let (published, tls) =
        (published(&ours, &[(&beta, "for beta")]), Transport::Tls(ca.leaf().tls()));
    let server =
        TestServer::start(published, Limits::default(), tls, Arc::new(clock.clone())).await;
    let root = reqwest::Certificate::from_der(&ca.der()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let token = sign(&beta.key, &beta.cluster_uuid, &ours.cluster_uuid, clock.now()).unwrap();
    let request = client
        .get(format!("https://{}{PATH}", server.address))
        .header("Authorization", format!("Bearer {token}"));
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.text().await.unwrap().as_str()),
        (200, "for beta")
    );
}

#[tokio::test]
async fn a_token_by_either_of_a_peers_keys_is_good() {
    let mut scene = Scene::new().await;
    let (other, third) = (identity().key, identity().key);
    let mut access = Access::new(scene.ours.cluster_uuid.clone(), scene.ours.key.public());
    let keys = PublicKeys::new(scene.beta.key.public(), Some(other.public()));
    access.allow(scene.beta.cluster_uuid.clone(), keys, Document::new("for beta"));
    let published = Published { access: Some(access), ..Published::default() };
    scene.server.published.send_replace(Arc::new(published));
    for (key, code) in [(scene.beta.key.clone(), 200), (other, 200), (third, 401)] {
        let token = scene.fresh(&OneKey { key, ..scene.beta.clone() });
        let answer = scene.ask(&token).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
    assert_eq!(scene.refused_as("signature"), 1);
}
