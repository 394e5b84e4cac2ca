//! Tests the checks of what this cluster offers to its peers.

use super::{assert_only, changed, found, nothing};
use crate::identity::ClusterIdentity;
use crate::inspect::check::{CheckOutcome, cluster};
use crate::sample::{NAMESPACE, Sample, keyed, read};
use crate::sources::{self, Observed, service};
use fedgate_exchange::loopback::{Leaf, TestCa};
use fedgate_federation::bundle::Root;
use fedgate_federation::federate::Published;
use jiff::{SignedDuration, ToSpan};
use serde_json::json;

#[test]
fn what_is_missing_in_the_cluster() {
    let report = changed(
        |sample| {
            let identity = fedgate_exchange::loopback::identity();
            let identity = ClusterIdentity {
                cluster_uuid: identity.cluster_uuid,
                keys: identity.key.into(),
                replaced_at: None,
            };
            (sample.local, sample.missing) =
                Observed::default().cluster(&sample.settings, &identity);
            sample.write(&Published::default());
        },
        nothing,
    );
    let failed = |name: &str| {
        let mut checks = report.sections.iter().flat_map(|section| &section.checks);
        checks
            .find(|check| check.name == name && check.outcome == CheckOutcome::Failed)
            .unwrap()
            .clone()
    };
    assert!(failed("roots").detail.contains("istio-ca-root-cert"));
    assert!(failed("gateway-addresses").hint.unwrap().contains("--advertise"));
}

#[test]
fn roots_that_expire() {
    let sample = Sample::healthy();
    let expiry = sample.local.roots[0].not_after();
    let at = |days: i64| {
        let report =
            cluster::section(&sample.snapshot(), expiry - SignedDuration::from_hours(24 * days));
        report.checks.into_iter().find(|check| check.name == "roots").unwrap()
    };
    assert_eq!(
        [at(31), at(29), at(-1)].map(|check| check.outcome),
        [CheckOutcome::Ok, CheckOutcome::Warning, CheckOutcome::Failed]
    );
}

#[test]
fn the_certificate_of_the_metadata_endpoint() {
    let ours = fedgate_core::TrustDomain::parse("alpha.example").unwrap();
    let ca = fedgate_exchange::loopback::TestCa::new();
    let report = |leaf: Option<fedgate_exchange::loopback::Leaf>| {
        let folder = tempfile::tempdir().unwrap();
        changed(
            |sample| {
                sample.local.credentials = fedgate_federation::credentials::Credentials::default();
                if let Some(leaf) = &leaf {
                    std::fs::write(folder.path().join("tls.crt"), &leaf.chain).unwrap();
                    std::fs::write(folder.path().join("tls.key"), &leaf.key).unwrap();
                    sample.local.credentials = crate::endpoint::read(folder.path(), &ours);
                }
                sample.write(&Published::default());
            },
            nothing,
        )
    };
    let (outcome, detail) = found(&report(Some(ca.leaf())), "metadata-certificate");
    assert!(outcome == CheckOutcome::Ok && detail.contains("valid until"), "{detail}");
    assert_only(
        &report(Some(ca.expired_leaf())),
        CheckOutcome::Failed,
        "metadata-certificate",
        &["expired at 2001-01-01"],
    );
    assert_only(
        &report(Some(ca.leaf_of(&[]))),
        CheckOutcome::Failed,
        "metadata-certificate",
        &["names no host"],
    );
    let (outcome, detail) = found(&report(None), "metadata-certificate");
    assert!(outcome == CheckOutcome::Skipped && detail.contains("plain HTTP"), "{detail}");
}

#[test]
fn the_certificate_of_the_gateway() {
    let ca = TestCa::new();
    let report = |leaf: Option<Leaf>| {
        changed(
            |sample| {
                let chains = leaf.iter().map(|leaf| ("gateway-1".to_owned(), leaf.der().into()));
                let presented = chains.collect::<crate::presented::Presented>();
                let pods = crate::presented::chains(Some(&presented), NAMESPACE);
                let roots = [Root::from_der(&ca.der()).unwrap()];
                let config_map = (NAMESPACE, "istio-ca-root-cert");
                let ours = sample.local.trust_domain.clone();
                sample.local.credentials =
                    sources::roots::credentials(&roots, config_map, &pods, &ours);
                sample.write(&Published::default());
            },
            nothing,
        )
    };
    let uri = "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway";
    let now = Sample::healthy().now;
    let lasting = |hours: i64| ca.workload(&[uri], now - 24.hours(), now + hours.hours());
    let good = report(Some(lasting(24)));
    let (outcome, detail) = found(&good, "gateway-certificate");
    assert!(outcome == CheckOutcome::Ok && detail.contains("valid until 2027-01-16"), "{detail}");
    assert_only(
        &report(Some(lasting(-1))),
        CheckOutcome::Failed,
        "gateway-certificate",
        &["gateway-1", "expired at", "istioctl"],
    );
    assert_only(
        &report(Some(lasting(1))),
        CheckOutcome::Warning,
        "gateway-certificate",
        &["expires at"],
    );
    assert_only(
        &report(Some(TestCa::new().workload(&[uri], now, now))),
        CheckOutcome::Failed,
        "gateway-certificate",
        &["has signed it"],
    );
    let (outcome, detail) = found(&report(None), "gateway-certificate");
    assert!(outcome == CheckOutcome::Skipped && detail.contains("has seen none yet"), "{detail}");
}

#[test]
fn the_trust_domain_cluster_local_fails() {
    let report = changed(
        |sample| {
            sample.local.trust_domain = fedgate_core::TrustDomain::parse("cluster.local").unwrap();
            sample.write(&Published::default());
        },
        nothing,
    );
    assert_eq!(found(&report, "trust-domain").0, CheckOutcome::Failed);
}

#[test]
fn objects_in_error() {
    let unnamed = json!({
        "metadata": { "name": "db", "namespace": "shop", "labels": { "federation.istio.deckhouse.io/public-service": "" } },
        "spec": { "ports": [{ "port": 5432 }] },
    });
    let report = changed(
        |sample| sample.observed.services.extend(keyed("shop", "db", service::keep(read(unnamed)))),
        nothing,
    );
    assert_only(&report, CheckOutcome::Failed, "objects", &["Service shop/db", "unnamed_port"]);
}
