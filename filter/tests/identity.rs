//! The client's identity, by what the listener says about its certificate.

mod support;

use fedgate_filter::host::Property;
use support::*;

/// The outcome for a client when the listener says `told` after the handshake and the first URI SAN
/// is `first`. It is the same whether the client sends data or stays silent.
#[track_caller]
fn reason_for(told: &[u8], first: &str) -> String {
    let mut gateway = Gateway::with(&usual());
    let (speaks, silent) = (gateway.connect(WEB), gateway.connect(WEB));
    for client in [speaks, silent] {
        gateway.show_certificate(client, first);
        gateway.set(client, Property::PeerUriSans, told);
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
fn one_name_is_judged_and_two_are_refused() {
    let told = |names: &[&str]| reason_for(names.join(",").as_bytes(), names[0]);
    assert_eq!(told(&[ALPHA]), "granted");
    assert_eq!(told(&[GAMMA]), "not_granted");
    for names in [
        &[ALPHA, GAMMA],
        &[GAMMA, ALPHA],
        &[ALPHA, ALPHA],
        &[ALPHA, ""],
        &["", ALPHA],
        &[ALPHA, "-"],
        &["-", ALPHA],
    ] {
        assert_eq!(told(names), "bad_identity", "{names:?}");
    }
}

/// Envoy escapes nothing, so a client controls every byte. The first URI SAN is valid each time,
/// but only what the listener says counts.
#[test]
fn whatever_a_client_has_written_into_its_name_is_judged_as_a_name() {
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
    for told in odd {
        assert_eq!(reason_for(told, ALPHA), "bad_identity", "{}", String::from_utf8_lossy(told));
    }
}

/// No URI SAN is no identity, however it is written; `-` is what Envoy writes for none.
#[test]
fn no_name_is_no_identity() {
    assert_eq!(reason_for(b"-", ""), "no_identity");
    assert_eq!(reason_for(b"-", "-"), "no_identity");
    assert_eq!(reason_for(b"-", ALPHA), "no_identity");
}

/// Until the listener says something, no certificate counts.
#[test]
fn an_empty_word_is_no_proof() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.show_certificate(client, ALPHA);
    gateway.set(client, Property::PeerUriSans, b"");
    gateway.tick();
    assert!(gateway.is_open(client) && gateway.upstream(client).is_none());
    assert!(!gateway.downstream_data(client));
    assert_eq!(gateway.reason(client), "no_identity");
}

/// An earlier listener says only that the handshake is finished.
#[test]
fn under_an_older_listener_the_first_name_is_judged() {
    assert_eq!(reason_for(b"finished", ALPHA), "granted");
    assert_eq!(reason_for(b"finished", GAMMA), "not_granted");
    assert_eq!(reason_for(b"finished", ""), "no_identity");
    // The result for a client that calls itself `finished`, with a listener of either version.
    assert_eq!(reason_for(b"finished", "finished"), "bad_identity");
    assert_eq!(reason_for(b"Finished", ALPHA), "bad_identity");
}

/// A look at a connection that is not ready costs one host call, however many connections there
/// are.
#[test]
fn a_look_costs_one_question() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.show_certificate(client, ALPHA);
    gateway.take_calls();
    gateway.tick();
    let questions = gateway.take_calls().iter().filter(|&&call| call == "property").count();
    assert_eq!(questions, 1);
}
