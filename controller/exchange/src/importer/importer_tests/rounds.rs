//! What a round with one peer learns.

use super::*;
use crate::importer::metrics::{DocumentLabels, PeerDocumentLabels};
use fedgate_federation::key::{SigningKey, SigningKeys};
use rustls::HandshakeKind::{self, Full, Resumed};
use std::sync::{Mutex, atomic::AtomicBool};

#[tokio::test]
async fn both_documents_are_fetched_and_a_change_is_noticed() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.poll(&[scene.peer("beta", server.address)]);

    let first = scene.next().await;
    assert_eq!(reasons(&first), (Succeeded, Succeeded));
    assert!(first.changed && first.knowledge.notices.is_empty());
    assert_eq!(first.knowledge.public.as_ref().unwrap().document, beta.public());
    assert_eq!(first.knowledge.private.as_ref().unwrap().document, beta.private());

    scene.clock.advance(1);
    let second = scene.next().await;
    assert!(!second.changed, "nothing is new");
    assert!(
        second.knowledge.private.as_ref().unwrap().confirmed
            > first.knowledge.private.as_ref().unwrap().confirmed
    );
    assert!(
        answered(&server, DocumentLabel::Public, 304) > 0
            && answered(&server, DocumentLabel::Private, 304) > 0
    );

    beta.services.insert(0, "api");
    server.published.send_replace(Arc::new(beta.published(Some(&scene.identity))));
    let changed = async {
        loop {
            let update = scene.next().await;
            if update.changed {
                return update;
            }
        }
    };
    let changed = timeout(DEADLINE, changed).await.expect("the change");
    assert_eq!(changed.knowledge.private.unwrap().document, beta.private());
    assert_eq!(answered(&server, DocumentLabel::Private, 401), 0, "no token is used twice");
    let documents = &scene.metrics.documents;
    let taken = |document| documents.get_or_create(&DocumentLabels { document }).get();
    assert_eq!((taken("public"), taken("private")), (1, 2));
}

#[tokio::test]
async fn pairing_is_reported_until_the_peer_accepts_the_token() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    server.published.send_replace(Arc::new(beta.published(None)));
    scene.poll(&[scene.peer("beta", server.address)]);
    let update = scene.next().await;
    assert_eq!(reasons(&update), (Succeeded, NonOkResponse));
    let message = &update.knowledge.private_exchange.as_ref().unwrap().message;
    assert!(message.starts_with("401: ") && message.contains("IstioFederation"), "{message}");
    server.published.send_replace(Arc::new(beta.published(Some(&scene.identity))));
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert!(update.changed && update.knowledge.private.is_some());
}

/// Ten minutes pass on both clocks, without waiting for them.
#[tokio::test]
async fn a_peer_that_refuses_for_minutes_is_asked_every_twenty_seconds() {
    const MOMENT: Duration = Duration::from_secs(20);
    let mut scene = Scene::new(Duration::from_secs(30));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    server.published.send_replace(Arc::new(beta.published(None)));
    scene.poll(&[scene.peer("beta", server.address)]);
    for _ in 0..30 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, NonOkResponse));
        scene.pass(MOMENT).await;
    }
    assert_eq!(answered(&server, DocumentLabel::Private, 401), 30);
    assert_eq!(reasons(&scene.next().await), (Succeeded, NonOkResponse));
    server.published.send_replace(Arc::new(beta.published(Some(&scene.identity))));
    scene.pass(MOMENT).await;
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
}

#[tokio::test]
async fn a_peer_that_knows_only_the_other_key_is_asked_with_that() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let (old, new) = (scene.identity.key.clone(), identity().key);
    scene.poll(&[scene.peer("beta", server.address)]);
    let accepted = |update: &PeerUpdate| update.knowledge.accepted_key().copied();
    let fingerprint = |key: &SigningKey| Some(key.public().fingerprint());
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert_eq!(accepted(&update), fingerprint(&old));

    // We have switched, and beta has not read our public document yet. Without the old key in the
    // second slot, its doors are closed.
    scene.keyring.use_keys(new.clone());
    scene.until("beta", (Succeeded, NonOkResponse)).await;
    scene.keyring.use_keys(SigningKeys::new(new.clone(), Some(old.clone())));
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert_eq!(accepted(&update), fingerprint(&old));

    // Then it has.
    let reader = OneKey { key: new.clone(), ..scene.identity.clone() };
    server.published.send_replace(Arc::new(beta.published(Some(&reader))));
    let switched = async {
        while accepted(&scene.until("beta", (Succeeded, Succeeded)).await) != fingerprint(&new) {}
    };
    timeout(DEADLINE, switched).await.expect("a token by the new key");
    let refused = answered(&server, DocumentLabel::Private, 401);
    scene.until("beta", (Succeeded, Succeeded)).await;
    assert_eq!(answered(&server, DocumentLabel::Private, 401), refused, "the new key comes first");
}

