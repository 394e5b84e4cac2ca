//! Every message that a mistake in a manifest, a setting or a command can cause. It names the
//! object and the place, says what was expected and found, and avoids words of Rust and of
//! libraries.

use crate::cluster::{Cluster, fedgate};
use crate::mistakes::{self, PORTS, federation, policy, service};
use crate::readable::{assert_readable, problems_of_mistake};
use fedgate_federation::object::{IstioFederationSpec, PolicyObject};
use fedgate_files::settings::Settings;
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn every_mistake_in_a_manifest_has_a_readable_message() {
    let cluster = Cluster::new("alpha");
    let mistakes = mistakes::manifests();
    for (name, text) in &mistakes {
        cluster.put(&format!("manifests/{name}.yaml"), &text.replace("NAME", name));
    }
    let output =
        fedgate().arg("validate").arg(cluster.folder()).env_remove("FEDGATE_LOG").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("(manifests/")).collect();
    let silent: Vec<_> = mistakes
        .iter()
        .filter(|(name, _)| !text.contains(&format!("(manifests/{name}.yaml")))
        .collect();
    assert!(silent.is_empty(), "no message for {silent:#?}\n{text}");
    let kinds = [
        "File",
        "Service",
        "EndpointSlice",
        "IstioFederation",
        "FederationPolicy",
        "FederatedService",
    ];
    let names_object = |line: &str| {
        line.split_once(": ")
            .is_some_and(|(_, rest)| kinds.iter().any(|kind| rest.starts_with(kind)))
    };
    let no_object: Vec<_> = lines.iter().filter(|line| !names_object(line)).collect();
    assert!(no_object.is_empty(), "{no_object:#?}");
    assert!(!text.contains("user:") && !text.contains("secret@"), "a password: {text}");
    assert_readable(&lines, problems_of_mistake);
    let reasons = ["unreadable", "invalid_object", "unknown_kind", "unknown_field"];
    assert!(
        reasons
            .iter()
            .all(|reason| lines.iter().any(|line| line.contains(&format!(": {reason}: ")))),
        "{text}"
    );
    let mut lines: Vec<_> = lines.iter().map(|line| by_position(line)).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Puts the file first, so that lines sort by file.
fn by_position(line: &str) -> String {
    let position = line
        .split_once("(manifests/")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(position, _)| position);
    format!("{} | {line}", position.unwrap_or_default())
}

