//! A peer's new root is held until its operator here approves it.

use crate::cluster::{Cluster, fedgate};
use crate::running::{finding, get};
use serde_json::Value;
use std::fs;

const APPROVE: (&str, &str) = ("fedgate.dev/root-change", "Approve");

fn of_beta(status: &Value) -> Option<&Value> {
    status["peers"].as_array()?.iter().find(|peer| peer["name"] == "beta")
}

fn roots(status: &Value) -> Option<Vec<String>> {
    let roots = of_beta(status)?["roots"].as_array()?;
    Some(roots.iter().filter_map(|root| root.as_str().map(str::to_owned)).collect())
}

/// The ID of what is held of beta.
fn held(status: &Value) -> Option<String> {
    of_beta(status)?["heldTrust"]["id"].as_str().map(str::to_owned)
}

/// alpha approves beta's changes, and has beta's root.
fn approving() -> (Cluster, Cluster) {
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    // So beta is asked every two seconds, also while it can wait.
    let times = "times: {poll: 1s, staleAfter: 4s}";
    alpha.put("fedgate.yaml", &alpha.settings().replace("times: {poll: 1s}", times));
    alpha.put_annotated_peer(&beta, &[APPROVE]);
    beta.put_peer(&alpha);
    beta.put_service("web");
    alpha.start();
    beta.start();
    alpha.wait("beta's root", |status| roots(status).filter(|roots| roots.len() == 1));
    (alpha, beta)
}

fn approve(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let output = fedgate()
        .args(["peer", "approve", "beta", "--dir"])
        .arg(cluster.folder())
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn metrics(cluster: &Cluster) -> String {
    let admin: Value =
        serde_json::from_slice(&fs::read(cluster.path("state/admin.json")).unwrap()).unwrap();
    get(admin["address"].as_str().unwrap(), "/metrics")
}

#[test]
fn a_swapped_root_is_held_until_it_is_approved() {
    let (mut alpha, beta) = approving();
    let before = alpha.status().as_ref().and_then(roots).unwrap();
    let (code, text) = approve(&alpha, &[]);
    assert!(code == Some(1) && text.contains("nothing of the peer beta is held"), "{text}");

    // Whoever answers for beta announces a root of their own.
    beta.put("identity/roots.pem", &alpha.root_pem);
    let first = alpha.wait("the change to be held", held);
    let told = alpha.wait("the finding", |status| finding(status, "roots_changed").cloned());
    assert_eq!(told["severity"], "error");
    let condition = alpha.wait("the condition", |status| {
        let conditions = of_beta(status)?["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == "Held").cloned()
    });
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&"True".into(), &"RootsChanged".into())
    );
    alpha.wait("metric and log to say so", |_| {
        let is_counted = metrics(&alpha).contains("fedgate_peers_held 1");
        (is_counted && alpha.log().contains("roots_changed")).then_some(())
    });

    // It is still held after a restart.
    assert_eq!(alpha.stop(), 0);
    alpha.start();
    assert_eq!(alpha.wait("the change to be held", held), first);
    assert_eq!(alpha.status().as_ref().and_then(roots).unwrap(), before);

    // The command says what to write. Until then nothing happens.
    let (code, text) = approve(&alpha, &["--dry-run"]);
    assert!(code == Some(0) && text.contains("NEW, valid until"), "{text}");
    assert!(!text.contains("annotations"), "{text}");
    let (code, text) = approve(&alpha, &[]);
    let line = format!("fedgate.dev/approve: \"{first}\"");
    assert!(code == Some(0) && text.contains(&line), "{text}");
    assert!(text.contains("manifests/peer-beta.yaml"), "{text}");

    // Something else is announced meanwhile: the approval is not for that.
    let gamma = Cluster::new("gamma");
    beta.put("identity/roots.pem", &gamma.root_pem);
    let second = alpha.wait("the other change", |status| held(status).filter(|id| *id != first));
    let (code, text) = approve(&alpha, &["--id", &first]);
    assert!(code == Some(1) && text.contains("compare it again"), "{text}");
    alpha.put_annotated_peer(&beta, &[APPROVE, ("fedgate.dev/approve", &first)]);
    let requests = exchanges(&alpha);
    alpha.wait("three more rounds", |_| (exchanges(&alpha) >= requests + 3).then_some(()));
    assert_eq!(alpha.status().as_ref().and_then(roots).unwrap(), before);
    assert_eq!(alpha.status().as_ref().and_then(held), Some(second.clone()));

    alpha.put_annotated_peer(&beta, &[APPROVE, ("fedgate.dev/approve", &second)]);
    let after = alpha.wait("the new root", |status| roots(status).filter(|roots| *roots != before));
    assert_eq!(after.len(), 1);
    alpha.wait("nothing to be held", |status| held(status).is_none().then_some(()));
    alpha.wait("the metric to say so", |_| {
        metrics(&alpha).contains("fedgate_peers_held 0").then_some(())
    });
}

/// How many public documents alpha has fetched.
fn exchanges(cluster: &Cluster) -> u64 {
    let name = "fedgate_importer_exchanges_total{document=\"public\",reason=\"Succeeded\"} ";
    let metrics = metrics(cluster);
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or_default()
}

#[test]
fn a_pin_needs_no_approval_and_is_not_outvoted() {
    let (alpha, beta) = approving();
    let before = alpha.status().as_ref().and_then(roots).unwrap();
    beta.put("identity/roots.pem", &alpha.root_pem);
    let id = alpha.wait("the change to be held", held);
    let announced = alpha.wait("the new root", |status| {
        of_beta(status)?.pointer("/heldTrust/roots/0/fingerprint")?.as_str().map(str::to_owned)
    });
    // The known root alone is pinned.
    let pins = [("fedgate.dev/pin-roots", before[0].as_str()), ("fedgate.dev/approve", &id)];
    alpha.put_annotated_peer(&beta, &pins);
    alpha.wait("the other reason", |status| finding(status, "not_pinned").map(drop));
    let (code, text) = approve(&alpha, &[]);
    assert!(code == Some(1) && text.contains("it cannot be approved"), "{text}");
    assert_eq!(alpha.status().as_ref().and_then(roots).unwrap(), before);
    // Both are pinned.
    let both = format!("{},{announced}", before[0]);
    alpha.put_annotated_peer(&beta, &[APPROVE, ("fedgate.dev/pin-roots", &both)]);
    let after = alpha.wait("the new root", |status| roots(status).filter(|roots| *roots != before));
    assert_eq!(after, [announced]);
}
