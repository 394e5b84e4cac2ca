//! Plants a secret in every place where one can be, and looks for it in the unpacked bundle, as it
//! is and in base64. With the removal switched off each of them is found, so the search works.

use super::*;
use crate::command::envoys::EnvoyAddresses;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// A secret for each place, all different. A test of another process must not find its own ones in
/// this source by chance, so they are made.
struct Planted(BTreeMap<&'static str, String>);

impl Planted {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A new secret for a place: letters and digits, as long as passwords are.
    fn at(&mut self, place: &'static str) -> String {
        let secret = uuid_like();
        self.0.insert(place, secret.clone());
        secret
    }

    /// A key in PEM.
    fn key(&mut self, place: &'static str) -> String {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let line = key.lines().find(|line| !line.starts_with('-')).unwrap().to_owned();
        self.0.insert(place, line);
        key
    }

    /// The places whose secrets are in these texts.
    fn found(&self, texts: &BTreeMap<String, String>) -> Vec<&'static str> {
        let is_in = |secret: &str| {
            let forms = [secret.to_owned()].into_iter().chain(base64(secret));
            forms.into_iter().any(|form| texts.values().any(|text| text.contains(&form)))
        };
        self.0.iter().filter(|(_, secret)| is_in(secret)).map(|(place, _)| *place).collect()
    }
}

fn uuid_like() -> String {
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    key.iter().rev().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What base64 of any text around a secret has, by the secret's offset within three bytes: the
/// letters that depend on the secret alone.
fn base64(secret: &str) -> Vec<String> {
    let encode = |bytes: &[u8]| {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let whole = bits.as_bytes().chunks_exact(6).map(|bits| {
            let number = bits.iter().fold(0, |number, bit| number * 2 + usize::from(bit - b'0'));
            char::from(LETTERS[number])
        });
        whole.collect::<String>()
    };
    let at = |offset: usize| {
        let text = encode(&[&vec![b'x'; offset], secret.as_bytes()].concat());
        text[(offset * 8).div_ceil(6)..].to_owned()
    };
    (0..3).map(at).collect()
}

/// Unpacks a bundle: names and texts.
fn unpacked(bundle: &Bundle) -> BTreeMap<String, String> {
    let mut packed = Vec::new();
    bundle.write_to(&mut packed).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(packed.as_slice()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, String::from_utf8_lossy(&bytes).into_owned())
    });
    entries.collect()
}

