//! What each crate of the controller may depend on. Cargo enforces the boundaries between crates;
//! these tests check the lists that Cargo goes by, and boundaries inside crates.

use crate::markdown::{code, rows, section};
use crate::sources::{below, read};
use std::collections::BTreeSet;

/// Crates in `controller/`, and dependencies that they must not have.
const WALLS: [(&str, &[&str]); 9] = [
    ("disk", &["fedgate-", "tokio"]),
    ("process", &["fedgate-", "kube", "k8s-openapi", "axum", "reqwest"]),
    ("trace", &["fedgate-", "kube", "k8s-openapi", "axum"]),
    (
        "exchange",
        &[
            "kube",
            "k8s-openapi",
            "serde-saphyr",
            "fedgate-envoy",
            "fedgate-engine",
            "fedgate-files",
            "fedgate-kubernetes",
        ],
    ),
    (
        "envoy",
        &[
            "kube",
            "k8s-openapi",
            "tokio",
            "hyper",
            "reqwest",
            "axum",
            "fedgate-process",
            "fedgate-exchange",
            "fedgate-engine",
            "fedgate-files",
            "fedgate-kubernetes",
        ],
    ),
    (
        "engine",
        &["kube", "serde-saphyr", "clap", "fedgate-envoy", "fedgate-files", "fedgate-kubernetes"],
    ),
    (
        "page",
        &[
            "kube",
            "k8s-openapi",
            "reqwest",
            "fedgate-exchange",
            "fedgate-envoy",
            "fedgate-files",
            "fedgate-kubernetes",
        ],
    ),
    ("files", &["kube", "clap", "fedgate-kubernetes"]),
    ("kubernetes", &["fedgate-files"]),
];

/// The dependencies in a manifest. Those for tests count too: the tests of a crate run without
/// building a crate that it must not know.
fn dependencies(manifest: &str) -> Vec<&str> {
    let table = |name: &str| {
        let (_, rest) = manifest.split_once(&format!("\n[{name}]\n"))?;
        rest.split("\n[").next()
    };
    let normal = table("dependencies").expect("a table of dependencies");
    let tables = [normal, table("dev-dependencies").unwrap_or_default()];
    tables
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Returns true if a rule applies to a dependency. A rule that ends in a dash applies to all names
/// with that prefix.
fn is_about(rule: &str, dependency: &str) -> bool {
    dependency == rule || rule.ends_with('-') && dependency.starts_with(rule)
}

#[test]
fn no_crate_uses_what_is_forbidden_to_it() {
    for (folder, forbidden) in WALLS {
        let manifest = read(format!("controller/{folder}/Cargo.toml"));
        let dependencies = dependencies(&manifest);
        assert!(folder == "disk" || dependencies.len() > 3, "{folder}: {dependencies:?}");
        let known: Vec<_> = dependencies
            .iter()
            .filter(|name| forbidden.iter().any(|rule| is_about(rule, name)))
            .collect();
        assert!(known.is_empty(), "controller/{folder} must not depend on {known:?}");
    }
}

#[test]
fn every_crate_of_the_controller_has_its_walls() {
    let page = read("ARCHITECTURE.md");
    let of_controller =
        |cells: Vec<&str>| code(cells[0]).first()?.strip_prefix("controller/").map(str::to_owned);
    let named: BTreeSet<_> = rows(section(&page, "## Crates")).filter_map(of_controller).collect();
    let walls = WALLS.iter().map(|(folder, _)| format!("{folder}/"));
    // The command line is the only crate that knows both platforms.
    assert_eq!(named, walls.chain(["cli/".to_owned()]).collect());
}

/// The non-test code of the files below a folder, with their paths.
fn code_below(folder: &str) -> Vec<(String, String)> {
    let files = below(folder, "rs").into_iter().map(|file| file.display().to_string());
    let files = files.filter(|file| {
        !file.contains("tests") && !file.contains("/fake/") && !file.ends_with("/sample.rs")
    });
    let code = |source: String| {
        source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    };
    files.map(|file| (file.clone(), code(read(&file)))).collect()
}

#[test]
fn one_module_of_envoy_touches_files() {
    let touching: Vec<_> = code_below("controller/envoy/src")
        .into_iter()
        .filter(|(_, code)| {
            ["std::fs", "fs::", "std::net::Tcp", "std::process"]
                .iter()
                .any(|word| code.contains(word))
        })
        .map(|(file, _)| file)
        .collect();
    assert_eq!(touching, ["controller/envoy/src/write.rs"]);
}

#[test]
fn the_controller_on_kubernetes_uses_no_code_of_the_users_machine() {
    let inside = |file: &str| file.starts_with("controller/kubernetes/src/inspect/");
    for (file, code) in code_below("controller/kubernetes/src") {
        assert!(inside(&file) || !code.contains("crate::inspect"), "{file} names crate::inspect");
    }
}

#[test]
fn rules_are_about_whole_names() {
    assert!(is_about("fedgate-", "fedgate-core") && is_about("kube", "kube"));
    assert!(!is_about("kube", "kube-runtime") && !is_about("fedgate-", "fedgate"));
    let manifest = "[package]\nname = \"a\"\n\n[dependencies]\nb.workspace = true\nc = { path = \"c\" }\n\n[dev-dependencies]\nd.workspace = true\n";
    assert_eq!(dependencies(manifest), ["b", "c", "d"]);
}
