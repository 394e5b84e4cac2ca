//! What two running controllers see of each other.

use crate::cluster::Cluster;
use crate::running::{get, pair, pair_with};
use serde_json::Value;
use std::fs;

fn far_side<'a>(status: &'a Value, peer: &str) -> Option<&'a Value> {
    let peers = status["peers"].as_array()?;
    peers.iter().find(|row| row["name"] == peer)?.get("farSide")
}

fn mismatch<'a>(side: &'a Value, kind: &str) -> Option<&'a Value> {
    side["mismatches"].as_array()?.iter().find(|mismatch| mismatch["kind"] == kind)
}

fn text(cluster: &Cluster) -> String {
    String::from_utf8(cluster.run(&["status"]).stdout).unwrap()
}

#[test]
fn a_mismatch_on_the_far_side_is_shown_and_goes_away() {
    let (mut alpha, mut beta) = pair();
    // No Envoy runs, so beta's probe of our gateway fails, and beta says so.
    let first = alpha.wait("beta's view", |status| {
        let side = far_side(status, "beta").filter(|side| side["current"] == true)?;
        let probe = mismatch(side, "probe")?;
        assert_eq!(
            (probe["turn"].as_str(), side["view"]["clockAhead"].as_i64()),
            (Some("ours"), Some(0))
        );
        Some(side["view"]["gateways"].clone())
    });
    // Our document may change once more, when we know beta's.
    let newest = "beta  our newest document  fetch Succeeded";
    alpha.wait("beta to have our newest document", |_| text(&alpha).contains(newest).then_some(()));

    // Our gateway moves while beta is down.
    beta.stop();
    let settings = fs::read_to_string(alpha.path("fedgate.yaml")).unwrap();
    let moved =
        settings.replace("  filterModule", "  advertise: ['192.0.2.7:15443']\n  filterModule");
    alpha.put("fedgate.yaml", &moved);
    alpha.wait("the mismatch", |status| {
        let document = mismatch(far_side(status, "beta")?, "document")?;
        let message = document["message"].as_str()?;
        assert!(message.contains("we announce 192.0.2.7:15443"), "{message}");
        (document["turn"] == "theirs").then_some(())
    });
    assert!(text(&alpha).contains("an OLDER document of ours"), "{}", text(&alpha));
    assert!(text(&alpha).contains("beta's turn: beta has an older document"), "{}", text(&alpha));

    // It also outlives our own restart.
    alpha.stop();
    alpha.start();
    alpha.wait("the mismatch", |status| mismatch(far_side(status, "beta")?, "document").map(drop));

    beta.start();
    let second = alpha.wait("its end", |status| {
        let side = far_side(status, "beta").filter(|side| side["current"] == true)?;
        assert!(mismatch(side, "gateways").is_none(), "{side}");
        Some(side["view"]["gateways"].clone())
    });
    assert_ne!(first, second);
    assert_eq!(second[0]["address"], "192.0.2.7");
}