#[test]
fn common_yaml_styles_are_read() {
    let web = service(PORTS, "");
    let json = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "NAME", "namespace": "shop" },
        "spec": { "ports": [{ "name": "http", "port": 80 }] } });
    let good: Vec<(&str, String)> = vec![
        ("crlf.yaml", web.replace('\n', "\r\n")),
        ("bom.yaml", format!("\u{feff}{web}")),
        ("directive.yaml", format!("%YAML 1.2\n---\n{web}")),
        ("directive11.yaml", format!("# first\n%YAML 1.1\n---\n{web}...\n")),
        ("ends.yaml", format!("---\n---\n# nothing\n---\n{web}...\n---\n...\n")),
        ("comments.yaml", "# nothing\n\n# at all\n".into()),
        ("empty.yaml", String::new()),
        ("null.yaml", "---\nnull\n".into()),
        ("anchors.yaml", web.replace(PORTS, "[&p {name: http, port: 80}, {<<: *p, name: http-b, port: 81}]")),
        ("json.json", json.to_string()),
        ("pretty.JSON", serde_json::to_string_pretty(&json).unwrap()),
        (
            "list.yml",
            json!({ "apiVersion": "v1", "kind": "List", "items": [json] }).to_string().replace("NAME", "of-list"),
        ),
        (
            "typed.YAML",
            format!(
                "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {{name: of-type, namespace: shop}}\n  spec: {{ports: {PORTS}}}\n"
            ),
        ),
        ("none.yaml", "apiVersion: v1\nkind: List\nitems: []\n".into()),
        ("emoji.yaml", web.replace("spec:", "  annotations: {note: \"\u{1f512}\"}\nspec:")),
        ("quoted.yaml", web.replace("kind: Service", "\"kind\": 'Service'")),
        (
            "folded.yaml",
            web.replace(
                "spec:",
                "  annotations:\n    note: >-\n      a\n      b: c\n    other: |\n      ---\n      x\nspec:",
            ),
        ),
        ("server.yaml", web.clone() + "  clusterIP: 10.0.0.1\n  sessionAffinity: None\nstatus:\n  loadBalancer: {}\n"),
        ("nulls.yaml", web.replace("spec:", "  creationTimestamp: null\nspec:") + "  selector:\n"),
        ("target.yaml", web.replace("port: 80}", "port: 80, targetPort: web}")),
        (
            "policy.yaml",
            policy("\n  services:\n  - namespaces: [shop]\n    ports: [80, http]\n  callers:\n  - {}\n  mode: Audit"),
        ),
        ("peer.yaml", federation("")),
    ];
    let cluster = Cluster::new("alpha");
    for (file, text) in &good {
        let name = file.split('.').next().unwrap();
        cluster.put(&format!("manifests/{file}"), &text.replace("NAME", name));
    }
    let output =
        fedgate().arg("validate").arg(cluster.folder()).env_remove("FEDGATE_LOG").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("manifests/")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn every_mistake_in_the_settings_has_a_readable_message() {
    let mut messages = Vec::new();
    for text in mistakes::settings() {
        let problems = Settings::parse(Path::new("/etc/fedgate"), &text).expect_err(&text);
        messages.extend(problems.iter().map(|problem| match problem.line {
            0 => format!("fedgate.yaml: {problem}"),
            line => format!("fedgate.yaml:{line}: {problem}"),
        }));
    }
    assert_readable(&messages, problems_of_mistake);
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn every_mistake_in_a_kubernetes_object_has_a_readable_message() {
    let policies = [
        json!({ "spec": { "peers": "beta" } }),
        json!({ "spec": { "services": null } }),
        json!({ "spec": { "services": [{ "ports": [true] }] } }),
        json!({ "spec": { "mode": "audit" } }),
        json!({ "spec": { "service": [] } }),
        json!({ "spec": { "callers": [{ "namespace": 7 }] } }),
        json!({ "spec": {}, "callers": [] }),
        json!({ "spec": [] }),
        json!({}),
    ];
    let federations = [
        json!({ "spec": { "trustDomain": 7 } }),
        json!({ "spec": { "trustDomain": "beta.example" } }),
        json!({ "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://x", "metadata": [] } }),
        json!({ "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://x", "metadata": { "ca": null } } }),
        json!({ "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://x", "metadata": { "insecureSkipVerify": "yes" } } }),
        json!({ "spec": null }),
    ];
    let of_policy = |object: &Value| {
        PolicyObject::read_object("p", None, object).1.map(|finding| finding.to_string())
    };
    let of_federation = |object: &Value| {
        IstioFederationSpec::of_object(object)
            .err()
            .map(|error| format!("IstioFederation beta {error}"))
    };
    let messages: Vec<_> =
        policies.iter().map(of_policy).chain(federations.iter().map(of_federation)).collect();
    let messages: Vec<_> =
        messages.into_iter().map(|message| message.expect("a message")).collect();
    assert_readable(&messages, problems_of_mistake);
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn every_mistake_on_the_command_line_has_a_readable_message() {
    let cluster = Cluster::new("alpha");
    let folder = cluster.folder().display().to_string();
    let missing = format!("{folder}/missing");
    let key = format!("{folder}/identity/gateway.key");
    let mistakes: Vec<Vec<&str>> = vec![
        vec!["run", "--dir", &missing],
        vec!["validate", &missing],
        vec!["status", "--dir", &missing],
        vec!["explain", "--dir", &folder, "--to", "web"],
        vec!["explain", "--dir", &folder, "--to", "web.shop.svc.beta.example:http"],
        vec!["explain", "--dir", &folder, "--to", "web.shop.svc.beta.example:80", "--peer", "Beta"],
        vec!["explain", "--dir", &folder, "--to", "web.shop.svc.beta.example:80"],
        vec!["keygen", "--out", &key],
        vec!["keygen", "--out", &missing, "--out", "x"],
        vec!["keygen", "--out", "/dev/null/x"],
        vec!["keygen", "--out", "-"],
        vec!["support-bundle", "--out", "-"],
        vec!["table", &missing],
        vec!["table", &key],
        vec!["run", "--dir", &folder, "--log-format", "xml"],
    ];
    let mut messages = Vec::new();
    for arguments in mistakes {
        let output = fedgate().args(&arguments).env_remove("FEDGATE_LOG").output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap().replace(&folder, "DIR");
        messages.push(format!("{}: {error}", output.status.code().unwrap()));
    }
    assert_readable(&messages, problems_of_mistake);
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let cluster = Cluster::new("alpha");
    let taken = std::net::TcpListener::bind(("127.0.0.1", cluster.metadata_port)).unwrap();
    let output = fedgate().args(["run", "--dir"]).arg(cluster.folder()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.lines().find(|line| line.starts_with("error:")).unwrap();
    assert_readable(&[line], problems_of_mistake);
    assert!(line.contains("metadata.listen") && line.contains("in fedgate.yaml"), "{line}");
    drop(taken);
}
