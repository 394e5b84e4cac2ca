//! The client's identity is proven by the property that the listener writes once the handshake is
//! finished.

use crate::support::*;
use fedgate_wasm_host::{
    Certificate, Client, Handshake, HandshakeProperty, ListenerSettings, Proxy,
};

const ALL: [HandshakeProperty; 3] =
    [HandshakeProperty::PeerUriSans, HandshakeProperty::Finished, HandshakeProperty::Nothing];

fn gateway_writing(handshake_property: HandshakeProperty) -> Proxy {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.set_listener(LISTENER, ListenerSettings::current().writing(handshake_property));
    proxy
}

fn names(service: &str, uri_sans: &[&str]) -> Client {
    Client::calling(&sni(service)).with(&Certificate::new(uri_sans))
}

/// The reason why both a client that sends data and a silent one are refused, or `granted`.
#[track_caller]
fn reason(handshake_property: HandshakeProperty, uri_sans: &[&str]) -> String {
    let mut proxy = gateway_writing(handshake_property);
    let speaks = call(&mut proxy, names(FEED, uri_sans));
    let silent = proxy.connect(LISTENER, names(FEED, uri_sans));
    proxy.client_finishes_handshake(silent);
    proxy.advance(20_000);
    let reason = outcome_and_reason(&proxy, speaks).1.to_owned();
    for connection in [speaks, silent] {
        match reason.as_str() {
            "granted" => assert_passes(&proxy, connection, FEED),
            reason => assert_refused(&proxy, connection, reason),
        }
    }
    reason
}

/// A certificate is public. Until its key has been used, anyone may have sent it.
#[test]
fn a_certificate_without_proof_of_its_key_is_not_an_identity() {
    for handshake_property in ALL {
        let mut proxy = gateway_writing(handshake_property);
        let connection = connect(&mut proxy, FEED, ALPHA);
        proxy.client_shows_certificate(connection);
        proxy.advance(10_000);
        assert_eq!(proxy.stream(connection).handshake(), Handshake::CertificateRead);
        assert_eq!(proxy.stream(connection).upstream(), None);
        assert!(is_open(&proxy, connection));
        proxy.advance(10_000);
        assert_refused(&proxy, connection, "no_identity");
    }
}

#[test]
fn a_client_that_sends_no_data_is_judged_like_one_that_does() {
    assert_eq!(reason(HandshakeProperty::PeerUriSans, &[ALPHA]), "granted");
    assert_eq!(reason(HandshakeProperty::PeerUriSans, &[STRANGER]), "unknown_peer");
    assert_eq!(reason(HandshakeProperty::PeerUriSans, &[]), "no_identity");
}

#[test]
fn several_uri_sans_are_refused_even_if_the_first_would_pass() {
    for uri_sans in [
        &[ALPHA, GAMMA][..],
        &[GAMMA, ALPHA],
        &[ALPHA, ALPHA],
        &[ALPHA, ""],
        &["", ALPHA],
        &[ALPHA, "-"],
        &["-", ALPHA],
        &[ALPHA, "finished"],
        &["finished", ALPHA],
        &[ALPHA, "https://alpha.example", GAMMA],
    ] {
        assert_eq!(
            reason(HandshakeProperty::PeerUriSans, uri_sans),
            "bad_identity",
            "{uri_sans:?}"
        );
    }
}

/// Envoy escapes nothing in a name, so the client controls everything that the filter reads.
#[test]
fn a_uri_san_that_imitates_the_handshake_property_is_refused() {
    let comma = format!("{ALPHA},");
    let nul = format!("{ALPHA}\0");
    let long = format!("spiffe://alpha.example/{}", "a".repeat(10_000));
    for (name, expected) in [
        ("-", "no_identity"),
        ("", "no_identity"),
        ("finished", "bad_identity"),
        ("%DOWNSTREAM_PEER_URI_SAN%", "bad_identity"),
        ("spiffe://alpha.example/a%2Cb", "bad_identity"),
        ("spiffe://alpha.example/a\"b\n", "bad_identity"),
        (&comma, "bad_identity"),
        (&nul, "bad_identity"),
        (&long, "bad_identity"),
    ] {
        assert_eq!(reason(HandshakeProperty::PeerUriSans, &[name]), expected, "{name}");
    }
}

/// Listener and filter reach a gateway separately. With an earlier listener, the filter judges by
/// the first name, by which the listener chose the root.
#[test]
fn an_older_listener_admits_the_same_callers() {
    for (uri_sans, expected) in [
        (&[ALPHA][..], "granted"),
        (&[GAMMA], "granted"),
        (&[STRANGER], "unknown_peer"),
        // A second name goes unnoticed there, and gains nothing.
        (&[ALPHA, STRANGER], "granted"),
        (&[STRANGER, ALPHA], "unknown_peer"),
        (&["finished"], "bad_identity"),
        (&["finished", ALPHA], "bad_identity"),
        (&["-"], "no_identity"),
        (&[], "no_identity"),
    ] {
        assert_eq!(reason(HandshakeProperty::Finished, uri_sans), expected, "{uri_sans:?}");
    }
}

/// A listener that does not write the property was not configured by fedgate: no client has an
/// identity there.
#[test]
fn a_listener_without_the_handshake_property_admits_no_caller() {
    for uri_sans in [&[ALPHA][..], &[ALPHA, GAMMA], &[]] {
        assert_eq!(reason(HandshakeProperty::Nothing, uri_sans), "no_identity");
    }
}

/// Each client is judged by the property that its own listener writes.
#[test]
fn a_listener_may_be_replaced_while_clients_wait() {
    for (before, after) in [
        (HandshakeProperty::Finished, HandshakeProperty::PeerUriSans),
        (HandshakeProperty::PeerUriSans, HandshakeProperty::Finished),
    ] {
        let mut proxy = gateway_writing(before);
        let old = connect(&mut proxy, FEED, ALPHA);
        proxy.set_listener(LISTENER, ListenerSettings::current().writing(after));
        let new = connect(&mut proxy, FEED, GAMMA);
        for connection in [old, new] {
            proxy.client_finishes_handshake(connection);
        }
        proxy.advance(1_000);
        for connection in [old, new] {
            assert_passes(&proxy, connection, FEED);
        }
    }
}