fn metric(cluster: &Cluster, name: &str) -> u64 {
    let admin: Value =
        serde_json::from_slice(&fs::read(cluster.path("state/admin.json")).unwrap()).unwrap();
    let metrics = get(admin["address"].as_str().unwrap(), "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
}

const COMPILATIONS: &str = "fedgate_compilations_total ";
const PROBES: &str = "fedgate_importer_probes_total{reason=\"ProbeFailed\"} ";

/// Two documents with a view of each other must not change each other for ever.
#[test]
fn clusters_that_see_each_other_stop_compiling() {
    let (alpha, beta) = pair_with("times: {poll: 1s, probe: 1s}");
    for (cluster, peer) in [(&alpha, "beta"), (&beta, "alpha")] {
        cluster.wait("the view", |status| {
            let side = far_side(status, peer).filter(|side| side["current"] == true)?;
            mismatch(side, "probe").map(drop)
        });
    }
    let both = || [metric(&alpha, COMPILATIONS), metric(&beta, COMPILATIONS)];
    // The last news may still be on their way: it is quiet once three probes change nothing.
    let mut last = (both(), metric(&alpha, PROBES));
    alpha.wait("quiet", |_| {
        let (compiled, probes) = (both(), metric(&alpha, PROBES));
        if compiled != last.0 {
            return None;
        }
        (probes >= last.1 + 3).then_some(())
    });
    last = (both(), metric(&alpha, PROBES));
    alpha.wait("more probes", |_| (metric(&alpha, PROBES) >= last.1 + 3).then_some(()));
    assert_eq!(both(), last.0);
}

fn from_peer(cluster: &Cluster) -> (Option<i32>, String, Value) {
    let text = cluster.run(&["check", "--from-peer"]);
    let json = cluster.run(&["check", "--from-peer", "beta", "--output", "json"]);
    let report = serde_json::from_slice(&json.stdout).unwrap_or_default();
    (json.status.code(), String::from_utf8(text.stdout).unwrap(), report)
}

fn outcome(report: &Value, name: &str) -> Option<(String, String)> {
    let checks = report["sections"][0]["checks"].as_array()?;
    let check = checks.iter().find(|check| check["name"] == name)?;
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    Some((text("outcome"), text("hint")))
}

/// A fault that this cluster cannot see: an address that leads nowhere from the peer.
#[test]
fn check_from_peer_finds_what_only_the_peer_sees() {
    let (mut alpha, beta) = pair_with("times: {poll: 1s}");
    alpha.wait("beta's view", |status| {
        far_side(status, "beta").filter(|side| side["current"] == true).map(drop)
    });
    alpha.wait("beta's probe", |status| mismatch(far_side(status, "beta")?, "probe").map(drop));
    // Our document may change once more, when we know beta's.
    let (code, text, probe, hint) = alpha.wait("beta to have our newest document", |_| {
        let (code, text, report) = from_peer(&alpha);
        let is_ok =
            |name: &&str| outcome(&report, name).is_some_and(|(outcome, _)| outcome == "ok");
        let names = ["far-fetch", "far-document", "far-roots", "far-gateways", "far-clock"];
        let (probe, hint) = outcome(&report, "far-probe")?;
        names.iter().all(is_ok).then_some((code, text, probe, hint))
    });
    // It may still pass: no Envoy has run for two minutes.
    assert_eq!((code, probe.as_str()), (Some(0), "warning"), "{text}");
    assert!(hint.starts_with("our turn: check that they run"), "{hint}");
    assert!(
        text.starts_with(
            "what beta sees of this cluster\n  ok   it can fetch our document: Succeeded"
        ),
        "{text}"
    );

    // Our gateway moves while beta is down: it has an older document, and it is its turn.
    let mut beta = beta;
    beta.stop();
    let settings = fs::read_to_string(alpha.path("fedgate.yaml")).unwrap();
    let moved =
        settings.replace("  filterModule", "  advertise: ['192.0.2.7:15443']\n  filterModule");
    alpha.put("fedgate.yaml", &moved);
    alpha.wait("the mismatch", |status| mismatch(far_side(status, "beta")?, "document").map(drop));
    let (_, text, report) = from_peer(&alpha);
    let (document, hint) = outcome(&report, "far-document").unwrap();
    assert_eq!(document, "warning", "{text}");
    assert!(hint.starts_with("beta's turn: "), "{hint}");
    alpha.stop();
}

#[test]
fn check_from_peer_says_why_a_peer_is_not_heard() {
    let mut alpha = Cluster::new("alpha");
    let beta = Cluster::new("beta");
    alpha.start();
    let (code, text, _) = from_peer(&alpha);
    assert!(text.contains("there is no peer yet"), "{text}");
    assert_eq!(code, Some(1), "a peer that is named must exist");
    alpha.put_peer(&beta);
    alpha.wait("the failure", |status| {
        let conditions = status["peers"][0]["conditions"].as_array()?;
        conditions.iter().any(|condition| condition["reason"] == "FetchFailed").then_some(())
    });
    let (code, text, report) = from_peer(&alpha);
    let (outcome, hint) = outcome(&report, "far-side").unwrap();
    assert_eq!((code, outcome.as_str()), (Some(1), "failed"), "{text}");
    assert!(hint.contains("turn: first it must be heard"), "{hint}");
}
