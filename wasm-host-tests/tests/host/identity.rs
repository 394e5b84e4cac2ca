//! The client's identity, and when it is proven: by what the listener says once the handshake is
//! finished.

use crate::support::*;
use fedgate_wasm_host::{Certificate, Client, Handshake, ListenerSettings, Proxy, Tells};

const ALL: [Tells; 3] = [Tells::PeerUriSans, Tells::Finished, Tells::Nothing];

fn gateway_telling(tells: Tells) -> Proxy {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.set_listener(LISTENER, ListenerSettings::current().telling(tells));
    proxy
}

fn names(service: &str, uri_sans: &[&str]) -> Client {
    Client::calling(&sni(service)).with(&Certificate::new(uri_sans))
}

/// The reason why both a client that sends data and a silent one are refused, or `granted`.
#[track_caller]
fn reason(tells: Tells, uri_sans: &[&str]) -> String {
    let mut proxy = gateway_telling(tells);
    let speaks = call(&mut proxy, names(FEED, uri_sans));
    let silent = proxy.connect(LISTENER, names(FEED, uri_sans));
    proxy.client_finishes_handshake(silent);
    proxy.advance(20_000);
    let reason = verdict(&proxy, speaks).1.to_owned();
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
fn a_certificate_that_is_shown_and_not_proven_is_no_identity() {
    for tells in ALL {
        let mut proxy = gateway_telling(tells);
        let connection = connect(&mut proxy, FEED, ALPHA);
        proxy.client_shows_certificate(connection);
        proxy.advance(10_000);
        assert_eq!(proxy.stream(connection).handshake(), Handshake::CertificateSeen);
        assert_eq!(proxy.stream(connection).upstream(), None);
        assert!(is_open(&proxy, connection));
        proxy.advance(10_000);
        assert_refused(&proxy, connection, "no_identity");
    }
}

#[test]
fn a_client_that_is_silent_after_its_handshake_is_judged_like_one_that_speaks() {
    assert_eq!(reason(Tells::PeerUriSans, &[ALPHA]), "granted");
    assert_eq!(reason(Tells::PeerUriSans, &[STRANGER]), "unknown_peer");
    assert_eq!(reason(Tells::PeerUriSans, &[]), "no_identity");
}

#[test]
fn several_names_are_refused_wherever_the_first_would_pass() {
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
        assert_eq!(reason(Tells::PeerUriSans, uri_sans), "bad_identity", "{uri_sans:?}");
    }
}

/// Envoy escapes nothing in a name, so the client controls everything that the filter reads.
#[test]
fn a_name_that_imitates_what_the_listener_says_gains_nothing() {
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
        assert_eq!(reason(Tells::PeerUriSans, &[name]), expected, "{name}");
    }
}

/// Listener and filter reach a gateway separately. With an earlier listener, the filter judges by
/// the first name, by which the listener chose the root.
#[test]
fn under_an_older_listener_calls_go_on_and_nobody_else_gets_in() {
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
        assert_eq!(reason(Tells::Finished, uri_sans), expected, "{uri_sans:?}");
    }
}

/// A listener that says nothing is not ours: no client has an identity there.
#[test]
fn under_a_listener_that_says_nothing_nobody_gets_in() {
    for uri_sans in [&[ALPHA][..], &[ALPHA, GAMMA], &[]] {
        assert_eq!(reason(Tells::Nothing, uri_sans), "no_identity");
    }
}

/// A listener is replaced while clients wait. Each client is judged by what its own listener says.
#[test]
fn a_listener_is_replaced_while_clients_wait() {
    for (before, after) in
        [(Tells::Finished, Tells::PeerUriSans), (Tells::PeerUriSans, Tells::Finished)]
    {
        let mut proxy = gateway_telling(before);
        let old = connect(&mut proxy, FEED, ALPHA);
        proxy.set_listener(LISTENER, ListenerSettings::current().telling(after));
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
