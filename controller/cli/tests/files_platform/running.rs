//! Running controllers: pairing over TLS, changes, restarts.

use crate::cluster::{Cluster, fedgate, service};
use crate::mistakes::{PORTS, federated};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;

fn row<'a>(status: &'a Value, list: &str, field: &str, value: &str) -> Option<&'a Value> {
    status[list].as_array()?.iter().find(|row| row[field] == value)
}

/// Two clusters that know each other; beta exports `web`.
pub(crate) fn pair() -> (Cluster, Cluster) {
    pair_with("times: {poll: 1s}")
}

/// Two clusters of which alpha has these times.
pub(crate) fn pair_with(times: &str) -> (Cluster, Cluster) {
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    alpha.put("fedgate.yaml", &alpha.settings().replace("times: {poll: 1s}", times));
    alpha.put_peer(&beta);
    beta.put_peer(&alpha);
    beta.put_service("web");
    alpha.start();
    beta.start();
    (alpha, beta)
}

/// Whether the peer's object is accepted and both of its documents are known. No Envoy runs here,
/// so a peer is never ready.
fn paired(status: &Value, peer: &str) -> Option<()> {
    let peer = row(status, "peers", "name", peer)?;
    let conditions = peer["conditions"].as_array()?;
    let holds = |kind: &str| {
        conditions
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    assert_ne!(peer["ready"], true, "its gateway does not run");
    ["Accepted", "PublicMetadataExchangeReady", "PrivateMetadataExchangeReady"]
        .into_iter()
        .all(holds)
        .then_some(())
}

fn import(status: &Value, service: &str) -> Option<String> {
    let found = status["imports"].as_array()?.iter().find(|row| service_of(row) == service)?;
    found["address"].as_str().map(str::to_owned)
}

/// A service is an object of host and port, or one text.
fn service_of(row: &Value) -> String {
    match &row["service"] {
        Value::String(text) => text.clone(),
        fields => format!("{}:{}", fields["host"].as_str().unwrap_or_default(), fields["port"]),
    }
}

const WEB: &str = "web.shop.svc.beta.example:80";

#[test]
fn two_clusters_pair_and_a_new_export_arrives() {
    let (alpha, beta) = pair();
    let address = alpha.wait("the import", |status| import(status, WEB));
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    beta.wait("alpha's documents", |status| paired(status, "alpha"));
    beta.put_service("cart");
    alpha.wait("the second import", |status| import(status, "cart.shop.svc.beta.example:80"));
    assert_eq!(
        alpha.wait("the first import", |status| import(status, WEB)),
        address,
        "it keeps its port"
    );

    let passes =
        beta.run(&["explain", "--to", WEB, "--from", "spiffe://alpha.example/ns/shop/sa/cart"]);
    let text = String::from_utf8_lossy(&passes.stdout);
    assert!(passes.status.success() && text.contains("granted"), "{text}");
    let refused =
        beta.run(&["explain", "--to", WEB, "--from", "spiffe://gamma.example/ns/shop/sa/cart"]);
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(refused.status.code() == Some(1) && text.contains("unknown_peer"), "{text}");
    // Neither beta's gateway nor an egress runs here, so the call does not pass.
    let (code, text) = alpha.wait("the probe's answer", |_| {
        let imported = alpha.run(&["explain", "--to", WEB]);
        let text = String::from_utf8_lossy(&imported.stdout).into_owned();
        text.contains("NO  gateway").then_some((imported.status.code(), text))
    });
    assert!(code == Some(1) && text.contains("connection refused"), "{text}");
    let of_caller = |caller: &[&str]| {
        let output = alpha.run(&[&["explain", "--to", WEB], caller].concat());
        String::from_utf8_lossy(&output.stdout)
            .contains("only programs of this cluster call web.shop.svc.beta.example")
    };
    assert!(of_caller(&["--peer", "beta"]) && of_caller(&["--from", "spiffe://gamma.example/a"]));
    assert!(!of_caller(&["--from", "spiffe://alpha.example/ns/shop/sa/cart"]));
    assert!(
        text.contains(&format!("{address}, of the egress Envoy, which does not run")),
        "{text}"
    );
    let table = beta.run(&["table", "--host", "web.shop.svc.beta.example"]);
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success() && text.contains(WEB) && !text.contains("cart"), "{text}");
    let file = fs::File::open(beta.path("envoy/gateway/filter/filter.json")).unwrap();
    let piped = fedgate().args(["table", "-"]).stdin(file).output().unwrap();
    assert!(String::from_utf8_lossy(&piped.stdout).contains(WEB), "{piped:?}");
}

