//! Tests the history of changes on the sample of this crate.

use crate::sample::{Sample, federation, now, service};
use fedgate_engine::history::{Change, ChangeKind, History, MOST_AT_ONCE, MOST_CHANGES};
use serde_json::json;

fn texts(changes: &[Change]) -> Vec<String> {
    let text =
        |change: &Change| format!("{} {}: {}", change.kind.word(), change.about, change.text);
    changes.iter().map(text).collect()
}

#[test]
fn what_changed_while_nobody_looked_is_found_after_a_restart() {
    let mut sample = Sample::new();
    let mut history = History::default();
    assert!(history.note(&sample.in_force(), now()));
    assert!(!history.note(&sample.in_force(), now()), "nothing has changed");
    assert!(history.changes().is_empty(), "the first look is no change");
    let stored = serde_json::to_vec(&history).unwrap();
    sample.objects.federations = vec![federation("beta"), federation("delta")];
    sample.objects.services = vec![service("web"), service("till")];
    sample.objects.policies.retain(|policy| policy.name != "web-only");
    sample.known = vec![("beta", '3')];
    let mut history: History = serde_json::from_slice(&stored).unwrap();
    assert!(history.note(&sample.in_force(), now()));
    let texts = texts(history.changes());
    for expected in [
        "peer gamma: removed",
        "peer delta: added",
        "key beta: UUID 22222222-2222-2222-2222-222222222222 became 33333333-3333-3333-3333-333333333333",
        "export stock.shop.svc.alpha.example:80: is no longer exported",
        "export till.shop.svc.alpha.example:80: is exported, granted to 1 peer",
        "grant web.shop.svc.alpha.example:80: its grants have changed",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{expected} in {texts:#?}");
    }
}

#[test]
fn where_calls_of_a_federated_name_go_is_kept() {
    let sample = Sample::new().with_name(json!([{ "local": {} }]));
    let mut in_force = sample.in_force();
    let mut history = History::default();
    history.note(&in_force, now());
    in_force.member_health.insert("web.shop.svc.alpha.example:80".parse().unwrap(), false);
    history.note(&in_force, now());
    in_force.member_health.clear();
    history.note(&in_force, now());
    assert_eq!(
        texts(history.changes()),
        [
            "import web.shop.global:80: calls go to this cluster, before to no member",
            "import web.shop.global:80: calls go to no member, before to this cluster",
        ]
    );
}

#[test]
fn calls_that_go_to_another_service_of_the_same_cluster_are_kept() {
    let members = json!([{ "local": {} }, { "local": {}, "service": { "name": "stock" } }]);
    let mut sample = Sample::new().with_name(members);
    sample.objects.services[1].ports[0].ready = Some(1);
    let mut in_force = sample.in_force();
    let mut history = History::default();
    history.note(&in_force, now());
    in_force.member_health.insert("web.shop.svc.alpha.example:80".parse().unwrap(), false);
    history.note(&in_force, now());
    assert_eq!(
        texts(history.changes()),
        [
            "import web.shop.global:80: calls go to this cluster (stock.shop.svc.alpha.example:80), before to this cluster (web.shop.svc.alpha.example:80)"
        ]
    );
}

#[test]
fn many_changes_at_once_become_one_line_and_old_ones_are_dropped() {
    let mut sample = Sample::new();
    let mut history = History::default();
    history.note(&sample.in_force(), now());
    sample.objects.services = (0..100).map(|number| service(&format!("s{number}"))).collect();
    history.note(&sample.in_force(), now());
    let texts = texts(history.changes());
    assert_eq!(texts.len(), MOST_AT_ONCE + 1, "{texts:#?}");
    assert!(texts[MOST_AT_ONCE].contains("and 82 more changes"), "{texts:#?}");
    let change = Change::new(now(), ChangeKind::Peer, "beta", &"é".repeat(1_000));
    assert!(change.text.len() <= 400);
    for _ in 0..MOST_CHANGES {
        history.put(vec![change.clone()]);
    }
    assert!(history.changes().iter().all(|kept| *kept == change));
    assert_eq!(history.changes().len(), MOST_CHANGES);
}
