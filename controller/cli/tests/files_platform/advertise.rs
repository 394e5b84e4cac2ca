//! What single peers are told of this cluster's gateway.

use crate::cluster::{Cluster, fedgate};
use serde_json::{Value, json};

fn text(cluster: &Cluster, arguments: &[&str]) -> String {
    String::from_utf8(cluster.run(arguments).stdout).unwrap()
}

/// The row of a peer in alpha's status.
fn row<'a>(status: &'a Value, peer: &str) -> Option<&'a Value> {
    status["peers"].as_array()?.iter().find(|row| row["name"] == peer)
}

/// What a peer says it has of ours.
fn seen(status: &Value, peer: &str) -> Option<Value> {
    let view = row(status, peer)?.pointer("/farSide/view/gateways")?.as_array()?;
    let address = |one: &Value| format!("{}:{}", one["address"].as_str().unwrap(), one["port"]);
    Some(view.iter().map(address).collect::<Vec<_>>().into())
}

#[test]
fn each_peer_is_told_its_own_addresses_and_changes_take_effect_while_running() {
    let (mut alpha, mut beta, mut gamma) =
        (Cluster::new("alpha"), Cluster::new("beta"), Cluster::new("gamma"));
    for peer in [&beta, &gamma] {
        alpha.put_peer(peer);
        peer.put_peer(&alpha);
    }
    alpha.put_service("web");
    let settings = alpha.settings();
    let with = |more: &str| settings.replace("  filterModule", &format!("{more}  filterModule"));
    let public = "  advertise: ['192.0.2.7:15443@eu/a']\n";
    let linked = format!("{public}  advertiseTo: {{gamma: ['10.0.0.7:443']}}\n");
    alpha.put("fedgate.yaml", &with(&linked));
    alpha.start();
    beta.start();
    gamma.start();
    alpha.wait("both peers", |status| {
        (seen(status, "beta")? == json!(["192.0.2.7:15443"])
            && seen(status, "gamma")? == json!(["10.0.0.7:443"]))
        .then_some(())
    });
    let shown = text(&alpha, &["status"]);
    assert!(shown.contains("10.0.0.7:443, told to gamma"), "{shown}");
    assert!(shown.contains("192.0.2.7:15443@eu/a") && !shown.contains("told to beta"), "{shown}");
    let explain =
        |peer| text(&alpha, &["explain", "--to", "web.shop.svc.alpha.example:80", "--peer", peer]);
    assert!(explain("gamma").contains("gamma is told to connect to 10.0.0.7:443"));
    assert!(!explain("beta").contains("is told to connect"), "{}", explain("beta"));

    // The annotation takes precedence, and neither needs a restart.
    alpha.put_annotated_peer(&gamma, &[("fedgate.dev/advertise", "10.0.0.8:443")]);
    alpha.wait("the annotation", |status| {
        (seen(status, "gamma")? == json!(["10.0.0.8:443"])).then_some(())
    });
    alpha.put_peer(&gamma);
    alpha.put("fedgate.yaml", &with(public));
    alpha.wait("no address of its own", |status| {
        (seen(status, "gamma")? == json!(["192.0.2.7:15443"])).then_some(())
    });
    assert!(!text(&alpha, &["status"]).contains("told to"));
}

#[test]
fn wrong_addresses_for_a_peer_are_reported_with_their_lines() {
    let alpha = Cluster::new("alpha");
    let settings = alpha.settings();
    let with = |more: &str| settings.replace("  filterModule", &format!("{more}  filterModule"));
    for (line, expected) in [
        ("  advertiseTo: 7\n", "gateway.advertiseTo: expected names, each with a list"),
        (
            "  advertiseTo: {beta: []}\n",
            "gateway.advertiseTo.beta: expected a list with at least one value",
        ),
        ("  advertiseTo: {Be/ta: [a:1]}\n", "gateway.advertiseTo.Be/ta: expected the name of an"),
        ("  advertiseTo: {beta: [x]}\n", "gateway.advertiseTo.beta[0]: expected a host and port"),
        ("  advertise: ['192.0.2.1:1@/']\n", "gateway.advertise[0]: expected HOST:PORT@LOCALITY"),
    ] {
        alpha.put("fedgate.yaml", &with(line));
        let refused = fedgate().arg("validate").arg(alpha.folder()).output().unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned()
            + &String::from_utf8_lossy(&refused.stdout);
        assert!(!refused.status.success() && text.contains(expected), "{line}: {text}");
        assert!(text.contains("fedgate.yaml:4"), "{text}");
    }
}
