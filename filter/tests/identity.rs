//! The client's identity, as the listener records it after the handshake.

mod support;

use fedgate_filter::vm::host::Property;
use support::*;

/// Returns the outcome for a client whose listener recorded `recorded` after the handshake and whose
/// first URI SAN is `first`. It is the same whether the client sends data or not.
#[track_caller]
fn reason_for(recorded: &[u8], first: &str) -> String {
    let mut gateway = Gateway::with(&usual());
    let (speaks, silent) = (gateway.connect(WEB), gateway.connect(WEB));
    for client in [speaks, silent] {
        gateway.show_certificate(client, first);
        gateway.set(client, Property::PeerUriSans, recorded);
    }
    gateway.downstream_data(speaks);
    gateway.tick_until_calm();
    let reason = gateway.reason(speaks);
    for client in [speaks, silent] {
        assert_eq!(gateway.reason(client), reason);
        assert_eq!(gateway.upstream(client).is_some(), reason == "granted");
    }
    reason
}

#[test]
fn a_single_uri_san_is_judged_and_several_are_refused() {
    let reason = |names: &[&str]| reason_for(names.join(",").as_bytes(), names[0]);
    assert_eq!(reason(&[ALPHA]), "granted");
    assert_eq!(reason(&[GAMMA]), "not_granted");
    for names in [
        &[ALPHA, GAMMA],
        &[GAMMA, ALPHA],
        &[ALPHA, ALPHA],
        &[ALPHA, ""],
        &["", ALPHA],
        &[ALPHA, "-"],
        &["-", ALPHA],
    ] {
        assert_eq!(reason(names), "bad_identity", "{names:?}");
    }
}

/// Envoy escapes nothing, so a client controls every byte. The first URI SAN is valid each time,
/// but only the listener's record counts.
#[test]
fn a_uri_san_with_odd_bytes_is_a_bad_identity() {
    let long = format!("{ALPHA}/{}", "a".repeat(10_000));
    let odd: [&[u8]; 9] = [
        b"spiffe://alpha.example/ns/shop/sa/web,",
        b"spiffe://alpha.example/ns/shop/sa/web\0",
        b"spiffe://alpha.example/ns/shop/sa/web\0spiffe://alpha.example/ns/shop/sa/web",
        b"spiffe://alpha.example/ns/shop/sa/web\xff",
        b"spiffe://alpha.example/ns/shop/sa/web%2Cx",
        b"%DOWNSTREAM_PEER_URI_SAN%",
        b"spiffe://alpha.example/ns/shop/sa/web\n",
        b"finished,finished",
        long.as_bytes(),
    ];
    for recorded in odd {
        assert_eq!(
            reason_for(recorded, ALPHA),
            "bad_identity",
            "{}",
            String::from_utf8_lossy(recorded)
        );
    }
}

/// `-` is what Envoy writes for a certificate without URI SANs.
#[test]
fn a_certificate_without_uri_san_is_refused_as_no_identity() {
    assert_eq!(reason_for(b"-", ""), "no_identity");
    assert_eq!(reason_for(b"-", "-"), "no_identity");
    assert_eq!(reason_for(b"-", ALPHA), "no_identity");
}

#[test]
fn an_empty_handshake_property_does_not_prove_an_identity() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.show_certificate(client, ALPHA);
    gateway.set(client, Property::PeerUriSans, b"");
    gateway.tick();
    assert!(gateway.is_open(client) && gateway.upstream(client).is_none());
    assert!(!gateway.downstream_data(client));
    assert_eq!(gateway.reason(client), "no_identity");
}

/// An earlier listener records only that the handshake is finished.
#[test]
fn with_an_older_listener_the_first_uri_san_is_judged() {
    assert_eq!(reason_for(b"finished", ALPHA), "granted");
    assert_eq!(reason_for(b"finished", GAMMA), "not_granted");
    assert_eq!(reason_for(b"finished", ""), "no_identity");
    // The result for a client that calls itself `finished`, with a listener of either version.
    assert_eq!(reason_for(b"finished", "finished"), "bad_identity");
    assert_eq!(reason_for(b"Finished", ALPHA), "bad_identity");
}

#[test]
fn checking_a_waiting_connection_costs_one_host_call() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.show_certificate(client, ALPHA);
    gateway.take_calls();
    gateway.tick();
    let questions = gateway.take_calls().iter().filter(|&&call| call == "property").count();
    assert_eq!(questions, 1);
}
