//! Tests what a leader's trace says about a label.

use super::*;
use fedgate_trace::Recorded;

#[tokio::test(start_paused = true)]
async fn a_label_is_traced_through_all_writes() {
    let site = Site::new();
    let (tracer, recorded) = Recorded::tracer();
    let replica = Site::start_of(Parts { tracer, ..site.parts("a") });
    replica.until_ready().await;
    until(|| !site.table().is_null()).await;
    site.export("web");
    until(|| recorded.change_of("Service shop/web").is_some()).await;
    let (root, steps) = recorded.change_of("Service shop/web").unwrap();
    let expected = [
        "watch",
        "wait",
        "compile",
        "write gateway",
        "store",
        "publish",
        "write statuses",
        "write imports",
    ];
    assert_eq!(steps, expected, "{root:?}");
    let generation = root.attributes.iter().find(|one| one.key.as_str() == "fedgate.generation");
    assert_eq!(generation.unwrap().value.as_str(), site.generation().to_string());
    // Corrections of what someone else has changed belong to no change.
    let count = recorded.spans().len();
    let labels = json!({ "metadata": { "labels": { "fedgate.dev/theirs": "b" } } });
    site.server.patch(Kind::EnvoyFilter, NAMESPACE, TABLE, &labels);
    let label = || {
        site.server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap()["metadata"]["labels"]
            ["fedgate.dev/theirs"]
            .clone()
    };
    until(|| label().is_null()).await;
    assert_eq!(recorded.spans().len(), count);
}
