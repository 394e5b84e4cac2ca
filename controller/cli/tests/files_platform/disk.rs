//! Failed writes and lost files: no answer describes a table that the gateway does not have, and no
//! number is reused.

use crate::cluster::Cluster;
use crate::running::{pair, pair_with};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;

const WEB: &str = "web.shop.svc.alpha.example:80";
const CART: &str = "cart.shop.svc.alpha.example:80";

/// Alpha exports `web`. Its peer beta does not run.
fn alpha() -> Cluster {
    let alpha = Cluster::new("alpha");
    alpha.put_peer(&Cluster::new("beta"));
    alpha.put_service("web");
    alpha
}

fn generation(cluster: &Cluster) -> u64 {
    cluster.wait("a table", |status| {
        status["table"]["generation"].as_u64().filter(|generation| *generation > 0)
    })
}

fn not_written(status: &Value, field: &str) -> Option<String> {
    let finding =
        |finding: &&Value| finding["reason"] == "not_written" && finding["field"] == field;
    let found = status["findings"].as_array()?.iter().find(finding)?;
    assert_eq!(found["severity"], "error");
    found["message"].as_str().map(str::to_owned)
}

fn explain(cluster: &Cluster, arguments: &[&str]) -> (bool, String) {
    let output = cluster.run(&[&["explain"], arguments].concat());
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

fn table(cluster: &Cluster) -> String {
    String::from_utf8(cluster.run(&["table"]).stdout).unwrap()
}

/// Every answer describes the table that the gateway has: `web` and the health name for beta, no
/// `cart`.
#[track_caller]
fn assert_all_speak_of_the_old_table(alpha: &Cluster, generation: u64) {
    let status = alpha.wait("the table to be outdated", |status| {
        Some(status.clone()).filter(|status| status["table"]["outdated"] == true)
    });
    assert_eq!(
        (&status["table"]["generation"], &status["table"]["exports"]),
        (&generation.into(), &2.into())
    );
    assert!(not_written(&status, "envoy/").is_some(), "{status:#}");
    assert_eq!(alpha.run(&["status"]).status.code(), Some(1));
    let text = table(alpha);
    assert!(
        text.contains(WEB) && !text.contains(CART) && text.contains(&generation.to_string()),
        "{text}"
    );
    let (_, text) =
        explain(alpha, &["--to", WEB, "--from", "spiffe://beta.example/ns/shop/sa/web"]);
    assert!(text.contains("ok  granted") && text.contains("is older than the objects"), "{text}");
    let (_, text) = explain(alpha, &["--to", WEB, "--peer", "beta"]);
    assert!(text.contains("ok  granted"), "{text}");
    let (passes, text) = explain(alpha, &["--to", CART, "--peer", "beta"]);
    assert!(!passes && text.contains("is not exported"), "{text}");
}

/// Removes `web` and adds `cart`.
fn change(alpha: &Cluster) {
    fs::remove_file(alpha.path("manifests/web.yaml")).unwrap();
    alpha.put_service("cart");
}

#[track_caller]
fn assert_all_speak_of_the_new_table(alpha: &Cluster, before: u64) {
    alpha
        .wait("the new table", |status| Some(()).filter(|()| status["table"]["outdated"] == false));
    assert!(generation(alpha) > before);
    let text = table(alpha);
    assert!(text.contains(CART) && !text.contains(WEB), "{text}");
    let (passes, text) = explain(alpha, &["--to", WEB, "--peer", "beta"]);
    assert!(!passes && text.contains("is not exported"), "{text}");
}

#[test]
fn a_table_that_cannot_be_written_is_not_reported_in_force() {
    let mut alpha = alpha();
    alpha.start();
    let before = generation(&alpha);
    let in_the_way = alpha.path("envoy/gateway/filter/.filter.json.tmp");
    fs::create_dir(&in_the_way).unwrap();
    fs::remove_file(alpha.path("manifests/peer-beta.yaml")).unwrap();
    change(&alpha);
    assert_all_speak_of_the_old_table(&alpha, before);
    // The next controller continues from what the gateway has, not from what it would have built.
    alpha.stop();
    alpha.start();
    assert_all_speak_of_the_old_table(&alpha, before);
    fs::remove_dir(in_the_way).unwrap();
    assert_all_speak_of_the_new_table(&alpha, before);
}

/// On a disk that is really full, the controller goes on, stops, starts again and recovers.
#[test]
fn a_controller_runs_and_starts_on_a_full_disk() {
    let mut alpha = alpha();
    alpha.mount_small_disk();
    alpha.start();
    let before = generation(&alpha);
    fill(&alpha.on_disk("filler"));
    change(&alpha);
    assert_all_speak_of_the_old_table(&alpha, before);
    alpha.stop();
    alpha.start();
    assert_all_speak_of_the_old_table(&alpha, before);
    let full = alpha.wait("the cause", |status| not_written(status, "envoy/"));
    assert!(full.contains("No space left") && full.contains("free space"), "{full}");
    assert!(!full.contains("os error"), "{full}");
    fs::remove_file(alpha.on_disk("filler")).unwrap();
    assert_all_speak_of_the_new_table(&alpha, before);
    alpha
        .wait("no finding", |status| Some(()).filter(|()| not_written(status, "envoy/").is_none()));
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

fn import<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let is = |row: &&Value| {
        row["service"].to_string().contains(&format!("{name}.shop.svc.beta.example"))
    };
    status["imports"].as_array()?.iter().find(is)
}

fn confirmed(status: &Value) -> Option<jiff::Timestamp> {
    status["peers"][0]["privateConfirmed"].as_str()?.parse().ok()
}

/// A version that was published and forgotten could return with other content.
#[test]
fn a_document_is_published_only_after_its_version_is_saved() {
    // So alpha is answered every two seconds, although nothing changes.
    let (alpha, beta) = pair_with("times: {poll: 1s, staleAfter: 4s}");
    alpha.wait("web", |status| import(status, "web").map(drop));
    let in_the_way = beta.path("state/.published.json.tmp");
    fs::create_dir(&in_the_way).unwrap();
    beta.put_service("cart");
    beta.wait("the finding", |status| not_written(status, "state/"));
    assert!(
        table(&beta).contains("cart"),
        "the table waits for nothing: its own file keeps its generation"
    );
    let now = alpha.wait("an answer", confirmed);
    let later =
        |status: &Value| confirmed(status).filter(|at| at.duration_since(now).as_secs() >= 3);
    alpha.wait("more answers", later);
    assert!(import(&alpha.status().unwrap(), "cart").is_none());
    fs::remove_dir(in_the_way).unwrap();
    alpha.wait("cart", |status| import(status, "cart").map(drop));
    beta.wait("no finding", |status| Some(()).filter(|()| not_written(status, "state/").is_none()));
}

/// A program learns a port once. After a restart it could be another import's.
#[test]
fn an_import_gets_its_port_only_after_that_is_saved() {
    let (alpha, beta) = pair();
    let address =
        |status: &Value, name| import(status, name)?["address"].as_str().map(str::to_owned);
    let web = alpha.wait("web", |status| address(status, "web"));
    let in_the_way = alpha.path("state/.egress-ports.json.tmp");
    fs::create_dir(&in_the_way).unwrap();
    beta.put_service("cart");
    alpha.wait("cart without a port", |status| {
        import(status, "cart").filter(|row| row["address"].is_null()).map(drop)
    });
    alpha.wait("the finding", |status| not_written(status, "state/"));
    assert_eq!(alpha.wait("web", |status| address(status, "web")), web);
    fs::remove_dir(in_the_way).unwrap();
    alpha.wait("cart with a port", |status| address(status, "cart"));
}

#[test]
fn saving_knowledge_of_a_peer_is_retried() {
    let (mut alpha, beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    alpha.put_peer(&beta);
    fs::create_dir_all(alpha.path("state/peers/.beta.json.tmp")).unwrap();
    alpha.start();
    let message = alpha.wait("the finding", |status| not_written(status, "state/peers/"));
    assert!(message.contains("beta.json"), "{message}");
    fs::remove_dir(alpha.path("state/peers/.beta.json.tmp")).unwrap();
    alpha.wait("no finding", |status| {
        Some(()).filter(|()| not_written(status, "state/peers/").is_none())
    });
    assert!(alpha.path("state/peers/beta.json").exists());
}

/// A new table never gets the generation of an older one, whatever was lost.
#[test]
fn generations_grow_after_any_loss_of_state() {
    let mut alpha = alpha();
    alpha.start();
    let mut last = generation(&alpha);
    let year_2026 = 1_767_225_600_000;
    assert!(last > year_2026, "milliseconds since 1970: {last}");
    for lost in [&["state/published.json"][..], &["envoy"], &["state", "envoy"]] {
        alpha.stop();
        for path in lost {
            let path = alpha.path(path);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap()
            } else {
                fs::remove_file(path).unwrap()
            }
        }
        alpha.put_service(&format!("new-{}", lost.len()));
        alpha.start();
        alpha.wait("a newer table", |status| {
            status["table"]["generation"].as_u64().filter(|new| *new > last)
        });
        last = generation(&alpha);
    }
}

/// Earlier versions counted tables from 1.
#[test]
fn old_generations_counted_from_one_are_exceeded() {
    let mut alpha = alpha();
    alpha.start();
    generation(&alpha);
    alpha.stop();
    let published = alpha.path("state/published.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&published).unwrap()).unwrap();
    kept["generation"] = 12.into();
    #[expect(clippy::disallowed_methods, reason = "the controller is stopped")]
    fs::write(&published, kept.to_string()).unwrap();
    fs::remove_dir_all(alpha.path("envoy")).unwrap();
    alpha.start();
    assert!(generation(&alpha) > 1_767_225_600_000);
}
