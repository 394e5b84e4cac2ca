//! Tests writes that others undo, that fail, or that are not answered.

use super::*;
use fedgate_federation::key::SigningKey;
use fedgate_federation::object::PODS_ANNOTATION;

#[tokio::test(start_paused = true)]
async fn an_added_label_of_our_prefix_is_removed_once() {
    let site = Site::new();
    let _replica = site.lead("a").await;
    sleep(Duration::from_secs(10)).await;
    let before = site.server.calls(writes_objects);
    let labels = json!({ "metadata": { "labels": { "fedgate.dev/theirs": "b", "team": "c" } } });
    site.server.patch(Kind::EnvoyFilter, NAMESPACE, TABLE, &labels);
    let labels = || {
        site.server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap()["metadata"]["labels"].clone()
    };
    until(|| labels()["fedgate.dev/theirs"].is_null()).await;
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(
        (labels()["team"].as_str(), site.server.calls(writes_objects) - before),
        (Some("c"), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_inside_the_answer_to_a_status_write_is_compiled() {
    let site = Site::new();
    let _replica = site.lead("a").await;
    site.server.fail(1, Fault::Late(Duration::from_secs(2)), |call| call.of_status);
    site.peer("beta");
    until(|| site.server.calls(|call| call.of_status) == 1).await;
    site.server.silence(true);
    let edit = json!({ "spec": { "trustDomain": "gamma.example" } });
    site.server.patch(Kind::IstioFederation, "", "beta", &edit);
    let began = Instant::now();
    until(|| site.status("beta")["observedGeneration"] == 2).await;
    assert!(began.elapsed() < Duration::from_secs(10), "the watch says nothing");
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_delays_the_writer_for_seconds_only() {
    for fault in [Fault::Swallowed, Fault::NoAnswer, Fault::LostAnswer] {
        let site = Site::new();
        let _replica = site.lead("a").await;
        let before = site.table();
        site.server.fail(1, fault.clone(), |call| call.name == TABLE && call.writes());
        site.export("web");
        let began = Instant::now();
        until(|| site.table() != before).await;
        site.peer("beta");
        until(|| !site.status("beta").is_null()).await;
        assert!(began.elapsed() < Duration::from_secs(25), "{fault:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_creation_was_not_answered_is_recognized_as_ours() {
    let site = Site::new();
    site.server.fail(1, Fault::LostAnswer, |call| call.name == STATE && call.writes());
    site.server.fail(1, Fault::LateAnswer(Duration::from_secs(3)), |call| {
        call.name == STATE && call.writes()
    });
    let replica = site.start("a");
    let began = Instant::now();
    replica.until_ready().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_secret_deleted_under_a_leader_is_reported_and_not_replaced() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let served = replica.serves();
    sleep(Duration::from_secs(10)).await;
    assert!(!site.missing().contains("identity"), "{}", site.missing());
    let events = |call: &Call| call.plural == "events" && call.writes();
    let before = site.server.calls(events);
    site.server.delete(Kind::Secret, NAMESPACE, SECRET);
    let began = Instant::now();
    until(|| site.missing().contains("identity_lost") && site.server.calls(events) > before).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    sleep(Duration::from_secs(120)).await;
    assert!(site.server.get(Kind::Secret, NAMESPACE, SECRET).is_none(), "nothing is made anew");
    assert_eq!(replica.serves(), served, "the identity is the one of before");
    site.put_identity();
    until(|| !site.missing().contains("identity_lost")).await;
    let other = json!({ "data": { "cluster-uuid": "" } });
    site.server.patch(Kind::Secret, NAMESPACE, SECRET, &other);
    until(|| site.missing().contains("identity_lost")).await;
    assert!(replica.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_state_stops_serving_but_nothing_else() {
    let site = Site::new();
    let theirs = json!({ "metadata": { "namespace": NAMESPACE, "name": STATE }, "data": { "published.json": "theirs" } });
    site.server.put(Kind::ConfigMap, theirs);
    site.peer("beta");
    let replica = site.start("a");
    until(|| !site.table().is_null() && !site.status("beta").is_null()).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(replica.serves(), None);
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    replica.until_ready().await;
    assert!(replica.serves().is_some());
}

#[tokio::test(start_paused = true)]
async fn replicas_stay_ready_through_a_restart_of_the_api_server() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.table();
    site.server.end_watches();
    site.export("web");
    site.server.compact();
    until(|| site.table() != before).await;
    assert!(replica.is_ready());
}

impl Site {
    /// Changes the keys in the Secret, in one write.
    fn put_keys(&self, current: &SigningKey, other: Option<&str>) {
        use base64::Engine;
        let base64 = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        let data =
            json!({ "authn.key": base64(&current.to_pem()), "authn-other.key": other.map(base64) });
        self.server.patch(Kind::Secret, NAMESPACE, SECRET, &json!({ "data": data }));
    }

    /// The keys that the command line shows.
    fn keys(&self) -> (String, Option<String>) {
        let state = self.server.get(Kind::ConfigMap, NAMESPACE, STATE).unwrap_or_default();
        let record = state["data"]["cluster.json"].as_str().unwrap_or_default();
        let record: Value = serde_json::from_str(record).unwrap_or_default();
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        (text("authnKeyPub").unwrap_or_default(), text("otherKeyPub"))
    }
}

#[tokio::test(start_paused = true)]
async fn all_replicas_follow_a_rotation_of_keys_without_a_restart() {
    let site = Site::new();
    let (old, new) = (site.identity.keys.current.clone(), identity().key);
    let (leader, follower) = (site.lead("a").await, site.start("b"));
    follower.until_ready().await;
    let pem = |key: &SigningKey| key.public().to_pem();
    let steps = [
        (&old, Some(&new)),
        (&new, Some(&old)),
        (&old, Some(&new)),
        (&new, Some(&old)),
        (&new, None),
    ];
    for (current, other) in steps {
        let before = leader.serves();
        site.put_keys(current, other.map(SigningKey::to_pem).as_deref());
        until(|| site.keys() == (pem(current), other.map(pem))).await;
        until(|| leader.serves() != before && follower.serves() == leader.serves()).await;
        assert!(!site.missing().contains("identity_lost"), "{}", site.missing());
    }
    // A key without an overlap is not followed. It may be a mistake, and peers would hold it.
    let served = leader.serves();
    site.put_keys(&old, None);
    until(|| site.missing().contains("identity_lost")).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((leader.serves(), follower.serves()), (served.clone(), served.clone()));
    // Neither is a slot that cannot be used.
    for (other, says) in
        [("garbage", "no Ed25519"), ("", "no Ed25519"), (&*new.to_pem(), "same key")]
    {
        site.put_keys(&new, Some(other));
        until(|| site.missing().contains("invalid_key") && site.missing().contains(says)).await;
        assert_eq!(leader.serves(), served);
    }
    site.put_keys(&new, None);
    until(|| !site.missing().contains("invalid_key")).await;
    assert_eq!(leader.serves(), served);
}

/// Without the permission to read EndpointSlices, a Service that offers its Pods is reported, and
/// everything else goes on. With it, nothing is left to report.
#[tokio::test(start_paused = true)]
async fn pods_that_may_not_be_read_are_a_finding_and_stop_nothing_else() {
    let site = Site::new();
    let metadata = json!({
        "namespace": "shop", "name": "db",
        "labels": { PUBLIC_SERVICE_LABEL: "" }, "annotations": { PODS_ANNOTATION: "true" },
    });
    let spec = json!({ "clusterIP": "None", "ports": [{ "name": "tcp", "port": 5432 }] });
    site.server.put(Kind::Service, json!({ "metadata": metadata, "spec": spec }));
    let labels = json!({
        PUBLIC_SERVICE_LABEL: "", "service.kubernetes.io/headless": "", "kubernetes.io/service-name": "db",
    });
    site.server.put(
        Kind::EndpointSlice,
        json!({
            "metadata": { "namespace": "shop", "name": "db-1", "labels": labels },
            "addressType": "IPv4", "ports": [{ "name": "tcp", "port": 5432 }],
            "endpoints": [{ "addresses": ["10.0.0.1"], "hostname": "db-0" }],
        }),
    );
    let of_slices = |call: &Call| call.plural == "endpointslices";
    site.server.fail(usize::MAX, Fault::Refused(403, "no"), of_slices);
    let replica = site.lead("a").await;
    let before = site.table();
    let warnings = || replica.metric("findings{severity=\"warning\"}");
    until(|| warnings() == "1").await;
    site.server.mend();
    until(|| warnings() == "0").await;
    assert_ne!(site.table(), before, "the Pod is exported");
}
