//! Tests each check in a healthy cluster and in one with a fault.

use super::facts::{AmbientClients, Api, Facts, Istiod, Mesh, Owned, Pod, Served};
use super::permissions::needs;
use super::{Check, Outcome, Report, api, judge};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::identity::ClusterIdentity;
use crate::loaded::gauge::Gauges;
use crate::sample::{NAMESPACE, Sample, federation_object, keyed, read};
use crate::sources::{self, Seen, federation, service};
use fedgate_exchange::importer::FetchFailure;
use fedgate_exchange::loopback::{Leaf, TestCa};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{GatewayAddress, GatewayHost};
use fedgate_federation::federate::Published;
use fedgate_federation::knowledge::{ClockReading, DocumentKind, ExchangeReason, Probed};
use jiff::{SignedDuration, ToSpan};
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
    let proxy = Some("docker.io/istio/proxyv2:1.29.2".to_owned());
    let table = Ok(Gauges::everywhere(sample.snapshot().in_force.table.generation()));
    let pod = Pod { ready: true, table, proxy, revision: None };
    let mesh = Mesh {
        config: Ok(json!({
            "trustDomain": "alpha.example",
            "defaultConfig": { "proxyMetadata": { "ISTIO_META_DNS_CAPTURE": "true" } },
        })),
        istiods: Ok(vec![Istiod {
            name: "istiod".to_owned(),
            image: "docker.io/istio/pilot:1.30.0".to_owned(),
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
        permissions: Ok(needs(&sample.settings.places)
            .into_iter()
            .map(|need| (need, true))
            .collect()),
        snapshot: Ok(sample.snapshot()),
        pods: Ok(BTreeMap::from([("gateway-1".to_owned(), pod)])),
        mesh,
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
fn only(report: &Report, outcome: Outcome) -> Check {
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
fn told(report: &Report, outcome: Outcome, name: &str, words: &[&str]) {
    let check = only(report, outcome);
    let text =
        format!("{}: {} -> {}", check.title, check.detail, check.hint.clone().unwrap_or_default());
    assert_eq!(check.name, name, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

fn nothing<T>(_: &mut T) {}

#[test]
fn all_is_well() {
    let report = changed(nothing, nothing);
    let bad: Vec<_> = report
        .sections
        .iter()
        .flat_map(|section| &section.checks)
        .filter(|c| c.outcome != Outcome::Ok)
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

#[test]
fn without_an_api_server_or_a_controller_the_rest_is_left_out() {
    let report = changed(nothing, |facts| facts.api = Err("connection refused".to_owned()));
    told(&report, Outcome::Failed, "api-reachable", &["connection refused", "--kubeconfig"]);
    assert_eq!(report.sections.len(), 1);
    let report = changed(nothing, |facts| facts.snapshot = Err("no controller has run".to_owned()));
    told(&report, Outcome::Failed, "controller-state", &["no controller has run"]);
    assert_eq!(report.sections.len(), 3);
}

#[test]
fn kinds_and_clocks() {
    let without = |kind, versions: &[&str]| {
        let served = Served::No(versions.iter().map(|version| (*version).to_owned()).collect());
        changed(nothing, |facts| drop(facts.api.as_mut().unwrap().kinds.insert(kind, served)))
    };
    told(
        &without(Kind::IstioFederation, &[]),
        Outcome::Failed,
        "fedgate-kinds",
        &["no IstioFederation", "CustomResource"],
    );
    told(
        &without(Kind::ServiceEntry, &["v1beta1"]),
        Outcome::Failed,
        "istio-kinds",
        &["networking.istio.io/v1", "v1beta1 is"],
    );
    let ahead = |seconds| {
        let ahead = Some(SignedDuration::from_secs(seconds));
        changed(nothing, |facts| facts.api.as_mut().unwrap().ahead = ahead)
    };
    told(&ahead(-90), Outcome::Warning, "clocks", &["1m 30s behind", "NTP"]);
    assert_eq!(ahead(2).count(Outcome::Warning), 0);
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
    told(
        &report,
        Outcome::Failed,
        "permissions",
        &["patch istiofederations.deckhouse.io/status", "rbac.yaml"],
    );
    let report = changed(nothing, |facts| facts.permissions = Err("you may not ask".to_owned()));
    assert_eq!((report.count(Outcome::Failed), report.count(Outcome::Skipped)), (0, 1));
}

#[test]
fn the_lease() {
    let free = changed(
        |sample| sample.lease.as_mut().unwrap().spec.as_mut().unwrap().holder_identity = None,
        nothing,
    );
    told(
        &free,
        Outcome::Failed,
        "controller-leads",
        &["nobody holds the Lease fedgate-system/fedgate-controller"],
    );
    let late = |seconds: i64| changed(nothing, |facts| facts.now += seconds.seconds());
    told(&late(11), Outcome::Failed, "controller-leads", &["fedgate-0 has not renewed", "11s"]);
    assert_eq!(late(9).count(Outcome::Failed), 0);
}

#[test]
fn what_is_missing_in_the_cluster() {
    let report = changed(
        |sample| {
            let identity = fedgate_exchange::loopback::identity();
            let identity = ClusterIdentity {
                cluster_uuid: identity.cluster_uuid,
                key: identity.key,
                replaced_at: None,
            };
            (sample.local, sample.missing) = Seen::default().cluster(&sample.settings, &identity);
            sample.write(&Published::default());
        },
        nothing,
    );
    let failed = |name: &str| {
        let mut checks = report.sections.iter().flat_map(|section| &section.checks);
        checks.find(|check| check.name == name && check.outcome == Outcome::Failed).unwrap().clone()
    };
    assert!(failed("roots").detail.contains("istio-ca-root-cert"));
    assert!(failed("gateway-addresses").hint.unwrap().contains("--advertise"));
}

#[test]
fn roots_that_expire() {
    let sample = Sample::healthy();
    let expiry = sample.local.roots[0].not_after();
    let at = |days: i64| {
        let report = super::cluster::section(
            &sample.snapshot(),
            expiry - SignedDuration::from_hours(24 * days),
        );
        report.checks.into_iter().find(|check| check.name == "roots").unwrap()
    };
    assert_eq!(
        [at(31), at(29), at(-1)].map(|check| check.outcome),
        [Outcome::Ok, Outcome::Warning, Outcome::Failed]
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
    let line = |report: &Report| {
        let mut checks = report.sections.iter().flat_map(|section| &section.checks);
        checks
            .find(|check| check.name == "metadata-certificate")
            .map(|check| (check.outcome, check.detail.clone()))
    };
    let (outcome, detail) = line(&report(Some(ca.leaf()))).unwrap();
    assert!(outcome == Outcome::Ok && detail.contains("valid until"), "{detail}");
    told(
        &report(Some(ca.expired_leaf())),
        Outcome::Failed,
        "metadata-certificate",
        &["expired at 2001-01-01"],
    );
    told(
        &report(Some(ca.leaf_of(&[]))),
        Outcome::Failed,
        "metadata-certificate",
        &["names no host"],
    );
    let (outcome, detail) = line(&report(None)).unwrap();
    assert!(outcome == Outcome::Skipped && detail.contains("plain HTTP"), "{detail}");
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
                let place = (NAMESPACE, "istio-ca-root-cert");
                let ours = sample.local.trust_domain.clone();
                sample.local.credentials = sources::roots::credentials(&roots, place, &pods, &ours);
                sample.write(&Published::default());
            },
            nothing,
        )
    };
    let line = |report: &Report| {
        let mut checks = report.sections.iter().flat_map(|section| &section.checks);
        checks
            .find(|check| check.name == "gateway-certificate")
            .map(|check| (check.outcome, check.detail.clone()))
    };
    let uri = "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway";
    let now = Sample::healthy().now;
    let lasting = |hours: i64| ca.workload(&[uri], now - 24.hours(), now + hours.hours());
    let good = report(Some(lasting(24)));
    let (outcome, detail) = line(&good).unwrap();
    assert!(outcome == Outcome::Ok && detail.contains("valid until 2027-01-16"), "{detail}");
    told(
        &report(Some(lasting(-1))),
        Outcome::Failed,
        "gateway-certificate",
        &["gateway-1", "expired at", "istioctl"],
    );
    told(&report(Some(lasting(1))), Outcome::Warning, "gateway-certificate", &["expires at"]);
    told(
        &report(Some(TestCa::new().workload(&[uri], now, now))),
        Outcome::Failed,
        "gateway-certificate",
        &["has signed it"],
    );
    let (outcome, detail) = line(&report(None)).unwrap();
    assert!(outcome == Outcome::Skipped && detail.contains("has seen none yet"), "{detail}");
}

#[test]
fn a_trust_domain_that_names_nobody() {
    let report = changed(
        |sample| {
            sample.local.trust_domain = fedgate_core::TrustDomain::parse("cluster.local").unwrap();
            sample.write(&Published::default());
        },
        nothing,
    );
    let mut checks = report.sections.iter().flat_map(|section| &section.checks);
    assert!(checks.any(|check| check.name == "trust-domain" && check.outcome == Outcome::Failed));
}

#[test]
fn objects_in_error() {
    let unnamed = json!({
        "metadata": { "name": "db", "namespace": "shop", "labels": { "federation.istio.deckhouse.io/public-service": "" } },
        "spec": { "ports": [{ "port": 5432 }] },
    });
    let report = changed(
        |sample| sample.seen.services.extend(keyed("shop", "db", service::keep(read(unnamed)))),
        nothing,
    );
    told(&report, Outcome::Failed, "objects", &["Service shop/db", "unnamed_port"]);
}

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
    told(
        &table(None),
        Outcome::Failed,
        "gateway-written",
        &["missing: EnvoyFilter fedgate-system/fedgate-table"],
    );
    told(
        &table(Some(Owned::Foreign)),
        Outcome::Failed,
        "gateway-written",
        &["without fedgate's label", "rename or delete"],
    );
    let report = changed(nothing, |facts| {
        facts.written.as_mut().unwrap().retain(|(kind, _), _| *kind != Kind::ServiceEntry)
    });
    told(
        &report,
        Outcome::Failed,
        "imports-written",
        &["ServiceEntry fedgate-system/web.shop.svc.beta.example"],
    );
    let report = changed(nothing, |facts| facts.written = Err("forbidden".to_owned()));
    assert_eq!((report.count(Outcome::Failed), report.count(Outcome::Warning)), (0, 2));
}

#[test]
fn the_table_and_who_has_loaded_it() {
    let report = changed(
        |sample| sample.table = None,
        |facts| {
            facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().table =
                Ok(Gauges::everywhere(0))
        },
    );
    told(&report, Outcome::Failed, "table", &["it is not there"]);
    let loaded = |table| {
        changed(nothing, |facts| {
            facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().table = table
        })
    };
    let wanted = Sample::healthy().snapshot().in_force.table.generation();
    let some = loaded(Ok(Gauges::on_threads(wanted, 2)));
    told(&some, Outcome::Failed, "table-loaded", &["gateway-1", "on 2 of 3 threads"]);
    told(
        &loaded(Ok(Gauges::everywhere(7))),
        Outcome::Failed,
        "table-loaded",
        &["gateway-1", "generation 7", "istiod"],
    );
    told(&loaded(Ok(Gauges::default())), Outcome::Failed, "table-loaded", &["no filter"]);
    told(
        &loaded(Err("forbidden".to_owned())),
        Outcome::Warning,
        "table-loaded",
        &["forbidden", "pods/proxy"],
    );
    let report = changed(nothing, |facts| {
        facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap().ready = false
    });
    told(&report, Outcome::Failed, "gateway-pods", &["istio=fedgate"]);
}

#[test]
fn what_keeps_metadata_from_being_exchanged() {
    let failed = |kind, reason, message: &str| {
        let message = message.to_owned();
        changed(
            move |sample| {
                let now = sample.now;
                sample.change_knowledge(|knowledge| knowledge.failed(kind, reason, &message, now));
            },
            nothing,
        )
    };
    let (public, private) = (DocumentKind::Public, DocumentKind::Private);
    let tls = FetchFailure::Tls("the endpoint's certificate has expired".to_owned());
    told(
        &failed(public, tls.reason(), &tls.to_string()),
        Outcome::Failed,
        "public-metadata",
        &["has expired", "openssl"],
    );
    let silent = FetchFailure::Connect("refused".to_owned());
    let report = failed(public, silent.reason(), &silent.to_string());
    told(&report, Outcome::Failed, "public-metadata", &["beta.example:443", "NetworkPolicies"]);
    let unknown =
        failed(private, ExchangeReason::NonOkResponse, "401: the peer does not know us yet");
    told(&unknown, Outcome::Failed, "private-metadata", &["401", "our trust domain"]);
    let other =
        failed(public, ExchangeReason::NonOkResponse, "expected HTTP status 200, found 404");
    told(&other, Outcome::Failed, "public-metadata", &["404", "spec.metadataEndpoint"]);
}

#[test]
fn gateways_of_a_peer() {
    let probed = |probed: Probed| {
        changed(
            move |sample| {
                let now = sample.now;
                sample.change_knowledge(|knowledge| knowledge.probed(&probed, now));
            },
            nothing,
        )
    };
    let gateway = |address| GatewayAddress {
        address: GatewayHost::parse(address).unwrap(),
        port: fedgate_core::ServicePort::new(15443).unwrap(),
    };
    let refused = || (gateway("192.0.2.7"), Err("connection refused".to_owned()));
    let all = probed(Probed::Gateways {
        outcomes: vec![refused()],
        tried: fedgate_federation::knowledge::Tried::Server,
    });
    told(
        &all,
        Outcome::Failed,
        "peer-gateway",
        &["ProbeFailed", "192.0.2.7:15443: connection refused", "firewalls"],
    );
    let one = probed(Probed::Gateways {
        outcomes: vec![refused(), (gateway("192.0.2.8"), Ok(()))],
        tried: fedgate_federation::knowledge::Tried::Server,
    });
    assert_eq!((one.count(Outcome::Failed), one.count(Outcome::Skipped)), (0, 0));
}

#[test]
fn a_peers_clock() {
    let skewed = |seconds| {
        let read = move |sample: &mut Sample| {
            let (ours, theirs) = (sample.now, sample.now + SignedDuration::from_secs(seconds));
            sample
                .change_knowledge(|knowledge| knowledge.clock_read(ClockReading { ours, theirs }));
        };
        changed(read, nothing)
    };
    told(&skewed(-45), Outcome::Warning, "peer-clock", &["45 s behind ours", "NTP"]);
    assert_eq!(skewed(20).count(Outcome::Warning), 0);
}

#[test]
fn a_private_document_is_not_judged_while_the_public_one_fails() {
    let report = changed(
        |sample| {
            let now = sample.now;
            sample.change_knowledge(|knowledge| {
                for kind in [DocumentKind::Public, DocumentKind::Private] {
                    knowledge.failed(
                        kind,
                        ExchangeReason::FetchFailed,
                        "cannot connect: refused",
                        now,
                    );
                }
            });
        },
        nothing,
    );
    told(&report, Outcome::Failed, "public-metadata", &["refused"]);
    assert_eq!(report.count(Outcome::Skipped), 1);
}

#[test]
fn a_peer_that_was_not_heard_of_gets_stale_and_expires() {
    let after = |time: SignedDuration| {
        let later = |sample: &mut Sample| {
            sample.now += time;
            sample.lease.as_mut().unwrap().spec.as_mut().unwrap().renew_time.as_mut().unwrap().0 =
                sample.now;
        };
        changed(later, nothing)
    };
    assert_eq!(after(SignedDuration::from_mins(4)).count(Outcome::Warning), 0);
    told(&after(SignedDuration::from_mins(6)), Outcome::Warning, "fresh", &["still used"]);
    let expired = after(SignedDuration::from_hours(25));
    let checks = || expired.sections.iter().flat_map(|section| &section.checks);
    assert!(checks().any(|check| check.name == "fresh" && check.outcome == Outcome::Failed));
}

#[test]
fn an_object_that_is_no_peer_is_told_and_our_own_is_not() {
    let put = |name: &str, trust_domain: &str| {
        let mut object = federation_object(name);
        object["spec"]["trustDomain"] = trust_domain.into();
        let object = federation::keep(read(object));
        changed(|sample| sample.seen.federations.extend(keyed("", name, object)), nothing)
    };
    told(&put("gamma", "cluster.local"), Outcome::Failed, "accepted", &["cluster.local"]);
    let ours = put("alpha", "alpha.example");
    assert_eq!((ours.count(Outcome::Failed), ours.count(Outcome::Skipped)), (0, 1));
}

mod mesh;
mod rbac;
