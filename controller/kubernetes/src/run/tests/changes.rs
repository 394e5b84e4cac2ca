//! Tests the history of changes that the leader keeps.

use super::*;
use crate::sources::memory::{CHANGES, read_changes};
use fedgate_engine::history::History;

/// Writes of the history.
fn of_changes(call: &Call) -> bool {
    call.name == CHANGES && call.writes()
}

impl Site {
    fn history(&self) -> Option<History> {
        let object = self.server.get(Kind::ConfigMap, NAMESPACE, CHANGES)?;
        read_changes(&serde_json::from_value(object).ok()?).ok()
    }

    /// What happened, newest first.
    fn happened(&self) -> Vec<String> {
        let history = self.history().unwrap_or_default();
        history
            .changes()
            .iter()
            .map(|change| format!("{}: {}", change.about, change.text))
            .collect()
    }

    async fn until_happened(&self, text: &str) {
        until(|| self.happened().iter().any(|happened| happened == text)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_continues_the_history_and_finds_what_changed_meanwhile() {
    let site = Site::new();
    site.export("web");
    let first = site.lead("a").await;
    site.until_happened("a: leads").await;
    site.export("stock");
    let exported = "stock.shop.svc.alpha.example:80: is exported, granted to 0 peers";
    site.until_happened(exported).await;
    first.stop().await;
    site.server.delete(Kind::Service, "shop", "web");
    let _second = site.lead("b").await;
    site.until_happened("b: leads").await;
    let expected =
        ["web.shop.svc.alpha.example:80: is no longer exported", "b: leads", exported, "a: leads"];
    assert_eq!(site.happened(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_becomes_few_writes_and_a_calm_none() {
    let site = Site::new();
    let _replica = site.lead("a").await;
    site.until_happened("a: leads").await;
    let before = site.server.calls(of_changes);
    let began = Instant::now();
    for number in 0..300 {
        site.export(&format!("web-{}", number % 40));
        sleep(Duration::from_millis(100)).await;
        site.server.delete(Kind::Service, "shop", &format!("web-{}", number % 40));
    }
    let most = usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 1;
    let writes = site.server.calls(of_changes) - before;
    assert!((1..=most).contains(&writes), "{writes} writes in {:?}", began.elapsed());
    sleep(Duration::from_secs(60)).await;
    let before = site.server.calls(writes_objects);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(site.server.calls(writes_objects), before, "nothing changes");
}

#[tokio::test(start_paused = true)]
async fn damaged_content_is_replaced_and_a_deleted_history_is_written_again() {
    let site = Site::new();
    site.lead("a").await.stop().await;
    let label = json!({ crate::api::owner::OWNER: NAMESPACE });
    let metadata = json!({ "namespace": NAMESPACE, "name": CHANGES, "labels": label });
    let damaged = json!({ "metadata": metadata, "binaryData": { "changes.json.gz": "AAAA" } });
    site.server.put(Kind::ConfigMap, damaged.clone());
    let _replica = site.lead("b").await;
    site.until_happened("b: leads").await;
    assert_eq!(site.happened(), ["b: leads"]);
    site.server.delete(Kind::ConfigMap, NAMESPACE, CHANGES);
    until(|| site.history().is_some()).await;
    site.server.put(Kind::ConfigMap, damaged);
    assert!(site.history().is_none());
    site.until_happened("b: leads").await;
}

#[tokio::test(start_paused = true)]
async fn someone_elses_object_is_left_alone_and_nothing_else_stops() {
    let site = Site::new();
    let metadata = json!({ "namespace": NAMESPACE, "name": CHANGES });
    site.server.put(Kind::ConfigMap, json!({ "metadata": metadata, "data": { "a": "theirs" } }));
    let replica = site.lead("a").await;
    site.peer("beta");
    until(|| !site.status("beta").is_null()).await;
    sleep(Duration::from_secs(60)).await;
    let there = site.server.get(Kind::ConfigMap, NAMESPACE, CHANGES).unwrap();
    assert_eq!((&there["data"]["a"], site.server.calls(of_changes)), (&json!("theirs"), 0));
    assert!(replica.is_ready() && replica.serves().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_written_stops_nothing() {
    let site = Site::new();
    site.server.fail(usize::MAX, Fault::NoAnswer, of_changes);
    let replica = site.lead("a").await;
    let before = replica.serves();
    sleep(Duration::from_secs(30)).await;
    site.new_root();
    until(|| replica.serves() != before).await;
    site.server.mend();
    site.until_happened("a: leads").await;
}