/// An Envoy's admin address that shows secrets wherever Envoy could.
fn envoy(secrets: &mut Planted) -> SocketAddr {
    let dump = json!({ "configs": [
        { "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {
            "node": { "id": "fedgate-gateway", "metadata": { "PASSWORD": secrets.at("node metadata") } },
            "static_resources": { "secrets": [{ "name": "a", "generic_secret": { "secret": { "inline_string": secrets.at("static secret") } } }] } } },
        { "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{
            "name": "federation",
            "error_state": { "details": format!("rejected: {}", secrets.at("error details")) },
            "active_state": { "version_info": "7", "listener": { "name": "federation", "filter_chains": [{
                "filters": [{ "name": "wasm", "typed_config": { "@type": "type.googleapis.com/W", "vm_config": {
                    "environment_variables": { "key_values": { "TOKEN": secrets.at("wasm environment") } } },
                    "configuration": { "value": secrets.at("filter configuration") } } }],
                "transport_socket": { "name": "tls", "typed_config": { "common_tls_context": { "tls_certificates": [{
                    "private_key": { "inline_string": secrets.key("inline key") } }] } } } }] } } }] },
        { "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "dynamic_active_secrets": [{
            "name": "identity", "secret": { "name": "identity", "tls_certificate": {
                "private_key": { "inline_bytes": secrets.at("secret's bytes") } } } }] },
    ] });
    let info = json!({ "version": "1.40.0", "command_line_options": {
        "concurrency": 2, "config_yaml": format!("password: {}", secrets.at("config_yaml")) } });
    let stats = format!("a.counter: 1\ncluster.name: \"{}\"\n", secrets.at("a stat's text"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let body = match request.split(' ').nth(1).unwrap_or_default() {
                "/config_dump" => dump.to_string(),
                "/server_info" => info.to_string(),
                path if path.starts_with("/stats") => stats.clone(),
                _ => "{}".to_owned(),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A folder with secrets everywhere. With `wrong`, its settings also have a key where none belongs.
fn folder(secrets: &mut Planted, wrong: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut settings = format!(
        "# {}\ntrustDomain: alpha.example\ngateway: {{listen: 127.0.0.1:15443}}\nmetadata: {{listen: 127.0.0.1:15080, tls: {{certificate: m.pem, key: m.key}}}}\n\
         identity: {{certificateChain: g.pem, privateKey: g.key, roots: r.pem}}\npeers: {{proxy: 'http://{}:{}@proxy.example:3128'}}\n",
        secrets.at("a comment in the settings"),
        secrets.at("the proxy's user"),
        secrets.at("the proxy's password"),
    );
    if wrong {
        let key = secrets.key("a key in the settings").replace('\n', "\n  ");
        settings += &format!("privateKey: |\n  {key}\n");
    }
    put(dir, "fedgate.yaml", &settings);
    put(dir, "state/authn.key", &secrets.key("the signing key"));
    put(dir, "g.key", &secrets.key("the gateway's key"));
    put(dir, "m.key", &secrets.key("the endpoint's key"));
    let ca = secrets.key("a key in place of a CA").replace('\n', "\n      ");
    put(
        dir,
        "manifests/peer.yaml",
        &format!(
            "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: beta, annotations: {{fedgate.dev/at-expiry: '{}', other: '{}'}}}}\n\
         spec:\n  trustDomain: beta.example\n  metadataEndpoint: https://user:{}@beta.example/m\n  metadata:\n    ca: |\n      {ca}\n",
            secrets.at("an annotation of ours"),
            secrets.at("another's annotation"),
            secrets.at("an endpoint's login"),
        ),
    );
    put(
        dir,
        "manifests/secret.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: shop, labels: {{a: '{}'}}}}\nstringData: {{password: '{}'}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{template: {{spec: {{containers: [{{name: c, image: i, args: ['--token={}'], env: [{{name: TOKEN, value: '{}'}}]}}]}}}}}}\n",
            secrets.at("a label of a Secret"),
            secrets.at("a Secret"),
            secrets.at("an argument"),
            secrets.at("a Pod's environment"),
        ),
    );
    put(dir, "manifests/broken.yaml", &format!("a: [{}\n", secrets.at("a broken manifest")));
    put(
        dir,
        "log",
        &format!(
            "a line\nproxy http://user:{}@proxy.example failed\n{}token eyJhbGciOiJFZERTQSJ9.{}.c2lnbmF0dXJlMTIz\nanother line\n",
            secrets.at("a login in a log"),
            secrets.key("a key in a log"),
            secrets.at("a token in a log"),
        ),
    );
    folder
}

fn collect(dir: &Path, admin: SocketAddr, removal: Removal) -> Bundle {
    let command = SupportBundle {
        out: None,
        log: vec![dir.join("log")],
        envoys: EnvoyAddresses::both(admin),
        target: Target::of_folder(dir),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(command.collect(Timestamp::UNIX_EPOCH, removal))
}

#[test]
fn no_planted_secret_is_in_the_bundle() {
    for wrong in [false, true] {
        let mut secrets = Planted::new();
        let folder = folder(&mut secrets, wrong);
        let admin = envoy(&mut secrets);
        let texts = unpacked(&collect(folder.path(), admin, Removal::On));
        assert_eq!(secrets.found(&texts), Vec::<&str>::new(), "{texts:#?}");
        // It is still of use.
        let text = |name: &str| texts[&format!("fedgate-support/{name}")].as_str();
        assert!(text("manifests.json").contains("https://beta.example/m"));
        assert!(text("envoy/gateway/config_dump.json").contains("\"federation\""));
        assert_eq!(text("envoy/egress/stats.txt"), "a.counter: 1\n");
        assert!(
            text("logs/0-log").starts_with("a line\n")
                && text("logs/0-log").ends_with("another line\n")
        );
        let settings: Value = serde_json::from_str(text("settings.json")).unwrap();
        match wrong {
            false => assert_eq!(settings["peers"]["hasProxy"], true),
            true => assert_eq!(settings["wrongInLines"], json!([7])),
        }
        assert!(text("index.json").contains("no controller has run"), "{}", text("index.json"));
    }
}

#[test]
fn every_planted_secret_is_found_when_the_removal_is_off() {
    for wrong in [false, true] {
        let mut secrets = Planted::new();
        let folder = folder(&mut secrets, wrong);
        let admin = envoy(&mut secrets);
        let texts = unpacked(&collect(folder.path(), admin, Removal::Off));
        let found = secrets.found(&texts);
        let missed: Vec<_> = secrets.0.keys().filter(|place| !found.contains(place)).collect();
        // Of wrong settings, the files are not known; and lines that are no numbers are no stats.
        let unknown = ["the signing key", "the gateway's key", "the endpoint's key"];
        let expected =
            |place: &&&&str| **place != &"a stat's text" && !(wrong && unknown.contains(**place));
        let missed: Vec<_> = missed.iter().filter(expected).collect();
        assert!(missed.is_empty(), "{missed:?}");
    }
}

#[test]
fn the_search_finds_base64_at_any_offset() {
    let mut secrets = Planted::new();
    let secret = secrets.at("here");
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{secret}");
        // The first form of a whole text is its base64 without the padding.
        let texts = [("x".to_owned(), base64(&text).swap_remove(0))].into();
        assert_eq!(secrets.found(&texts), ["here"], "{before:?}");
    }
    let texts = [("x".to_owned(), base64("another text of the same length").swap_remove(0))].into();
    assert!(secrets.found(&texts).is_empty());
}

#[test]
fn a_bundle_is_bounded() {
    let mut bundle = Bundle::new(Removal::On);
    for number in 0..12 {
        bundle.add_lines(&format!("{number}.txt"), Ok((vec![b'x'; 5 << 20], false)));
    }
    let texts = unpacked(&bundle);
    let size: usize =
        texts.iter().filter(|(name, _)| name.ends_with(".txt")).map(|(_, text)| text.len()).sum();
    assert_eq!(size, 32 << 20);
    assert_eq!(bundle.missing().count(), 12, "what was cut is told");
    assert!(
        texts["fedgate-support/index.json"].contains("11.txt: only its first 0 bytes are there")
    );
}

#[test]
fn a_kubernetes_object_has_its_listed_fields_only() {
    let mut secrets = Planted::new();
    let object = json!({
        "kind": "Deployment",
        "metadata": { "name": "fedgate", "annotations": { "fedgate.dev/approve": secrets.at("annotation") },
            "managedFields": [{ "manager": secrets.at("managed field") }] },
        "spec": { "template": { "spec": { "containers": [{ "name": "controller", "image": "fedgate:1",
            "args": [secrets.at("argument")], "command": [secrets.at("command")],
            "env": [{ "name": "FEDGATE_PROXY", "value": secrets.at("environment") }] }] } } },
        "status": { "conditions": [{ "type": "Available", "message": secrets.at("message") }] },
    });
    let texts =
        |removal| [(String::new(), files::document_of(&object, removal).to_string())].into();
    assert!(secrets.found(&texts(Removal::On)).is_empty());
    assert_eq!(secrets.found(&texts(Removal::Off)).len(), 6);
    assert!(texts(Removal::On)[""].contains("FEDGATE_PROXY"));
}
