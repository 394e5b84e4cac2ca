//! Messages that a person can cause with an object or a port: each names the object and the place, says what was expected
//! and what was found, and has no word of Rust or of a library.

use crate::cluster::{Cluster, fedgate};
use fedgate_federation::object::{IstioFederationSpec, PolicyObject};
use serde_json::{Value, json};

/// What no message has: names of Rust's types, its way to print them, words of the libraries that read YAML and JSON, and phrases that an
/// operator cannot act on.
const FORBIDDEN: [&str; 40] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "usize",
    "f64",
    "Option",
    "Some(",
    "None",
    "Err(",
    "Ok(",
    "::",
    "{ ",
    "struct ",
    "enum ",
    "untagged",
    "variant",
    "serde",
    "os error",
    "panicked",
    "backtrace",
    "deserialize",
    "DuplicateKeyPolicy",
    "budget",
    "invalid type:",
    "invalid value:",
    "sequence",
    "a map",
    "scalar",
    "Unexpected",
    "unit value",
    "EOF",
    "column",
    "leave the field out",
    "mended",
    "raise limits",
    "OtherError",
    "stack",
];

fn is_letter(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

/// Whether a text has a word, and not only a longer one with it inside.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let inside = is_letter(text[..at].chars().next_back()) || is_letter(text[at + word.len()..].chars().next());
        !inside || !word.chars().all(char::is_alphanumeric)
    })
}

#[track_caller]
fn assert_readable(message: &str) {
    for word in FORBIDDEN {
        assert!(!has_word(message, word), "{word:?} is in: {message}");
    }
    for wrong in [" 1 errors", " 1 warnings", "\n1 errors", ", 1 warnings"] {
        assert!(!message.contains(wrong), "{message}");
    }
    let says = ["expected", "there is no", "must be", "cannot", "is not", "already", "is in force", "set either"];
    assert!(says.iter().any(|word| message.contains(word)), "what is wrong is not said: {message}");
    assert!(message.len() > 30, "{message}");
}

fn policy(spec: &str) -> String {
    format!("apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {{name: NAME}}\nspec: {spec}\n")
}

fn federation(spec: &str) -> String {
    format!(
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: NAME}}\nspec:\n  trustDomain: NAME.example\n  \
         metadataEndpoint: https://NAME.example/metadata\n{spec}"
    )
}

fn service(ports: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: NAME\n  namespace: shop\n  labels: {{federation.istio.deckhouse.io/public-service: ''}}\n\
         {more}spec:\n  ports: {ports}\n"
    )
}

const PORTS: &str = "[{name: http, port: 80}]";

#[test]
fn every_sort_of_yaml_that_people_write_is_read() {
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
    let output = fedgate().arg("validate").arg(cluster.folder()).env_remove("FEDGATE_LOG").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("manifests/")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn every_mistake_in_an_object_of_kubernetes_is_told_in_words_of_a_colleague() {
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
    let of_policy = |object: &Value| PolicyObject::read_object("p", None, object).1.map(|finding| finding.to_string());
    let of_federation = |object: &Value| {
        IstioFederationSpec::of_object(object).err().map(|error| format!("IstioFederation beta {error}"))
    };
    let said: Vec<_> = policies.iter().map(of_policy).chain(federations.iter().map(of_federation)).collect();
    let said: Vec<_> = said.into_iter().map(|message| message.expect("a message")).collect();
    said.iter().for_each(|message| assert_readable(message));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    let cluster = Cluster::new("alpha");
    let taken = std::net::TcpListener::bind(("127.0.0.1", cluster.metadata_port)).unwrap();
    let output = fedgate().args(["run", "--dir"]).arg(cluster.folder()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.lines().find(|line| line.starts_with("error:")).unwrap();
    assert_readable(line);
    assert!(line.contains("metadata.listen") && line.contains("in fedgate.yaml"), "{line}");
    drop(taken);
}
