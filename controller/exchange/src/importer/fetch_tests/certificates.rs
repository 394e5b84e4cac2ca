//! Which certificates an endpoint may show.

use super::*;

#[tokio::test]
async fn the_certificate_must_come_from_the_peers_ca_or_a_system_root() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let server = answering(&ca.leaf(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let own = |ca: &TestCa| EndpointTls::SystemAnd(vec![ca.der()]);
    let system = SystemRoots::only([ca.der().into_vec().into()]).unwrap();
    assert_eq!(fetch_with(&server, &own(&ca), &no_roots()).await, fresh("{}"));
    assert_eq!(fetch_with(&server, &EndpointTls::System, &system).await, fresh("{}"));
    // In addition to the system's roots, not instead of them.
    assert_eq!(fetch_with(&server, &own(&other), &system).await, fresh("{}"));
    for tls in [own(&other), EndpointTls::System] {
        let failure = fetch_with(&server, &tls, &no_roots()).await.unwrap_err();
        assert!(failure.to_string().contains("spec.metadata.ca"), "{failure}");
    }
}

#[tokio::test]
async fn the_certificate_must_be_valid_now_and_for_the_host() {
    let ca = TestCa::new();
    for (leaf, word, detail) in [
        (ca.expired_leaf(), "expired", "2001-01-01T00:00:00Z"),
        (ca.leaf_for("beta.example"), "another host", "it names beta.example"),
    ] {
        let server = answering(&leaf, "HTTP/1.1 200 OK\r\n\r\n{}").await;
        let failure = fetch(&server, &ca).await.unwrap_err();
        assert!(
            matches!(&failure, FetchFailure::Tls(message) if message.contains(word)),
            "{failure:?}"
        );
        assert!(
            matches!(&failure, FetchFailure::Tls(message) if message.contains(detail)),
            "{failure:?}"
        );
        // The counterpart: only the certificate was at fault.
        assert_eq!(fetch_with(&server, &EndpointTls::Unverified, &no_roots()).await, fresh("{}"));
    }
}

/// As `openssl req -x509` makes it. Go's TLS accepts it too.
#[tokio::test]
async fn a_ca_certificate_is_accepted_for_a_server_only_if_listed_in_ca() {
    let ca = TestCa::for_host("127.0.0.1", 2100);
    let server = answering(&ca.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let exactly = |ca: &TestCa| EndpointTls::SystemAnd(vec![ca.der()]);
    let refusal = async |server: &Server, tls: EndpointTls, system: SystemRoots| {
        fetch_with(server, &tls, &system).await.unwrap_err().to_string()
    };
    assert_eq!(fetch_with(&server, &exactly(&ca), &no_roots()).await, fresh("{}"));
    // The same `ca` accepts a leaf that it signed, but no other certificate for the same host.
    let leaf = answering(&ca.leaf(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    assert_eq!(fetch_with(&leaf, &exactly(&ca), &no_roots()).await, fresh("{}"));
    let twin = TestCa::for_host("127.0.0.1", 2100);
    assert!(refusal(&server, exactly(&twin), no_roots()).await.contains("spec.metadata.ca"));
    // A system root does not say who owns this address.
    let system = SystemRoots::only([ca.der().into_vec().into()]).unwrap();
    assert!(
        refusal(&server, EndpointTls::System, system).await.contains("CA certificate as its own")
    );
    // Host and dates are checked.
    let elsewhere = TestCa::for_host("meta.beta.example", 2100);
    let server = answering(&elsewhere.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let message = refusal(&server, exactly(&elsewhere), no_roots()).await;
    assert!(message.contains("it names meta.beta.example"), "{message}");
    let old = TestCa::for_host("127.0.0.1", 2001);
    let server = answering(&old.itself(), "HTTP/1.1 200 OK\r\n\r\n{}").await;
    let message = refusal(&server, exactly(&old), no_roots()).await;
    assert!(message.contains("expired at 2001-01-01T00:00:00Z"), "{message}");
}