#[tokio::test]
async fn knowledge_is_kept_when_a_peer_fails() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    let known = scene.until("beta", (Succeeded, Succeeded)).await.knowledge;
    let good = beta.published(Some(&scene.identity));
    let bodies: [(Option<&'static str>, ExchangeReason); 3] = [
        (Some("{"), InvalidJson),
        (Some(r#"{"clusterUUID":"","authnKeyPub":"","rootCA":""}"#), InvalidPublicMetadata),
        (None, NonOkResponse),
    ];
    for (body, reason) in bodies {
        server
            .published
            .send_replace(Arc::new(Published { public: body.map(Document::new), ..good.clone() }));
        let update = scene.until("beta", (reason, Succeeded)).await;
        assert!(update.changed);
        assert_eq!(
            update.knowledge.public.unwrap().document,
            known.public.as_ref().unwrap().document
        );
    }
    // After silence, both documents report the same.
    drop(server);
    let update = scene.until("beta", (FetchFailed, FetchFailed)).await;
    assert_eq!(update.knowledge.private.unwrap().document, known.private.unwrap().document);
}

#[tokio::test]
async fn without_a_public_document_the_private_one_is_not_fetched() {
    let mut scene = Scene::new(NEVER);
    let server = scene.exporter(&TestCluster::new("beta", &[])).await;
    server.published.send_replace(Arc::default());
    scene.poll(&[scene.peer("beta", server.address)]);
    assert_eq!(reasons(&scene.next().await), (NonOkResponse, AwaitingPublic));
    assert_eq!(answered(&server, DocumentLabel::Private, 401), 0);
}

#[tokio::test]
async fn no_token_is_sent_before_the_claimed_uuid_is_checked() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peers = [scene.peer("beta", server.address)];
    scene.decisions.clear();
    scene.poll(&peers);
    assert_eq!(reasons(&scene.next().await), (Succeeded, AwaitingPublic));
    // A decision about another UUID does not count, and a refusal is no reason to ask.
    scene.judge(&TestCluster { name: "beta", ..TestCluster::new("gamma", &[]) }, true);
    scene.poll(&peers);
    scene.judge(&beta, false);
    scene.poll(&peers);
    let asked = |code| answered(&server, DocumentLabel::Private, code);
    let update = scene.next().await;
    assert_eq!(
        (reasons(&update), asked(200), asked(401)),
        ((Succeeded, TokenGenerationFailed), 0, 0)
    );
    scene.judge(&beta, true);
    scene.poll(&peers);
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    assert_eq!((asked(200), asked(401)), (1, 0));
}

#[tokio::test]
async fn no_token_is_sent_for_a_changed_uuid_before_it_is_checked() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let mut gamma = TestCluster::new("gamma", &["web"]);
    let server = scene.exporter(&gamma).await;
    scene.poll(&[scene.peer("gamma", server.address)]);
    scene.until("gamma", (Succeeded, Succeeded)).await;
    let own = gamma.identity.cluster_uuid.clone();
    gamma.identity.cluster_uuid = identity().cluster_uuid;
    server.published.send_replace(Arc::new(gamma.published(Some(&scene.identity))));
    let update = scene.until("gamma", (Succeeded, AwaitingPublic)).await;
    assert_ne!(update.knowledge.cluster_uuid(), Some(&own));
    assert!(update.knowledge.notices.iter().any(|notice| notice.reason.word() == "uuid_changed"));
}

/// A peer whose public document is good and that does not know us, as long as `is_up`. Notes the
/// kinds of handshakes.
async fn pairing(
    cluster: &TestCluster,
    ca: &TestCa,
    is_up: Arc<AtomicBool>,
) -> (Server, Arc<Mutex<Vec<HandshakeKind>>>) {
    let (public, kinds) = (cluster.public().to_json(), Arc::new(Mutex::new(Vec::new())));
    let noted = kinds.clone();
    let server = Server::tls(&ca.leaf(), move |head, mut stream| {
        noted.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
        let status = match (is_up.load(Ordering::SeqCst), head.contains("/public/")) {
            (false, _) => "503 Later",
            (true, true) => "200 OK",
            (true, false) => "401 No",
        };
        let public = String::from_utf8_lossy(public.as_ref()).into_owned();
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{public}");
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    (server, kinds)
}

#[tokio::test]
async fn a_failed_round_ends_the_sessions() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let (beta, is_up) = (TestCluster::new("beta", &[]), Arc::new(AtomicBool::new(true)));
    let (server, kinds) = pairing(&beta, &scene.ca, is_up.clone()).await;
    scene.judge(&beta, true);
    scene.poll(&[scene.peer("beta", server.address)]);
    for _ in 0..3 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, NonOkResponse));
    }
    // The counterpart: a refused token is no failure.
    let first = kinds.lock().unwrap().clone();
    assert!(first[0] == Full && first[1..].iter().all(|kind| *kind == Resumed), "{first:?}");
    is_up.store(false, Ordering::SeqCst);
    scene.until("beta", (NonOkResponse, NonOkResponse)).await;
    kinds.lock().unwrap().clear();
    for _ in 0..3 {
        scene.until("beta", (NonOkResponse, NonOkResponse)).await;
    }
    let later = kinds.lock().unwrap().clone();
    let full = later.iter().filter(|kind| **kind == Full).count();
    assert!(full >= 3, "each round starts with a full handshake: {later:?}");
}

#[tokio::test]
async fn the_age_of_a_peers_documents_is_shown_while_it_is_asked() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let began = scene.clock.now().as_second();
    scene.poll(&[scene.peer("beta", server.address)]);
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    let shown = |metrics: &Metrics| {
        let labels = |document| PeerDocumentLabels { peer: "beta".to_owned(), document };
        ["public", "private"].map(|document| {
            metrics.confirmed.get(&labels(document)).map(|gauge| gauge.get() >= began)
        })
    };
    assert_eq!(shown(&scene.metrics), [Some(true); 2]);
    let metrics = scene.metrics.clone();
    drop(scene);
    assert_eq!(shown(&metrics), [None; 2]);
}
