//! Waiting at a peer for a change, and what happens if that does not work.

use super::*;
use crate::loopback::read_head;
use fedgate_federation::document::{Network, PrivateExtension, PublicExtension};
use fedgate_federation::key::{SigningKey, SigningKeys};
use fedgate_federation::knowledge::DocumentKind;
use std::sync::Mutex;
use std::time::Instant;

impl TestCluster {
    /// The private document of a fedgate cluster, which says the public one's tag.
    fn tagged(&self) -> PrivateDocument {
        let public = Document::new(self.public().to_json());
        let tag = public.etag().to_str().unwrap().trim_matches('"').to_owned();
        let bare = self.private();
        let extension = PrivateExtension {
            sequence: Timestamp::now().as_microsecond().try_into().unwrap(),
            service_count: bare.services.len() as u64,
            network: Network::default(),
            gateway_identities: Vec::new(),
            gateway_localities: Vec::new(),
            passthrough_hosts: Vec::new(),
            applied_roots: None,
            applied_keys: None,
            public_tag: Some(tag),
            stale_after_seconds: None,
            view: None,
        };
        PrivateDocument { extension: Some(extension), ..bare }
    }
}

impl Scene {
    fn publish(&self, server: &TestServer, cluster: &TestCluster) {
        let published = cluster.publishing(Some(&self.identity), &cluster.tagged());
        server.published.send_replace(Arc::new(published));
    }

    /// The same, signed; `other` is the cluster's second key.
    fn publish_signed(
        &self,
        server: &TestServer,
        cluster: &TestCluster,
        other: Option<&SigningKey>,
    ) {
        let mut public = cluster.public();
        public.extension = Some(PublicExtension {
            trust_domain: TrustDomain::parse(&format!("{}.example", cluster.name)).unwrap(),
            other_key: other.map(SigningKey::public),
        });
        let issuer = &cluster.identity.cluster_uuid;
        let sequence = Timestamp::now().as_microsecond().try_into().unwrap();
        let public = Document::new(public.to_json());
        let public = public.issued_by(issuer, DocumentKind::Public, None, sequence);
        let mut private = cluster.tagged();
        let extension = private.extension.as_mut().unwrap();
        extension.public_tag = Some(public.etag().to_str().unwrap().trim_matches('"').to_owned());
        let mut access = Access::new(issuer.clone(), cluster.identity.key.public());
        let (reader, key) = (&self.identity.cluster_uuid, self.identity.key.public());
        let sequence = extension.sequence;
        let document = Document::new(private.to_json());
        let document = document.issued_by(issuer, DocumentKind::Private, Some(reader), sequence);
        access.allow(reader.clone(), key, document);
        let published = Published { public: Some(public), bundle: None, access: Some(access) };
        server.published.send_replace(Arc::new(published));
    }

    /// The first update of `peer` with so many services.
    async fn until_services(&mut self, peer: &str, count: usize) -> PeerUpdate {
        loop {
            let update = self.next().await;
            if update.peer.as_str() == peer && services(&update) == count {
                return update;
            }
        }
    }

    /// A fedgate exporter at which the importer waits.
    async fn waiting_at(&mut self, cluster: &TestCluster) -> TestServer {
        let server = self.exporter(cluster).await;
        self.publish(&server, cluster);
        self.poll(&[self.peer(cluster.name, server.address)]);
        assert_eq!(reasons(&self.next().await), (Succeeded, Succeeded));
        eventually("it waits", || server.metrics.waiting.get() == 1).await;
        assert_eq!(self.metrics.waiting.get(), 1);
        server
    }
}

fn services(update: &PeerUpdate) -> usize {
    update.knowledge.private.as_ref().unwrap().document.services.len()
}

