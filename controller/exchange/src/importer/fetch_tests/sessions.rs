//! When a TLS session is resumed, and when the endpoint's certificate is verified again.

use super::super::client::VERIFIED_FOR;
use super::*;
use rustls::HandshakeKind::{self, Full, Resumed};
use std::sync::{Arc, Mutex};

/// A server that answers `{}`, and the kinds of its handshakes.
async fn counting(leaf: &Leaf) -> (Server, Arc<Mutex<Vec<HandshakeKind>>>) {
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let noted = kinds.clone();
    let server = Server::tls(leaf, move |_, stream| {
        noted.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
        send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into())
    })
    .await;
    (server, kinds)
}

/// A round with one fetch.
async fn round(connector: &Connector, server: &Server) -> Result<Answer, FetchFailure> {
    let client = connector.client(&limits()).unwrap();
    get(&client, get_x(server), &TestClock::new()).await.answer
}

fn connector(ca: &TestCa) -> Connector {
    Connector::new(&EndpointTls::SystemAnd(vec![ca.der()]), &no_roots(), None, None).unwrap()
}

#[tokio::test]
async fn rounds_resume_a_session_and_another_connector_does_not() {
    let ca = TestCa::new();
    let (server, kinds) = counting(&ca.leaf()).await;
    let (first, second) = (connector(&ca), connector(&ca));
    for connector in [&first, &first, &second, &first] {
        assert_eq!(round(connector, &server).await, fresh("{}"));
    }
    assert_eq!(*kinds.lock().unwrap(), [Full, Resumed, Full, Resumed]);
}

#[tokio::test]
async fn a_replaced_certificate_is_verified_at_once() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let tls = ca.leaf().tls();
    let replaced = tls.clone();
    let server = Server::tcp(move |stream| {
        let tls = tls.clone();
        async move {
            let Ok(stream) = tls.acceptor().accept(stream).await else { return };
            send(stream, "HTTP/1.1 200 OK\r\n\r\n{}".into()).await;
        }
    })
    .await;
    let connector = connector(&ca);
    assert_eq!(round(&connector, &server).await, fresh("{}"));
    for (leaf, is_good) in [(ca.leaf(), true), (other.leaf(), false)] {
        replaced.replace(leaf.chain.as_bytes(), leaf.key.as_bytes()).unwrap();
        let answer = round(&connector, &server).await;
        assert_eq!(answer.is_ok(), is_good, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_is_used_for_a_limited_time() {
    let connector = connector(&TestCa::new());
    tokio::time::advance(VERIFIED_FOR - Duration::from_secs(1)).await;
    assert!(!connector.is_old());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(connector.is_old());
}