#[test]
fn a_broken_manifest_is_reported_and_affects_nothing_else() {
    let (alpha, beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    beta.put("manifests/web.yaml", &service("web").replace("port: 80}", "port: eighty}"));
    beta.put_service("cart");
    let finding = beta.wait("the finding", |status| {
        let findings = status["findings"].as_array()?;
        findings.iter().find(|finding| finding["reason"] == "invalid_object").cloned()
    });
    assert_eq!(finding["field"], "spec.ports[0].port");
    assert_eq!(finding["object"]["source"], "manifests/web.yaml:8");
    alpha.wait("the other export", |status| import(status, "cart.shop.svc.beta.example:80"));
    assert!(alpha.wait("web, as it was", |status| import(status, WEB)).contains(':'));
}

#[test]
fn a_restarted_controller_continues_from_saved_knowledge() {
    let (mut alpha, mut beta) = pair();
    let address = alpha.wait("the import", |status| import(status, WEB));
    // alpha's documents change beta's table.
    beta.wait("alpha's documents", |status| paired(status, "alpha"));
    let generation = beta.status().unwrap()["table"]["generation"].clone();
    let uuid = beta.status().unwrap()["cluster"]["clusterUuid"].clone();
    assert_eq!((alpha.stop(), beta.stop()), (0, 0), "{}", alpha.log());
    // beta stays down: alpha knows it from before.
    alpha.start();
    assert_eq!(alpha.wait("the import", |status| import(status, WEB)), address);
    beta.start();
    let status = beta.wait("beta", |status| Some(status.clone()));
    assert_eq!(
        (&status["table"]["generation"], &status["cluster"]["clusterUuid"]),
        (&generation, &uuid)
    );
}

#[test]
fn an_unchanged_answer_of_a_peer_is_saved_as_well() {
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    alpha.put_peer(&beta);
    beta.put_peer(&alpha);
    beta.put_service("web");
    let times = "times: {poll: 1s, staleAfter: 4s, stalenessLimit: 8s}";
    alpha.put("fedgate.yaml", &alpha.settings().replace("times: {poll: 1s}", times));
    alpha.start();
    beta.start();
    alpha.wait("the import", |status| import(status, WEB));
    // Beta says nothing new, but what alpha keeps of it stays fresh.
    alpha.wait("a document that is kept long after it came, as confirmed just now", |_| {
        let kept: Value =
            serde_json::from_slice(&fs::read(alpha.path("state/peers/beta.json")).ok()?).ok()?;
        let time = |field: &str| kept["private"][field].as_str()?.parse::<jiff::Timestamp>().ok();
        (time("confirmed")?.duration_since(time("fetched")?).as_secs() >= 5).then_some(())
    });
}

/// Nothing is polled here: the interval is longer than the test.
#[test]
fn a_change_is_known_at_once_and_a_restart_on_either_side_loses_none() {
    let (mut alpha, mut beta) = pair_with("times: {poll: 1h}");
    alpha.wait("the import", |status| import(status, WEB));
    let arrives = |alpha: &Cluster, beta: &Cluster, name: &str| {
        let host = format!("{name}.shop.svc.beta.example:80");
        beta.put_service(name);
        alpha.wait(name, |status| import(status, &host))
    };
    arrives(&alpha, &beta, "cart");
    assert_eq!(beta.stop(), 0);
    beta.put_service("tea");
    beta.start();
    alpha.wait("tea", |status| import(status, "tea.shop.svc.beta.example:80"));
    assert_eq!(alpha.stop(), 0);
    beta.put_service("milk");
    alpha.start();
    alpha.wait("milk", |status| import(status, "milk.shop.svc.beta.example:80"));
    assert_eq!((alpha.stop(), beta.stop()), (0, 0));
    beta.put_service("sugar");
    alpha.start();
    beta.start();
    alpha.wait("sugar", |status| import(status, "sugar.shop.svc.beta.example:80"));
    // The counterpart of all that: it waits again, and the next change comes as soon.
    arrives(&alpha, &beta, "lemon");
}

#[test]
fn a_second_controller_in_one_folder_is_refused() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let second = fedgate().args(["run", "--dir"]).arg(alpha.folder()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another"));
    assert!(alpha.status().is_some(), "{}", alpha.pid());
}

#[test]
fn our_new_root_reaches_the_peer_without_a_restart() {
    let (alpha, beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    let roots = |status: &Value| {
        row(status, "peers", "name", "beta")
            .map(|peer| peer["roots"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(alpha.status().as_ref().and_then(roots), Some(1));
    beta.put("identity/roots.pem", &format!("{}{}", beta.root_pem, alpha.root_pem));
    alpha.wait("both roots", |status| roots(status).filter(|count| *count == 2));
}

pub(crate) fn finding<'a>(status: &'a Value, reason: &str) -> Option<&'a Value> {
    status["findings"].as_array()?.iter().find(|finding| finding["reason"] == reason)
}

#[test]
fn a_peers_new_root_and_key_are_reported_also_after_a_restart() {
    let (mut alpha, mut beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    assert!(alpha.status().is_some_and(|status| finding(&status, "roots_changed").is_none()));
    beta.put("identity/roots.pem", &format!("{}{}", beta.root_pem, alpha.root_pem));
    let reported = alpha.wait("the new root", |status| finding(status, "roots_changed").cloned());
    assert_eq!(
        (&reported["object"]["name"], &reported["severity"]),
        (&Value::from("beta"), &Value::from("info")),
        "beta's key has signed it, and the old root is still there"
    );
    let admin: Value =
        serde_json::from_slice(&fs::read(alpha.path("state/admin.json")).unwrap()).unwrap();
    let counted = "fedgate_importer_notices_total{peer=\"beta\",reason=\"roots_changed\"} 1";
    alpha.wait("metric and log to say so", |_| {
        let is_counted = get(admin["address"].as_str().unwrap(), "/metrics").contains(counted);
        (is_counted && alpha.log().contains("roots_changed")).then_some(())
    });

    assert_eq!((alpha.stop(), beta.stop()), (0, 0));
    fs::remove_file(beta.path("state/authn.key")).unwrap();
    let made =
        fedgate().args(["keygen", "--out"]).arg(beta.path("state/authn.key")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    alpha.start();
    beta.start();
    let new_key = alpha.wait("the new key", |status| finding(status, "key_changed").cloned());
    assert_eq!(new_key["severity"], "error", "the old key has not signed it, so it is held");
    let after =
        alpha.wait("the new root still", |status| finding(status, "roots_changed").cloned());
    assert_eq!(after, reported);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file that is damaged")]
fn a_lost_or_damaged_identity_is_reported_and_not_recreated() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let uuid = alpha.status().unwrap()["cluster"]["clusterUuid"].clone();
    // A running controller keeps the identity that it has read.
    let file = alpha.path("state/cluster-uuid.json");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "").unwrap();
    alpha.put_service("web");
    let error = alpha
        .wait("the finding", |status| Some(finding(status, "unreadable")?["message"].to_string()));
    assert!(error.contains("cluster-uuid.json") && error.contains("an empty file"), "{error}");
    assert_eq!(alpha.status().unwrap()["cluster"]["clusterUuid"], uuid);
    assert_eq!(alpha.stop(), 0);
    for lose in [
        |file: &std::path::Path| fs::write(file, "").unwrap(),
        |file: &std::path::Path| fs::remove_file(file).unwrap(),
    ] {
        lose(&file);
        let refused = alpha.run(&["run"]);
        assert_eq!(refused.status.code(), Some(1));
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("cluster-uuid.json") && error.contains("clusterUUID"), "{error}");
    }
    fs::write(&file, good).unwrap();
    alpha.start();
    assert_eq!(alpha.status().unwrap()["cluster"]["clusterUuid"], uuid);
    assert!(alpha.status().is_some_and(|status| finding(&status, "identity_replaced").is_none()));
    assert_eq!(alpha.stop(), 0);
    // The whole folder is gone, so nothing can be restored; a finding says so.
    fs::remove_dir_all(alpha.path("state")).unwrap();
    alpha.start();
    alpha.wait("the finding", |status| finding(status, "identity_replaced").map(drop));
    assert_ne!(alpha.status().unwrap()["cluster"]["clusterUuid"], uuid);
}

#[test]
fn a_new_certificate_of_the_metadata_endpoint_is_served_without_a_restart() {
    let (alpha, mut beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    // Another authority signs for beta now; alpha still expects the old one.
    let other = Cluster::new("beta");
    for file in ["metadata.key", "metadata.pem"] {
        beta.put(
            &format!("identity/{file}"),
            &fs::read_to_string(other.path(&format!("identity/{file}"))).unwrap(),
        );
    }
    let exchange = |status: &Value| {
        let conditions = row(status, "peers", "name", "beta")?["conditions"].as_array()?;
        let ready = conditions
            .iter()
            .find(|condition| condition["type"] == "PublicMetadataExchangeReady")?;
        (ready["status"] == "False").then(|| ready["message"].to_string())
    };
    let message = alpha.wait("the new certificate", exchange);
    assert!(message.contains("spec.metadata.ca"), "{message}");
    assert!(alpha.wait("web, as it was", |status| import(status, WEB)).contains(':'));
    beta.root_pem.clone_from(&other.root_pem);
    alpha.put_peer(&beta);
    alpha.wait("beta's documents", |status| paired(status, "beta"));
}

#[test]
fn changed_settings_apply_or_require_a_restart() {
    let (alpha, beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    let settings = fs::read_to_string(beta.path("fedgate.yaml")).unwrap();
    beta.put(
        "fedgate.yaml",
        &settings.replace("  filterModule", "  advertise: ['192.0.2.7:15443']\n  filterModule"),
    );
    let gateway = |status: &Value| Some(status["imports"][0]["gateways"][0].as_str()?.to_owned());
    alpha.wait("the other gateway", |status| {
        gateway(status).filter(|gateway| gateway == "192.0.2.7:15443")
    });
    beta.put("fedgate.yaml", "trustDomain: [\n");
    beta.wait("the finding", |status| {
        let findings = status["findings"].as_array()?;
        findings
            .iter()
            .find(|f| f["object"]["source"].as_str().is_some_and(|s| s.starts_with("fedgate.yaml")))
            .map(drop)
    });
    assert_eq!(alpha.status().as_ref().and_then(gateway).as_deref(), Some("192.0.2.7:15443"));
    beta.put("fedgate.yaml", &settings.replace("beta.example", "delta.example"));
    let message = beta.wait("the finding", |status| {
        let findings = status["findings"].as_array()?;
        let found = findings.iter().find(|finding| finding["field"] == "trustDomain")?;
        Some(found["message"].to_string())
    });
    assert!(message.contains("restart"), "{message}");
}

#[test]
fn the_admin_address_has_metrics_and_probes() {
    let (alpha, _beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    let admin: Value =
        serde_json::from_slice(&fs::read(alpha.path("state/admin.json")).unwrap()).unwrap();
    let address = admin["address"].as_str().unwrap();
    assert!(get(address, "/healthz").contains(" 200 "));
    assert!(get(address, "/readyz").contains(" 200 "));
    let metrics = get(address, "/metrics");
    for name in ["fedgate_table_generation", "fedgate_peers", "fedgate_findings"] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(!get(address, "/status").contains("PRIVATE"));
}

pub(crate) fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends a signal to a running controller.
fn signal(cluster: &Cluster, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &cluster.pid().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn sighup_reads_all_files_again() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let generation = |status: &Value| status["table"]["generation"].as_u64();
    let before = alpha.wait("a table", generation);
    signal(&alpha, "HUP");
    alpha.wait("the log to say so", |_| {
        alpha.log().contains("reading all files again").then_some(())
    });
    alpha.put_service("web");
    alpha.wait("the new table", |status| generation(status).filter(|now| *now > before));
    assert_eq!(alpha.stop(), 0, "{}", alpha.log());
}

#[test]
fn sigint_ends_the_controller_with_0() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    signal(&alpha, "INT");
    assert_eq!(alpha.stop_without_asking(), 0, "{}", alpha.log());
}

#[test]
fn a_closed_pipe_is_no_error() {
    use std::process::Stdio;
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    for arguments in [&["status"][..], &["table"], &["status", "--output", "json"]] {
        let mut command = fedgate();
        command.arg(arguments[0]).arg("--dir").arg(alpha.folder()).args(&arguments[1..]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.is_empty() && output.status.code().is_some_and(|code| code < 2),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn explaining_without_a_caller_judges_each_peer() {
    let (alpha, beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    let explain = |cluster: &Cluster| {
        let output = cluster.run(&["explain", "--to", WEB]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    beta.wait("alpha's roots", |_| (explain(&beta).0 == Some(0)).then_some(()));
    let (_, text) = explain(&beta);
    assert!(text.contains("peer alpha") && text.contains("=> passes for the only peer"), "{text}");
    let nothing = "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {name: none}\nspec: {services: []}\n";
    beta.put("manifests/none.yaml", nothing);
    beta.wait("the policy", |_| (explain(&beta).0 == Some(1)).then_some(()));
    let (_, text) = explain(&beta);
    assert!(
        text.contains("=> does not pass for the only peer")
            && text.contains("FederationPolicy none"),
        "{text}"
    );
    // The service is published to no peer any more, and no finding calls the policy wrong.
    alpha.wait("no import", |status| import(status, WEB).is_none().then_some(()));
    assert!(
        beta.status().unwrap()["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["reason"] != "invalid_policy")
    );
}

#[test]
fn all_commands_say_that_a_peer_passes_only_because_of_audit_mode() {
    let (alpha, beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    let policy = "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {name: none}\nspec: {peers: [alpha], services: [], mode: Audit}\n";
    beta.put("manifests/none.yaml", policy);
    let export = beta.wait("audit mode", |status| {
        let export =
            status["exports"].as_array()?.iter().find(|export| export["service"] == WEB)?;
        export["audited"].is_array().then(|| export.clone())
    });
    assert_eq!((&export["grantedTo"], &export["audited"]), (&json!([]), &json!(["alpha"])));
    let run = |arguments: &[&str]| {
        let output = beta.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for names in [&["status"][..], &["status", "alpha"]] {
        let (_, text) = run(names);
        assert!(
            text.contains("0 exports to it (audit mode)")
                && text.contains("granted to nobody; audited for alpha"),
            "{names:?}: {text}"
        );
    }
    for caller in [&[][..], &["--peer", "alpha"], &["--from", "spiffe://alpha.example/ns/a/sa/b"]] {
        let (code, text) = run(&[&["explain", "--to", WEB], caller].concat());
        assert!(
            code == Some(0) && text.contains("(audit mode: reported, and let through)"),
            "{text}"
        );
        assert!(!text.contains("passes: granted"), "{text}");
    }
}

#[test]
fn explaining_a_name_that_leads_nowhere_says_why() {
    let mut alpha = Cluster::new("alpha");
    let text = federated(&format!("{{ports: {PORTS}, members: [{{allPeers: {{}}}}]}}"));
    alpha.put("manifests/name.yaml", &text.replace("NAME", "web"));
    alpha.start();
    alpha.wait("the name", |status| status["federatedServices"].get(0).is_some().then_some(()));
    for (to, why) in [
        ("web.shop.global:81", "FederatedService shop/web has this host, but not port 81"),
        ("api.shop.global:80", "no FederatedService in force has it"),
    ] {
        let output = alpha.run(&["explain", "--to", to]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(1) && text.contains(why), "{text}");
    }
    // Only this cluster's programs call the name.
    let ours = "spiffe://alpha.example/ns/shop/sa/cart";
    for (flag, caller, mark, why) in [
        ("--peer", "nosuch", "NO", "there is no valid IstioFederation nosuch"),
        ("--from", "spiffe://beta.example/ns/shop/sa/cart", "NO", "only programs of this cluster"),
        ("--from", "cart", "NO", "expected a workload's SPIFFE ID"),
        ("--from", ours, "ok", "is of this cluster"),
    ] {
        let output = alpha.run(&["explain", "--to", "web.shop.global:80", flag, caller]);
        let text = String::from_utf8_lossy(&output.stdout);
        let row =
            text.lines().find(|line| line.trim_start().starts_with(&format!("{mark}  caller")));
        assert!(row.is_some_and(|row| row.contains(why)), "{text}");
    }
    assert_eq!(alpha.stop(), 0);
    let error = String::from_utf8(alpha.run(&["status"]).stderr).unwrap();
    assert!(error.contains("start it with `fedgate run --dir "), "{error}");
    assert!(error.contains("connection refused"), "{error}");
    assert!(!error.contains("http://") && !error.contains("tcp connect"), "{error}");
}

/// The egress listens at a port until it has read its new files.
#[test]
fn an_import_takes_over_the_port_of_one_that_goes_at_the_same_moment() {
    let port = *xtask::ports::free_range(1).unwrap().start();
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    let settings = alpha.settings();
    let range = settings.lines().find(|line| line.starts_with("  ports: ")).unwrap();
    alpha.put("fedgate.yaml", &settings.replace(range, &format!("  ports: {port}-{port}")));
    alpha.put_peer(&beta);
    beta.put_peer(&alpha);
    beta.put_service("web");
    alpha.start();
    beta.start();
    let at = format!("127.0.0.1:{port}");
    let address = |status: &Value, service: &str| {
        let import = row(status, "imports", "service", service)?;
        (import["address"] == at.as_str()).then_some(())
    };
    alpha.wait("the import's port", |status| address(status, WEB));
    let _egress = TcpListener::bind(&at).unwrap();
    beta.put("manifests/web.yaml", &service("api"));
    alpha.wait("the same port", |status| address(status, &WEB.replace("web", "api")));
}

#[test]
fn a_peer_with_a_broken_object_keeps_its_state_after_a_restart() {
    let (alpha, mut beta) = pair();
    alpha.wait("the import", |status| import(status, WEB));
    beta.wait("alpha's documents", |status| paired(status, "alpha"));
    let object = fs::read_to_string(beta.path("manifests/peer-alpha.yaml")).unwrap();
    beta.put("manifests/peer-alpha.yaml", &object.replace("https://", "http://"));
    for _ in 0..2 {
        let message = beta.wait("the finding", |status| {
            let findings = status["findings"].as_array()?;
            let found = findings.iter().find(|finding| finding["reason"] == "invalid_endpoint")?;
            Some(found["message"].to_string())
        });
        assert!(message.contains("stays in force"), "{message}");
        let passes =
            beta.run(&["explain", "--to", WEB, "--from", "spiffe://alpha.example/ns/shop/sa/cart"]);
        assert_eq!(passes.status.code(), Some(0), "{}", String::from_utf8_lossy(&passes.stdout));
        assert_eq!(beta.stop(), 0);
        beta.start();
    }
    beta.put("manifests/peer-alpha.yaml", &object);
    beta.wait("alpha's documents", |status| paired(status, "alpha"));
    fs::remove_file(beta.path("manifests/peer-alpha.yaml")).unwrap();
    beta.wait("no peer", |status| status["peers"].as_array()?.is_empty().then_some(()));
}
