//! Tests the generations of tables: a new table must be newer than the one that the gateway has.

use super::*;

/// In milliseconds since 1970, far in the future.
const FAR: u64 = 9_000_000_000_000;

#[tokio::test(start_paused = true)]
async fn without_stored_state_a_new_table_outgrows_the_one_in_the_cluster() {
    let site = Site::new();
    site.go_on_from(FAR).await;
    let second = site.start("b");
    until(|| site.generation() > FAR).await;
    let (before, known) = (site.generation(), site.table());
    second.stop().await;
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    let third = site.start("c");
    third.until_ready().await;
    assert_eq!(
        (site.generation(), site.table()),
        (before, known.clone()),
        "the same table stays the same"
    );
    third.stop().await;
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    site.export("web");
    let _fourth = site.start("d");
    until(|| site.table() != known).await;
    assert!(site.generation() > before, "{} after {before}", site.generation());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_store_versions_serves_nothing_new() {
    let site = Site::new();
    site.go_on_from(FAR).await;
    let second = site.start("b");
    until(|| site.generation() > FAR).await;
    second.until_ready().await;
    let (served, saved, before) = (second.serves(), site.state(), site.generation());
    site.server.fail(usize::MAX, Fault::Refused(507, "no space left"), |call| {
        call.name == STATE && call.writes()
    });
    site.new_root();
    site.export("web");
    until(|| site.generation() > before).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (second.serves(), site.state()),
        (served, saved),
        "documents wait for their versions"
    );
    let unsaved = (site.generation(), site.table());
    second.stop().await;
    site.server.mend();
    site.export("api");
    let third = site.start("c");
    until(|| site.table() != unsaved.1).await;
    assert!(site.generation() > unsaved.0, "{} after {}", site.generation(), unsaved.0);
    third.until_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_table_during_a_term_is_outgrown_once() {
    let site = Site::new();
    site.export("web");
    let _replica = site.lead("a").await;
    let before = site.generation();
    site.put_table(FAR);
    until(|| site.generation() > FAR).await;
    assert!(before < FAR);
    let after = site.generation();
    // There is no higher generation, so the table is corrected as well as possible.
    site.put_table(u64::MAX);
    sleep(Duration::from_secs(120)).await;
    let writes = site.server.calls(|call| call.name == TABLE && call.writes());
    assert!(site.generation() > after && writes < 20, "{writes}");
    site.put_table(after);
    until(|| site.generation() > after).await;
}

#[tokio::test(start_paused = true)]
async fn the_metric_is_about_the_table_in_the_cluster() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.generation().to_string();
    until(|| replica.metric("table_generation") == before).await;
    assert_eq!(replica.metric("table_outdated"), "0");
    site.server
        .fail(usize::MAX, Fault::Refused(403, "no"), |call| call.name == TABLE && call.writes());
    site.export("web");
    until(|| replica.metric("table_outdated") == "1").await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (replica.metric("table_outdated"), replica.metric("table_generation")),
        ("1".to_owned(), before.clone())
    );
    site.server.mend();
    until(|| replica.metric("table_outdated") == "0").await;
    assert_eq!(replica.metric("table_generation"), site.generation().to_string());
    assert_ne!(replica.metric("table_generation"), before);
    site.server
        .fail(usize::MAX, Fault::Refused(403, "no"), |call| call.name == TABLE && call.writes());
    site.export("api");
    until(|| replica.metric("table_outdated") == "1").await;
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    until(|| replica.metric("table_outdated") == "0").await;
}
