//! Tests the checks of the gateway, and of the objects that are written.

use super::{assert_only, changed, key, nothing};
use crate::api::kind::Kind;
use crate::inspect::check::CheckOutcome;
use crate::inspect::check::facts::Owned;
use crate::loaded::gauge::Gauges;
use crate::sample::{NAMESPACE, Sample};

#[test]
fn what_is_written() {
    let table = |owned: Option<Owned>| {
        changed(nothing, |facts| {
            let written = facts.written.as_mut().unwrap();
            let table = (Kind::EnvoyFilter, key(NAMESPACE, "fedgate-table"));
            match owned {
                Some(owned) => drop(written.insert(table, owned)),
                None => drop(written.remove(&table)),
            }
        })
    };
    assert_only(
        &table(None),
        CheckOutcome::Failed,
        "gateway-written",
        &["missing: EnvoyFilter fedgate-system/fedgate-table"],
    );
    assert_only(
        &table(Some(Owned::Foreign)),
        CheckOutcome::Failed,
        "gateway-written",
        &["without fedgate's label", "rename or delete"],
    );
    let report = changed(nothing, |facts| {
        facts.written.as_mut().unwrap().retain(|(kind, _), _| *kind != Kind::ServiceEntry)
    });
    assert_only(
        &report,
        CheckOutcome::Failed,
        "imports-written",
        &["ServiceEntry fedgate-system/web.shop.svc.beta.example"],
    );
    let report = changed(nothing, |facts| facts.written = Err("forbidden".to_owned()));
    assert_eq!((report.count(CheckOutcome::Failed), report.count(CheckOutcome::Warning)), (0, 2));
}

#[test]
fn the_table_and_the_pods_that_have_loaded_it() {
    let report = changed(
        |sample| sample.table = None,
        |facts| {
            facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().table =
                Ok(Gauges::everywhere(0))
        },
    );
    assert_only(&report, CheckOutcome::Failed, "table", &["it does not exist"]);
    let loaded = |table| {
        changed(nothing, |facts| {
            facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().table = table
        })
    };
    let wanted = Sample::healthy().snapshot().in_force.table.generation();
    let some = loaded(Ok(Gauges::on_threads(wanted, 2)));
    assert_only(&some, CheckOutcome::Failed, "table-loaded", &["gateway-1", "on 2 of 3 threads"]);
    assert_only(
        &loaded(Ok(Gauges::everywhere(7))),
        CheckOutcome::Failed,
        "table-loaded",
        &["gateway-1", "generation 7", "istiod"],
    );
    assert_only(
        &loaded(Ok(Gauges::default())),
        CheckOutcome::Failed,
        "table-loaded",
        &["no filter"],
    );
    assert_only(
        &loaded(Err("forbidden".to_owned())),
        CheckOutcome::Warning,
        "table-loaded",
        &["forbidden", "pods/proxy"],
    );
    let report = changed(nothing, |facts| {
        facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().ready = false
    });
    assert_only(&report, CheckOutcome::Failed, "gateway-pods", &["istio=fedgate"]);
}
