//! Tests the checks of each peer.

use super::{assert_only, changed, nothing};
use crate::inspect::check::CheckOutcome;
use crate::sample::{Sample, federation_object, keyed, read};
use crate::sources::federation;
use fedgate_exchange::importer::FetchFailure;
use fedgate_federation::document::{GatewayAddress, GatewayHost, Outcome};
use fedgate_federation::knowledge::{
    ClockReading, DataplaneReason, DocumentKind, ExchangeReason, ProbeResult,
};
use jiff::SignedDuration;

#[test]
fn what_keeps_metadata_from_being_exchanged() {
    let failed = |kind, reason, message: &str| {
        let message = message.to_owned();
        changed(
            move |sample| {
                let now = sample.now;
                sample.change_knowledge(|knowledge| {
                    knowledge.record_failure(kind, reason, &message, now)
                });
            },
            nothing,
        )
    };
    let (public, private) = (DocumentKind::Public, DocumentKind::Private);
    let tls = FetchFailure::Tls("the endpoint's certificate has expired".to_owned());
    assert_only(
        &failed(public, tls.reason(), &tls.to_string()),
        CheckOutcome::Failed,
        "public-metadata",
        &["has expired", "openssl"],
    );
    let silent = FetchFailure::Connect("refused".to_owned());
    let report = failed(public, silent.reason(), &silent.to_string());
    assert_only(
        &report,
        CheckOutcome::Failed,
        "public-metadata",
        &["beta.example:443", "NetworkPolicies"],
    );
    let unknown =
        failed(private, ExchangeReason::NonOkResponse, "401: the peer does not know us yet");
    assert_only(&unknown, CheckOutcome::Failed, "private-metadata", &["401", "our trust domain"]);
    let other =
        failed(public, ExchangeReason::NonOkResponse, "expected HTTP status 200, found 404");
    assert_only(&other, CheckOutcome::Failed, "public-metadata", &["404", "spec.metadataEndpoint"]);
}

#[test]
fn gateways_of_a_peer() {
    let probed = |probed: ProbeResult| {
        changed(
            move |sample| {
                let now = sample.now;
                sample.change_knowledge(|knowledge| knowledge.record_probe(&probed, now));
            },
            nothing,
        )
    };
    let gateway = |address| GatewayAddress {
        address: GatewayHost::parse(address).unwrap(),
        port: fedgate_core::ServicePort::new(15443).unwrap(),
    };
    let refused = || (gateway("192.0.2.7"), Err("connection refused".to_owned()));
    let all = probed(ProbeResult::Gateways {
        outcomes: vec![refused()],
        depth: fedgate_federation::knowledge::ProbeDepth::Server,
    });
    assert_only(
        &all,
        CheckOutcome::Failed,
        "peer-gateway",
        &["ProbeFailed", "192.0.2.7:15443: connection refused", "firewalls"],
    );
    let one = probed(ProbeResult::Gateways {
        outcomes: vec![refused(), (gateway("192.0.2.8"), Ok(()))],
        depth: fedgate_federation::knowledge::ProbeDepth::Server,
    });
    assert_eq!((one.count(CheckOutcome::Failed), one.count(CheckOutcome::Skipped)), (0, 0));
}

#[test]
fn a_peers_clock() {
    let skewed = |seconds| {
        let read = move |sample: &mut Sample| {
            let (ours, theirs) = (sample.now, sample.now + SignedDuration::from_secs(seconds));
            sample.change_knowledge(|knowledge| {
                knowledge.record_clock(ClockReading { ours, theirs })
            });
        };
        changed(read, nothing)
    };
    assert_only(&skewed(-45), CheckOutcome::Warning, "peer-clock", &["45 s behind ours", "NTP"]);
    assert_eq!(skewed(20).count(CheckOutcome::Warning), 0);
}

#[test]
fn a_private_document_is_not_judged_while_the_public_one_fails() {
    let report = changed(
        |sample| {
            let now = sample.now;
            sample.change_knowledge(|knowledge| {
                for kind in [DocumentKind::Public, DocumentKind::Private] {
                    knowledge.record_failure(
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
    assert_only(&report, CheckOutcome::Failed, "public-metadata", &["refused"]);
    assert_eq!(report.count(CheckOutcome::Skipped), 1);
}

#[test]
fn an_unconfirmed_peer_becomes_stale_and_then_expires() {
    let after = |time: SignedDuration| {
        let later = |sample: &mut Sample| {
            sample.now += time;
            sample.lease.as_mut().unwrap().spec.as_mut().unwrap().renew_time.as_mut().unwrap().0 =
                sample.now;
        };
        changed(later, nothing)
    };
    assert_eq!(after(SignedDuration::from_mins(4)).count(CheckOutcome::Warning), 0);
    assert_only(
        &after(SignedDuration::from_mins(6)),
        CheckOutcome::Warning,
        "fresh",
        &["still used"],
    );
    let expired = after(SignedDuration::from_hours(25));
    let checks = || expired.sections.iter().flat_map(|section| &section.checks);
    assert!(checks().any(|check| check.name == "fresh" && check.outcome == CheckOutcome::Failed));
}

#[test]
fn an_unacceptable_peer_fails_and_our_own_object_does_not() {
    let put = |name: &str, trust_domain: &str| {
        let mut object = federation_object(name);
        object["spec"]["trustDomain"] = trust_domain.into();
        let object = federation::keep(read(object));
        changed(|sample| sample.observed.federations.extend(keyed("", name, object)), nothing)
    };
    assert_only(
        &put("gamma", "cluster.local"),
        CheckOutcome::Failed,
        "accepted",
        &["cluster.local"],
    );
    let ours = put("alpha", "alpha.example");
    assert_eq!((ours.count(CheckOutcome::Failed), ours.count(CheckOutcome::Skipped)), (0, 1));
}

#[test]
fn what_a_peer_sees_of_us() {
    let seen = |ago: i64| {
        let probed = move |sample: &mut Sample| {
            let since = sample.now - SignedDuration::from_secs(ago);
            let probe = Outcome { reason: DataplaneReason::ProbeFailed, since };
            sample.change_knowledge(|knowledge| {
                let document = &mut knowledge.private.as_mut().unwrap().document;
                let view = document.extension.as_mut().unwrap().view.as_mut().unwrap();
                view.probe = Some(probe);
            });
        };
        changed(probed, nothing)
    };
    let texts = ["our turn: beta's probe of our gateways fails", "fedgate status"];
    assert_only(&seen(120), CheckOutcome::Warning, "far-side", &texts);
    // The counterpart: it may still pass.
    assert_eq!(seen(119).count(CheckOutcome::Warning), 0);
}
