//! Tests that after a restore of etcd, what is published has numbers that gateways and peers have
//! not seen.

use super::*;
use kube::api::{Patch, PatchParams};

impl Site {
    /// The stored sequence of this cluster's SPIFFE bundle.
    fn sequence(&self) -> u64 {
        let state =
            self.state().and_then(|state| state.as_str().map(str::to_owned)).unwrap_or_default();
        let published: Value = serde_json::from_str(&state).unwrap_or_default();
        published["bundle"]["sequence"].as_u64().unwrap_or_default()
    }

    /// Sets the last renewal of the Lease to this time ago.
    async fn age_lease(&self, minutes: i64) {
        let then = Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        let leases = Api::<Lease>::namespaced(self.server.client(), NAMESPACE);
        let patch = Patch::Merge(
            json!({ "spec": { "renewTime": format!("{then:.6}"), "holderIdentity": "gone" } }),
        );
        leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Publishes a change, and waits until it is stored.
    async fn publish_another(&self) -> (u64, u64) {
        let before = (self.generation(), self.sequence());
        self.export("lost");
        self.new_root();
        until(|| self.generation() > before.0 && self.sequence() > before.1).await;
        (self.generation(), self.sequence())
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_starts_after_a_restore_outgrows_lost_versions() {
    for (minutes, outgrows) in [(30, true), (0, false)] {
        let site = Site::new();
        site.export("web");
        let first = site.lead("a").await;
        let (snapshot, kept) = (site.server.snapshot(), (site.generation(), site.sequence()));
        let lost = site.publish_another().await;
        first.stop().await;
        site.server.restore(&snapshot);
        site.age_lease(minutes).await;
        let second = site.start("b");
        second.until_ready().await;
        if outgrows {
            until(|| site.generation() > lost.0 && site.sequence() > lost.1).await;
        } else {
            sleep(Duration::from_secs(60)).await;
            assert_eq!(
                (site.generation(), site.sequence()),
                kept,
                "a change of the leader alone is no reason"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_begins_to_lead_after_a_restore_outgrows_lost_versions() {
    let site = Site::new();
    site.export("web");
    let (first, second) = (site.lead("a").await, site.start("b"));
    second.until_ready().await;
    let snapshot = site.server.snapshot();
    let lost = site.publish_another().await;
    first.stop().await;
    while !site.holder().await.starts_with("b_") {
        sleep(Duration::from_millis(100)).await;
    }
    // In the snapshot, the first replica holds the Lease, and it is gone.
    site.server.restore(&snapshot);
    until(|| site.generation() > lost.0 && site.sequence() > lost.1).await;
    until(|| second.is_ready()).await;
    assert!(site.holder().await.starts_with("b_"));
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_replicas_list_again_and_are_not_ready_until_then() {
    let site = Site::new();
    let (first, second) = (site.lead("a").await, site.start("b"));
    second.until_ready().await;
    let snapshot = site.server.snapshot();
    site.export("lost");
    sleep(Duration::from_secs(30)).await;
    let with_lost = site.table();
    // Lists take a while, so that no replica can be ready too early.
    site.server
        .fail(usize::MAX, Fault::Late(Duration::from_secs(3)), |call| call.verb == Verb::List);
    site.server.restore(&snapshot);
    let began = Instant::now();
    until(|| !first.is_ready() && !second.is_ready()).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the watches are open, and say nothing: {:?}",
        began.elapsed()
    );
    until(|| first.is_ready() && second.is_ready()).await;
    site.server.mend();
    site.export("new");
    until(|| site.table() != with_lost && site.table() != table_of(&snapshot)).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

fn table_of(snapshot: &crate::fake::Snapshot) -> Value {
    let server = FakeApi::new();
    server.restore(snapshot);
    server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap()["spec"].clone()
}
