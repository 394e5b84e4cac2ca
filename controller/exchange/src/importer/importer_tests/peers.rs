//! Peers that come and go, hang or trigger a panic do not disturb others.

use super::*;

/// A clock that panics at the first call.
struct Panicking(TestClock, AtomicUsize);

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) != 0, "out of cheese");
        self.0.now()
    }
}

#[tokio::test]
async fn a_panicking_peer_task_is_counted_and_restarts_with_its_knowledge() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peer = scene.peer("beta", server.address);
    scene.poll(std::slice::from_ref(&peer));
    let known = scene.until("beta", (Succeeded, Succeeded)).await.knowledge;
    scene.clock.advance(1);

    let settings = scene.importer.shared.settings.as_ref().clone();
    let panics = settings.metrics.panics.clone();
    let clock = Arc::new(Panicking(scene.clock.clone(), AtomicUsize::new(0)));
    let (sender, updates) = mpsc::channel(16);
    scene.importer = Importer::new(ImporterSettings { clock, ..settings }, sender);
    scene.updates = updates;
    scene.poll_from(
        std::slice::from_ref(&peer),
        &BTreeMap::from([(peer.name.clone(), known.clone())]),
    );
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert_eq!(update.knowledge.private.unwrap().document, known.private.unwrap().document);
    assert_eq!(panics.get_or_create(&TaskLabels { task: "exchange" }).get(), 1);
}

#[tokio::test]
async fn a_restart_continues_from_saved_knowledge() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peer = scene.peer("beta", server.address);
    scene.poll(std::slice::from_ref(&peer));
    let saved = serde_json::to_vec(&scene.next().await.knowledge).unwrap();
    let saved: PeerKnowledge = serde_json::from_slice(&saved).unwrap();
    scene.poll(&[]);
    scene.clock.advance(1);
    scene.poll_from(
        std::slice::from_ref(&peer),
        &BTreeMap::from([(peer.name.clone(), saved.clone())]),
    );
    let update = scene.next().await;
    assert!(!update.changed && update.knowledge.private.is_some());
    assert_eq!(answered(&server, DocumentLabel::Private, 304), 1);

    // Nothing is known of another trust domain, even if the peer's name is the same.
    let other = Peer { trust_domain: TrustDomain::parse("other.example").unwrap(), ..peer };
    scene.clock.advance(1);
    scene.poll_from(std::slice::from_ref(&other), &BTreeMap::from([(other.name.clone(), saved)]));
    let update = scene.next().await;
    assert_eq!(update.knowledge.trust_domain.as_str(), "other.example");
    assert!(
        update.changed && update.knowledge.private.unwrap().document.services.is_empty(),
        "all names are foreign now"
    );
}

#[tokio::test]
async fn a_slow_peer_delays_no_other() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let (server, (slow, open, _)) = (scene.exporter(&beta).await, silent().await);
    scene.poll(&[scene.peer("aaa", slow.address), scene.peer("beta", server.address)]);
    let update = scene.next().await;
    assert_eq!((update.peer.as_str(), reasons(&update)), ("beta", (Succeeded, Succeeded)));
    eventually("the slow peer is still being asked", || open.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn removing_a_peer_aborts_its_fetch() {
    let mut scene =
        Scene::with(NEVER, FetchLimits { connect: NEVER, fetch: NEVER, ..FetchLimits::default() });
    let (slow, open, _) = silent().await;
    let in_body = Server::tls(&scene.ca.leaf(), |_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{").await;
        let _ = stream.flush().await;
        pending().await
    })
    .await;
    scene.poll(&[scene.peer("slow", slow.address), scene.peer("body", in_body.address)]);
    eventually("it is asked", || open.load(Ordering::SeqCst) == 1).await;
    scene.poll(&[]);
    eventually("its connection is closed", || open.load(Ordering::SeqCst) == 0).await;
    drop(scene.importer);
    assert!(timeout(DEADLINE, scene.updates.recv()).await.expect("all tasks are gone").is_none());
}

#[tokio::test]
async fn a_changed_peer_is_polled_at_once_and_an_unchanged_one_is_not() {
    let mut scene = Scene::new(NEVER);
    let (beta, gamma) = (TestCluster::new("beta", &["web"]), TestCluster::new("gamma", &["web"]));
    let (beta_server, gamma_server) = (scene.exporter(&beta).await, scene.exporter(&gamma).await);
    let good = [scene.peer("beta", beta_server.address), scene.peer("gamma", gamma_server.address)];
    let wrong_ca = EndpointTls::SystemAnd(vec![TestCa::new().der()]);
    let bad = [Peer { tls: wrong_ca, ..good[0].clone() }, good[1].clone()];
    scene.poll(&bad);
    let both = [scene.next().await, scene.next().await];
    let of = |name: &str| both.iter().find(|update| update.peer.as_str() == name).map(reasons);
    assert_eq!(
        (of("beta"), of("gamma")),
        (Some((FetchFailed, FetchFailed)), Some((Succeeded, Succeeded)))
    );
    scene.poll(&good);
    let update = scene.next().await;
    assert_eq!((update.peer.as_str(), reasons(&update)), ("beta", (Succeeded, Succeeded)));
    assert_eq!(answered(&gamma_server, DocumentLabel::Public, 200), 1);
}

#[tokio::test]
async fn concurrent_rounds_are_limited_and_all_peers_get_their_turn() {
    let limits =
        FetchLimits { at_once: 4, connect: Duration::from_millis(100), ..FetchLimits::default() };
    let mut scene = Scene::with(NEVER, limits);
    let (slow, _, most) = silent().await;
    let names: Vec<_> = (0..7).map(|n| format!("slow-{n}")).collect();
    let peers: Vec<_> = names.iter().map(|name| scene.peer(name, slow.address)).collect();
    scene.poll(&peers);
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < peers.len() {
        let update = scene.next().await;
        assert_eq!(reasons(&update), (FetchFailed, FetchFailed));
        failed.insert(update.peer);
    }
    // One of the four is for those that were silent before.
    assert!((3..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}
