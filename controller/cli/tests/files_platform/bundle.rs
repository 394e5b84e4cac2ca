//! `fedgate support-bundle` of a running controller. That no secret is in a bundle, wherever one is
//! planted, is shown beside the code.

use crate::cluster::{Cluster, fedgate};
use crate::running::{finding, pair};
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn unpacked(file: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(file).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.strip_prefix("fedgate-support/").unwrap().to_owned(), text)
    });
    entries.collect()
}

fn keys(cluster: &Cluster) -> Vec<String> {
    let files = ["identity/gateway.key", "identity/metadata.key", "state/authn.key"];
    let texts = files.map(|file| fs::read_to_string(cluster.path(file)).unwrap());
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('-'));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_bundle_has_what_a_report_needs() {
    let (alpha, _beta) = pair();
    alpha.wait("beta's view of us", |status| status["peers"][0].get("farSide").map(drop));
    alpha.wait("what does not run", |status| finding(status, "envoy_not_running").map(drop));
    let file = alpha.path("bundle.tar.gz");
    let arguments = [
        "support-bundle",
        "--out",
        file.to_str().unwrap(),
        "--log",
        &alpha.path("log").display().to_string(),
    ];
    let output = alpha.run(&arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // No Envoy runs, and the bundle says so instead of being refused.
    assert!(error.contains("not in it: envoy/gateway: its admin address is not known"), "{error}");

    let texts = unpacked(&file);
    let names: Vec<_> = texts.keys().map(String::as_str).collect();
    let expected = [
        "changes.json",
        "environment.json",
        "index.json",
        "logs/0-log",
        "manifests.json",
        "metrics.txt",
        "settings.json",
        "status.json",
        "table.json",
        "validate.json",
        "version.json",
    ];
    assert_eq!(names, expected);
    assert!(
        texts["status.json"].contains("\"farSide\"")
            && texts["status.json"].contains("envoy_not_running")
    );
    assert!(texts["metrics.txt"].contains("fedgate_compilations_total "));
    assert!(texts["logs/0-log"].contains("new table"));
    assert!(texts["manifests.json"].contains("https://127.0.0.1:"));
    for key in keys(&alpha) {
        assert!(!texts.values().any(|text| text.contains(&key)), "a key is in it");
    }

    // A file is never replaced.
    let again = alpha.run(&arguments);
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(
        again.status.code() == Some(1) && error.contains("name a file that is not there yet"),
        "{error}"
    );
    assert_eq!(unpacked(&file), texts);
}

#[test]
fn a_bundle_of_a_stopped_controller_says_what_is_missing() {
    let alpha = Cluster::new("alpha");
    let file = alpha.path("bundle.tar.gz");
    let output = alpha.run(&["support-bundle", "--out", file.to_str().unwrap()]);
    assert!(output.status.success());
    let texts = unpacked(&file);
    assert!(
        texts["index.json"].contains("status.json: no controller has run"),
        "{}",
        texts["index.json"]
    );
    assert!(texts["settings.json"].contains("alpha.example"));
    let elsewhere = alpha.run(&["support-bundle", "--out", "/does/not/exist/x.tar.gz"]);
    assert_eq!(elsewhere.status.code(), Some(1));
    let nobody = alpha.path("nobody.tar.gz");
    let mut command = fedgate();
    command.args(["support-bundle", "--dir", "nosuch", "--out"]).arg(&nobody);
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("cannot read nosuch/fedgate.yaml"),
        "{error}"
    );
    assert!(!nobody.exists());
}