#[tokio::test]
async fn changes_are_known_at_once_without_a_poll() {
    let mut scene = Scene::new(NEVER);
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.waiting_at(&beta).await;
    for name in ["api", "db", "cache"] {
        beta.services.push(name);
        let began = Instant::now();
        scene.publish(&server, &beta);
        let update = scene.next().await;
        assert!(update.changed && services(&update) == beta.services.len(), "{name}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // All on one connection, and the public document only once.
    assert_eq!(server.metrics.connections.get(), 1);
    assert_eq!(answered(&server, DocumentLabel::Public, 200), 1);
    assert_eq!(answered(&server, DocumentLabel::Public, 304), 0);
}

/// Its buffers would keep their size for as long as it waits.
#[tokio::test]
async fn a_large_document_is_followed_by_a_new_connection() {
    let mut scene = Scene::new(NEVER);
    let mut beta = TestCluster::new("beta", &[]);
    beta.services = (0..400).map(|n| &*Box::leak(format!("web-{n}").into_boxed_str())).collect();
    let server = scene.waiting_at(&beta).await;
    for count in [399, 398] {
        beta.services.truncate(count);
        scene.publish(&server, &beta);
        assert_eq!(services(&scene.next().await), count);
        eventually("it waits", || server.metrics.waiting.get() == 1).await;
        eventually("one connection", || server.metrics.connections.get() == 1).await;
    }
}

#[tokio::test]
async fn a_new_root_is_fetched_at_once() {
    let mut scene = Scene::new(NEVER);
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.waiting_at(&beta).await;
    beta.root = TestCa::new();
    scene.publish(&server, &beta);
    let new = Root::from_der(&beta.root.der()).unwrap();
    loop {
        let update = scene.next().await;
        if update.knowledge.public.unwrap().document.roots == [new.clone()] {
            break;
        }
    }
    eventually("it waits again", || server.metrics.waiting.get() == 1).await;
}

#[tokio::test]
async fn an_answer_without_a_change_confirms_both_documents() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let mut server = scene.waiting_at(&beta).await;
    let known = scene.importer.tasks.values().next().unwrap().peer.clone();
    scene.clock.advance(30);
    // A stop answers it with 304.
    server.stop();
    let update = scene.next().await;
    let age = |confirmed: Timestamp| scene.clock.now().duration_since(confirmed).as_secs();
    let PeerKnowledge { public, private, .. } = update.knowledge;
    assert!(!update.changed && update.peer == known.name);
    assert!(age(public.unwrap().confirmed) < 20 && age(private.unwrap().confirmed) < 20);
}

/// A peer that does not know the preference is polled, with the same requests as ever.
#[tokio::test]
async fn a_peer_that_cannot_wait_is_polled() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    for _ in 0..5 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    }
    // It could wait, but its private document says nothing of the public one.
    assert_eq!(server.metrics.waiting.get(), 0);
    assert!(answered(&server, DocumentLabel::Public, 304) >= 3);
}

/// What a server in front of the peer does with a request that waits. Counts them.
type InFront = Arc<dyn Fn(usize) -> Option<&'static str> + Send + Sync>;

