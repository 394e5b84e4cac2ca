//! Who the client is, by what the listener says of its certificate.

mod support;

use fedgate_filter::host::Property;
use support::*;

/// What becomes of a client when the listener says this once the handshake is finished, and the first URI SAN is that one. It is
/// the same whether the client speaks or is silent.
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
    for names in
        [&[ALPHA, GAMMA], &[GAMMA, ALPHA], &[ALPHA, ALPHA], &[ALPHA, ""], &["", ALPHA], &[ALPHA, "-"], &["-", ALPHA]]
    {
        assert_eq!(told(names), "bad_identity", "{names:?}");
    }
}

/// Envoy escapes nothing, so a client chooses every byte. The first URI SAN is a good one each time: only what is told counts.
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

/// A name of its own, however it looks: none of these is an identity, and `-` is what Envoy writes for none.
#[test]
fn no_name_is_no_identity() {
    assert_eq!(reason_for(b"-", ""), "no_identity");
    assert_eq!(reason_for(b"-", "-"), "no_identity");
    assert_eq!(reason_for(b"-", ALPHA), "no_identity");
}

/// Until the listener says something, nothing that is shown counts.
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

/// The listener of an earlier version says no more than that the handshake is finished.
#[test]
fn under_an_older_listener_the_first_name_is_judged() {
    assert_eq!(reason_for(b"finished", ALPHA), "granted");
    assert_eq!(reason_for(b"finished", GAMMA), "not_granted");
    assert_eq!(reason_for(b"finished", ""), "no_identity");
    // What a client gets that calls itself so, from a listener of either version.
    assert_eq!(reason_for(b"finished", "finished"), "bad_identity");
    assert_eq!(reason_for(b"Finished", ALPHA), "bad_identity");
}

/// A look at a connection that is not ready costs one question, however many there are.
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
