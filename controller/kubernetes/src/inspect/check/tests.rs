//! Tests each check in a healthy cluster and in one with a fault.

mod cluster;
mod controller;
mod gateway;
mod mesh;
mod names;
mod peers;
mod rbac;

use super::facts::{AmbientClients, Api, Facts, Istiod, Mesh, Names, Owned, Pod, Served};
use super::permissions::needs;
use super::{Check, CheckOutcome, Report, api, judge};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::inspect::names::NameService;
use crate::loaded::gauge::Gauges;
use crate::sample::{NAMESPACE, Sample};
use jiff::SignedDuration;
use serde_json::json;
use std::collections::BTreeMap;

/// The facts of a healthy cluster, in agreement with the sample.
fn facts(sample: &Sample) -> Facts {
    let host = "web.shop.svc.beta.example";
    let objects = [
        (Kind::ConfigMap, NAMESPACE, "fedgate-trust-bundle"),
        (Kind::EnvoyFilter, NAMESPACE, "fedgate-gateway"),
        (Kind::EnvoyFilter, NAMESPACE, "fedgate-table"),
        (Kind::ServiceEntry, NAMESPACE, host),
        (Kind::DestinationRule, NAMESPACE, host),
        (Kind::EnvoyFilter, "istio-system", "4.beta.example"),
    ];
    let ours = objects.map(|(kind, namespace, name)| ((kind, key(namespace, name)), Owned::Ours));
    let proxy = Some("docker.io/istio/proxyv2:1.30.2".to_owned());
    let table = Ok(Gauges::everywhere(sample.snapshot().in_force.table.generation()));
    let pod = Pod { ready: true, table, proxy, revision: None };
    let mesh = Mesh {
        config: Ok(json!({
            "trustDomain": "alpha.example",
            "defaultConfig": { "proxyMetadata": { "ISTIO_META_DNS_CAPTURE": "true" } },
        })),
        istiods: Ok(vec![Istiod {
            name: "istiod".to_owned(),
            image: "docker.io/istio/pilot:1.29.0".to_owned(),
            environment: BTreeMap::new(),
        }]),
        ambient: Ok(AmbientClients::default()),
    };
    let kinds = api::kinds().map(|kind| (kind, Served::Yes)).collect();
    Facts {
        namespace: NAMESPACE.to_owned(),
        service_account: "fedgate".to_owned(),
        now: sample.now,
        api: Ok(Api { version: "v1.36.4".to_owned(), ahead: Some(SignedDuration::ZERO), kinds }),
        permissions: Ok(needs(&sample.settings.namespaces)
            .into_iter()
            .map(|need| (need, true))
            .collect()),
        snapshot: Ok(sample.snapshot()),
        pods: Ok(BTreeMap::from([("gateway-1".to_owned(), pod)])),
        mesh,
        names: Names {
            service: Ok(NameService::default()),
            corefile: Err("there is no ConfigMap kube-system/coredns".to_owned()),
        },
        written: Ok(ours.into()),
    }
}

fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The report on a changed sample with changed facts.
fn changed(sample: impl FnOnce(&mut Sample), facts_too: impl FnOnce(&mut Facts)) -> Report {
    let mut changed = Sample::healthy();
    sample(&mut changed);
    let mut found = facts(&changed);
    facts_too(&mut found);
    let report = judge(&found);
    assert_hints_are_readable(&report);
    report
}

/// Every bad check passes through here in some test.
#[track_caller]
fn assert_hints_are_readable(report: &Report) {
    let checks = report.sections.iter().flat_map(|section| &section.checks);
    let hints: Vec<_> = checks
        .filter_map(|check| Some(format!("{}: {}", check.title, check.hint.as_ref()?)))
        .collect();
    crate::readable::assert_readable(&hints, crate::readable::problems);
}

/// The only bad check.
#[track_caller]
fn only(report: &Report, outcome: CheckOutcome) -> Check {
    let not_well: Vec<_> = report
        .sections
        .iter()
        .flat_map(|section| &section.checks)
        .filter(|check| check.hint.is_some())
        .collect();
    let [check] = not_well[..] else { panic!("expected one line, found {not_well:#?}") };
    assert_eq!(check.outcome, outcome, "{check:#?}");
    check.clone()
}

/// Asserts that one check fails or warns, with these words in its text, and no other one.
#[track_caller]
fn assert_only(report: &Report, outcome: CheckOutcome, name: &str, words: &[&str]) {
    let check = only(report, outcome);
    let text =
        format!("{}: {} -> {}", check.title, check.detail, check.hint.clone().unwrap_or_default());
    assert_eq!(check.name, name, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

/// The outcome and the detail of the check with this name.
#[track_caller]
fn found(report: &Report, name: &str) -> (CheckOutcome, String) {
    let mut checks = report.sections.iter().flat_map(|section| &section.checks);
    let check = checks.find(|check| check.name == name).unwrap();
    (check.outcome, check.detail.clone())
}

fn nothing<T>(_: &mut T) {}

#[test]
fn all_is_well() {
    let report = changed(nothing, nothing);
    let bad: Vec<_> = report
        .sections
        .iter()
        .flat_map(|section| &section.checks)
        .filter(|c| c.outcome != CheckOutcome::Ok)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.sections.len(), 8);
}

#[test]
fn the_reference_has_every_line() {
    const REFERENCE: &str = include_str!("../../../../../docs/reference.md");
    let report = changed(nothing, nothing);
    let names = report.sections.iter().flat_map(|section| &section.checks).map(|check| check.name);
    let missing: Vec<_> =
        names.filter(|name| !REFERENCE.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}