/// A fedgate peer behind something that may answer in its place.
async fn behind(
    cluster: &TestCluster,
    ca: &TestCa,
    in_front: InFront,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let public = cluster.public().to_json();
    let private = cluster.tagged().to_json();
    let (seen, waits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let noted = seen.clone();
    let server = Server::tls(&ca.leaf(), move |head, mut stream| {
        let (public, private) = (public.clone(), private.clone());
        let (noted, waits, in_front) = (noted.clone(), waits.clone(), in_front.clone());
        async move {
            let mut next = Some(head);
            while let Some(head) = next {
                noted.lock().unwrap().push(head.clone());
                let body = if head.contains("/public/") { &public } else { &private };
                let waiting = head.contains("prefer: wait=") && !head.contains("wait=0");
                let count = if waiting { waits.fetch_add(1, Ordering::SeqCst) } else { 0 };
                match waiting.then(|| in_front(count)).flatten() {
                    Some("silence") => return pending().await,
                    Some(answer) => {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    None => {
                        let tag = Document::new(body.clone()).etag().clone();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {}\r\nPreference-Applied: wait=9\r\n\r\n",
                            body.len(),
                            tag.to_str().unwrap(),
                        );
                        let _ = stream.write_all(head.as_bytes()).await;
                        let _ = stream.write_all(body).await;
                    }
                }
                let _ = stream.flush().await;
                next = read_head(&mut stream).await;
            }
        }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn a_proxy_that_gives_up_is_no_failure_of_the_peer() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    scene.judge(&beta, true);
    let in_front: InFront = Arc::new(|count| match count {
        0 => Some("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"),
        _ => Some("silence"),
    });
    let (server, seen) = behind(&beta, &scene.ca, in_front).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    for _ in 0..2 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    }
    let waits = || seen.lock().unwrap().iter().filter(|head| head.contains("wait=50")).count();
    eventually("it waits a second time", || waits() == 2).await;
}

#[tokio::test]
async fn a_peer_at_which_waiting_always_fails_is_polled() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    scene.judge(&beta, true);
    let in_front: InFront =
        Arc::new(|_| Some("HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let (server, seen) = behind(&beta, &scene.ca, in_front).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    // The first round, and one after each of three failures.
    for _ in 0..4 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    }
    eventually("it does not wait", || scene.metrics.waiting.get() == 0).await;
    let heads = seen.lock().unwrap().clone();
    let count = |text: &str| heads.iter().filter(|head| head.contains(text)).count();
    assert_eq!((count("wait=50"), count("wait=0"), count("/public/")), (3, 4, 4), "{heads:?}");
}

/// A peer that always has something new, or says so, gets forty requests at once and then one a
/// second.
#[tokio::test]
async fn a_peer_that_answers_at_once_again_and_again_is_slowed_down() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    scene.judge(&beta, true);
    let (server, seen) = behind(&beta, &scene.ca, Arc::new(|_| None)).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    let waits = || seen.lock().unwrap().iter().filter(|head| head.contains("wait=50")).count();
    let receive = async { while scene.updates.recv().await.is_some() {} };
    let began = Instant::now();
    let counted = async {
        eventually("forty requests", || waits() >= 40).await;
        let early = began.elapsed();
        eventually("five more", || waits() >= 45).await;
        (early, began.elapsed())
    };
    let (early, late) = tokio::select! {
        times = counted => times,
        () = receive => unreachable!("the importer goes on"),
    };
    // So many seconds pay for five more.
    assert!(late >= Duration::from_millis(4900), "{early:?} {late:?}");
    assert!(early < late, "{early:?} {late:?}");
}

#[tokio::test]
async fn without_a_place_a_peer_is_polled() {
    let limits = FetchLimits { waiting: 0, ..FetchLimits::default() };
    let mut scene = Scene::with(Duration::from_millis(20), limits);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.publish(&server, &beta);
    scene.poll(&[scene.peer("beta", server.address)]);
    for _ in 0..5 {
        assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    }
    assert_eq!((server.metrics.waiting.get(), scene.metrics.waiting.get()), (0, 0));
}

/// Silent peers take turns among themselves: they keep no place that another peer could use.
#[tokio::test]
async fn many_silent_peers_do_not_delay_a_change() {
    let mut scene = Scene::new(NEVER);
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.waiting_at(&beta).await;
    let (slow, open, _) = silent().await;
    let mut peers: Vec<_> =
        (0..200).map(|n| scene.peer(&format!("slow-{n}"), slow.address)).collect();
    peers.push(scene.peer("beta", server.address));
    scene.poll(&peers);
    let permits = FetchLimits::default().at_once * 3 / 4;
    eventually("all permits are taken", || open.load(Ordering::SeqCst) >= permits).await;
    beta.services.push("api");
    scene.publish(&server, &beta);
    let began = Instant::now();
    loop {
        let update = scene.next().await;
        if update.peer.as_str() == "beta" {
            assert_eq!(services(&update), 2);
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A key without an overlap is held, and so documents signed by it are refused. The peer goes back,
/// or puts the old key into its second slot: that is known at once, and not at the next poll.
#[tokio::test]
async fn the_end_of_a_hold_is_known_at_once() {
    for goes_back in [true, false] {
        let mut scene = Scene::new(NEVER);
        let mut beta = TestCluster::new("beta", &["web"]);
        let (old, new) = (beta.identity.key.clone(), identity().key);
        let server = scene.waiting_at(&beta).await;
        server.keyring.use_keys(old.clone());
        scene.publish_signed(&server, &beta, None);
        let is_signed = |update: &PeerUpdate| {
            update.knowledge.signed.as_ref().is_some_and(|signed| signed.private.is_some())
        };
        while !is_signed(&scene.next().await) {}

        beta.identity.key = new.clone();
        server.keyring.use_keys(new.clone());
        scene.publish_signed(&server, &beta, None);
        let update = scene.until("beta", (Succeeded, InvalidPrivateMetadata)).await;
        assert!(update.knowledge.held_trust.is_some());
        eventually("it waits", || server.metrics.waiting.get() == 1).await;

        let began = Instant::now();
        match goes_back {
            true => {
                beta.identity.key = old.clone();
                server.keyring.use_keys(old);
                scene.publish_signed(&server, &beta, None);
            }
            false => {
                server.keyring.use_keys(SigningKeys::new(new, Some(old.clone())));
                scene.publish_signed(&server, &beta, Some(&old));
            }
        }
        let update = scene.until("beta", (Succeeded, Succeeded)).await;
        assert!(update.knowledge.held_trust.is_none());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        eventually("it waits again", || server.metrics.waiting.get() == 1).await;
    }
}

/// Its key and UUID are lost. Our tokens are for the UUID that is known here, and so it refuses them.
#[tokio::test]
async fn a_refusal_says_that_a_new_uuid_is_held_here() {
    let mut scene = Scene::new(Duration::from_millis(50));
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    server.keyring.use_keys(beta.identity.key.clone());
    scene.publish_signed(&server, &beta, None);
    scene.poll(&[scene.peer("beta", server.address)]);
    scene.until("beta", (Succeeded, Succeeded)).await;

    beta.identity = identity();
    server.keyring.use_keys(beta.identity.key.clone());
    scene.publish_signed(&server, &beta, None);
    let update = scene.until("beta", (Succeeded, NonOkResponse)).await;
    assert!(update.knowledge.held_trust.is_some());
    let message = &update.knowledge.private_exchange.as_ref().unwrap().message;
    assert!(message.starts_with("401: the peer has a new UUID, which is held here"), "{message}");
}

/// While a peer is upgraded to a version that signs, its replicas answer by turns. What is known
/// stays, and the next signed answer is good.
#[tokio::test]
async fn replicas_that_sign_and_replicas_that_do_not_lose_nothing() {
    let mut scene = Scene::new(Duration::from_millis(50));
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.publish(&server, &beta);
    scene.poll(&[scene.peer("beta", server.address)]);
    scene.until("beta", (Succeeded, Succeeded)).await;
    server.keyring.use_keys(beta.identity.key.clone());
    for name in ["api", "db", "cache"] {
        // A new replica has something new, signed.
        beta.services.push(name);
        scene.publish_signed(&server, &beta, None);
        let update = scene.until_services("beta", beta.services.len()).await;
        assert!(update.knowledge.signed.is_some());
        // An old replica answers the next request.
        scene.publish(&server, &beta);
        let update = scene.until("beta", (InvalidPublicMetadata, InvalidPrivateMetadata)).await;
        assert_eq!(services(&update), beta.services.len(), "what is known stays");
        assert!(update.knowledge.held_trust.is_none() && update.knowledge.public.is_some());
        // A new one again.
        scene.publish_signed(&server, &beta, None);
        let update = scene.until("beta", (Succeeded, Succeeded)).await;
        assert_eq!(services(&update), beta.services.len());
    }
}
