//! Tests the checks of the API server, the permissions and the controller.

use super::{assert_only, changed, nothing};
use crate::api::kind::Kind;
use crate::inspect::check::CheckOutcome;
use crate::inspect::check::facts::Served;
use jiff::{SignedDuration, ToSpan};

#[test]
fn without_an_api_server_or_a_controller_the_other_sections_are_missing() {
    let report = changed(nothing, |facts| facts.api = Err("connection refused".to_owned()));
    assert_only(
        &report,
        CheckOutcome::Failed,
        "api-reachable",
        &["connection refused", "--kubeconfig"],
    );
    assert_eq!(report.sections.len(), 1);
    let report = changed(nothing, |facts| facts.snapshot = Err("no controller has run".to_owned()));
    assert_only(&report, CheckOutcome::Failed, "controller-state", &["no controller has run"]);
    assert_eq!(report.sections.len(), 3);
}

#[test]
fn kinds_and_clocks() {
    let without = |kind, versions: &[&str]| {
        let served = Served::No(versions.iter().map(|version| (*version).to_owned()).collect());
        changed(nothing, |facts| drop(facts.api.as_mut().unwrap().kinds.insert(kind, served)))
    };
    assert_only(
        &without(Kind::IstioFederation, &[]),
        CheckOutcome::Failed,
        "fedgate-kinds",
        &["does not serve IstioFederation", "CustomResource"],
    );
    assert_only(
        &without(Kind::ServiceEntry, &["v1beta1"]),
        CheckOutcome::Failed,
        "istio-kinds",
        &["networking.istio.io/v1", "v1beta1 is"],
    );
    let ahead = |seconds| {
        let ahead = Some(SignedDuration::from_secs(seconds));
        changed(nothing, |facts| facts.api.as_mut().unwrap().ahead = ahead)
    };
    assert_only(&ahead(-90), CheckOutcome::Warning, "clocks", &["1m 30s behind", "NTP"]);
    assert_eq!(ahead(2).count(CheckOutcome::Warning), 0);
}

#[test]
fn permissions() {
    let report = changed(nothing, |facts| {
        let answers = facts.permissions.as_mut().unwrap();
        let answer = answers
            .iter_mut()
            .find(|(need, _)| need.resource == "istiofederations" && need.subresource == "status");
        answer.unwrap().1 = false;
    });
    assert_only(
        &report,
        CheckOutcome::Failed,
        "permissions",
        &["patch istiofederations.deckhouse.io/status", "rbac.yaml"],
    );
    let report = changed(nothing, |facts| facts.permissions = Err("you may not ask".to_owned()));
    assert_eq!((report.count(CheckOutcome::Failed), report.count(CheckOutcome::Skipped)), (0, 1));
}

#[test]
fn the_lease() {
    let free = changed(
        |sample| sample.lease.as_mut().unwrap().spec.as_mut().unwrap().holder_identity = None,
        nothing,
    );
    assert_only(
        &free,
        CheckOutcome::Failed,
        "controller-leads",
        &["no replica holds the Lease fedgate-system/fedgate-controller"],
    );
    let late = |seconds: i64| changed(nothing, |facts| facts.now += seconds.seconds());
    assert_only(
        &late(11),
        CheckOutcome::Failed,
        "controller-leads",
        &["fedgate-0 has not renewed", "11s"],
    );
    assert_eq!(late(9).count(CheckOutcome::Failed), 0);
}
