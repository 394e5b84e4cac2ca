//! The command line without a running controller: its output and exit status.

use crate::cluster::{Cluster, fedgate};
use crate::mistakes::{self, PORTS};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Status, standard output and standard error as one text. The folder's path and other changing
/// parts are replaced.
fn shown(output: &Output, cluster: &Cluster) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).replace(&cluster.folder().display().to_string(), "DIR")
    };
    let (out, error) = (text(&output.stdout), without_capacity(&text(&output.stderr)));
    format!(
        "exit status {}\n{out}{}{error}",
        output.status.code().unwrap_or(-1),
        if error.is_empty() { "" } else { "--\n" }
    )
}

/// Masks the numbers that depend on this machine.
fn without_capacity(text: &str) -> String {
    let masked = |line: &str| match line.starts_with("gateway: ") || line.starts_with("egress: ") {
        true => line.split(' ').map(masked_number).collect::<Vec<_>>().join(" "),
        false => line.to_owned(),
    };
    text.lines().map(|line| masked(line) + "\n").collect()
}

fn masked_number(word: &str) -> String {
    let bare = word.trim_start_matches('(');
    match bare.bytes().all(|byte| byte.is_ascii_digit()) && !bare.is_empty() {
        true => word.replace(bare, "N"),
        false => word.to_owned(),
    }
}

fn run(command: &mut Command) -> Output {
    command.env_remove("FEDGATE_LOG").output().unwrap()
}

fn validate(cluster: &Cluster, more: &[&str]) -> Output {
    run(fedgate().arg("validate").arg(cluster.folder()).args(more))
}

#[test]
fn validate_accepts_a_good_folder() {
    let cluster = Cluster::new("alpha");
    cluster.put_service("web");
    cluster.put_peer(&Cluster::new("beta"));
    insta::assert_snapshot!(shown(&validate(&cluster, &[]), &cluster));
    assert!(!cluster.path("state").exists(), "looking leaves nothing behind");
}

/// What a peer offers is in its documents, not in the folder.
#[test]
fn validate_accepts_names_that_only_peers_serve() {
    let cluster = Cluster::new("alpha");
    cluster.put_peer(&Cluster::new("beta"));
    for (name, members) in [("named", "{peers: [beta]}"), ("all", "{allPeers: {}}")] {
        let text = mistakes::federated(&format!("{{ports: {PORTS}, members: [{members}]}}"));
        cluster.put(&format!("manifests/{name}.yaml"), &text.replace("NAME", name));
    }
    let output = validate(&cluster, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output, &cluster));
    let text = mistakes::federated(&format!("{{ports: {PORTS}, members: [{{local: {{}}}}]}}"));
    cluster.put("manifests/none.yaml", &text.replace("NAME", "none"));
    let output = shown(&validate(&cluster, &[]), &cluster);
    assert!(output.contains("FederatedService shop/none"), "{output}");
    assert!(output.contains("no_member_ready") && output.contains("1 error"), "{output}");
}

#[test]
fn an_endpoint_with_an_empty_hostname_is_no_pod() {
    let cluster = Cluster::new("alpha");
    let service = mistakes::service(PORTS, "  annotations: {fedgate.dev/pods: 'true'}\n")
        .replace("  ports:", "  clusterIP: None\n  ports:");
    cluster.put("manifests/db.yaml", &service.replace("NAME", "db"));
    cluster.put(
        "manifests/slice.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: db-1\n  namespace: shop\n  \
         labels: {kubernetes.io/service-name: db}\naddressType: IPv4\nports: [{name: http, port: 80}]\n\
         endpoints: [{addresses: [192.0.2.1], hostname: ''}, {addresses: [192.0.2.2], hostname: db-0}]\n",
    );
    let output = shown(&validate(&cluster, &[]), &cluster);
    assert!(output.contains("0 errors, 0 warnings"), "{output}");
}

#[test]
fn validate_names_file_line_field_and_what_to_do() {
    let cluster = Cluster::new("alpha");
    cluster.put_service("web");
    cluster.put(
        "manifests/bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec:\n  ports:\n  - port: many\n---\n{\n",
    );
    cluster.put(
        "manifests/policy.yaml",
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {name: p}\nspec: {modus: Audit}\n",
    );
    let output = validate(&cluster, &[]);
    insta::assert_snapshot!(shown(&output, &cluster));
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value =
        serde_json::from_slice(&validate(&cluster, &["--output", "json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
}

#[test]
fn wrong_settings_are_reported_with_their_lines() {
    let cluster = Cluster::new("alpha");
    cluster.put("fedgate.yaml", &cluster.settings().replace("listen:", "lisen:"));
    insta::assert_snapshot!(shown(&validate(&cluster, &[]), &cluster));
    let output = run(fedgate().args(["run", "--dir"]).arg(cluster.folder()));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean \"listen\"?"));
}

#[test]
fn a_certificate_that_peers_would_refuse_is_reported() {
    let cluster = Cluster::new("alpha");
    cluster.put_identity_without_usage();
    let output = validate(&cluster, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        shown(&output, &cluster).contains("expected keyUsage=digitalSignature"),
        "{}",
        shown(&output, &cluster)
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["frobnicate"][..],
        &["explain"],
        &["keygen"],
        &["validate", "a", "b"],
        &["status", "--output", "xml"],
        &["status", "--dir", "a", "--context", "b"],
        &["table", "a.json", "--namespace", "b"],
        &["check", "--dir", "a"],
    ] {
        assert_eq!(run(fedgate().args(arguments)).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn commands_without_a_running_controller_give_advice() {
    let cluster = Cluster::new("alpha");
    for arguments in
        [&["status"][..], &["table"], &["explain", "--to", "web.shop.svc.beta.example:80"]]
    {
        let output = cluster.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("fedgate run --dir"),
            "{}",
            shown(&output, &cluster)
        );
    }
}

#[test]
fn keygen_creates_a_key_for_its_owner_and_never_replaces_one() {
    let cluster = Cluster::new("alpha");
    let path = cluster.path("new.key");
    let output = run(fedgate().args(["keygen", "--out"]).arg(&path));
    assert!(output.status.success());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.contains("PRIVATE KEY"));
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("PRIVATE"),
        "the key is in the file only"
    );
    assert_eq!(run(fedgate().args(["keygen", "--out"]).arg(&path)).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn every_command_has_a_help_text_with_an_example() {
    for command in ["run", "validate", "status", "check", "explain", "table", "keygen"] {
        let output = run(fedgate().args([command, "--help"]));
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && help.contains("Example"), "{command}: {help}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "no one reads these files meanwhile")]
fn copy_filter_copies_a_shared_library_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["built.so", "mounted"].map(|name| folder.path().join(name));
    let copy = || {
        let output = run(fedgate().arg("copy-filter").arg(&to).arg("--from").arg(&from));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    let fails = |expected: &str| {
        let (status, error) = copy();
        assert!(status == Some(1) && error.contains(expected), "{status:?}: {error}");
    };
    fails("built.so: put the native filter beside the fedgate program");
    std::fs::write(&from, "#!/bin/sh").unwrap();
    fails("built.so: expected a shared library");
    let library = b"\x7fELF and more";
    std::fs::write(&from, library).unwrap();
    fails("name a folder that exists");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("libfedgate_filter_native.so"), "the previous one").unwrap();
    assert_eq!(copy(), (Some(0), String::new()));
    let files = std::fs::read_dir(&to).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.map(|file| std::fs::read(file).unwrap()).collect();
    assert_eq!(files, [library]);
}
