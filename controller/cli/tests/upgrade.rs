//! The page on upgrades has the versions that the code has.

use fedgate_core::FORMAT_VERSIONS;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/upgrade.md");

/// A cell of the first table, by the row's name and the cell's number.
fn cell(row: &str, number: usize) -> &'static str {
    let line = PAGE.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let line = line.unwrap_or_else(|| panic!("docs/upgrade.md has no row {row}"));
    line.split('|').nth(number + 1).unwrap_or_default().trim()
}

#[test]
fn the_release_is_that_of_program_and_chart() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(cell("release", 1), version);
    let chart = include_str!("../../../deploy/chart/Chart.yaml");
    for field in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{field}: {version}\n")), "the chart's {field}");
    }
}

#[test]
fn the_tables_versions_are_those_that_the_filter_reads() {
    let versions: Vec<_> = FORMAT_VERSIONS.map(|version| version.to_string()).collect();
    assert_eq!(cell("table", 1), versions.join(", "));
    assert_eq!(cell("table", 3), format!("the filter: {}", versions.join(", ")));
}

/// Envoy knows both ABIs by what the modules export.
#[test]
fn the_abis_are_those_that_the_filters_state() {
    let export = format!("fn proxy_abi_version_{}()", cell("proxy-wasm ABI", 1).replace('.', "_"));
    assert!(include_str!("../../../filter/src/vm/exports.rs").contains(&export), "{export}");
    let abi = include_str!("../../../filter-native/src/abi.rs");
    let stated: Vec<_> =
        abi.split("c\"v").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let stated: std::collections::BTreeSet<_> = stated.iter().map(|it| format!("v{it}")).collect();
    let stated: Vec<_> = stated.into_iter().collect();
    assert_eq!(cell("dynamic module ABI", 1), stated.join(", "));
}

#[test]
fn the_kinds_have_the_versions_of_their_definitions() {
    for (kind, plural) in [
        ("IstioFederation", "istiofederations"),
        ("FederationPolicy", "federationpolicies"),
        ("FederatedService", "federatedservices"),
    ] {
        let fedgate = env!("CARGO_BIN_EXE_fedgate");
        let definition = Command::new(fedgate).args(["crd", plural]).output().unwrap();
        let text = String::from_utf8(definition.stdout).unwrap();
        let (group, version) = cell(&format!("`{kind}`"), 1).split_once('/').unwrap();
        assert!(text.contains(&format!("group: {group}\n")), "{kind}: {group}");
        let versions: Vec<_> =
            text.lines().filter_map(|line| line.trim().strip_prefix("name: v")).collect();
        assert_eq!(versions, [version.trim_start_matches('v')], "{kind}");
    }
}

#[test]
fn the_page_names_the_commit_that_the_tests_build() {
    assert!(PAGE.contains(&format!("`{}`", xtask::previous::COMMIT)));
}
