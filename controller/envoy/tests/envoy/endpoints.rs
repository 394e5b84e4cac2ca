//! Back ends that are gone.

use super::pki::Authority;
use super::process::{free_port, until};
use super::tls::{BlackHole, Echo, TlsClient, connect_tls, open_tls};
use super::world::{Cluster, LOOPBACK, service};
use fedgate_envoy::connections::EARLY_DATA;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const WEB: &str = "web.shop.svc.alpha.example:80";
const EJECTED: &str = r"cluster\..*\.outlier_detection\.ejections_active";

fn connect(alpha: &Cluster, beta: &Authority) -> TlsClient {
    let caller = beta.workload("ns/shop/sa/client");
    connect_tls(alpha.address(), &caller, &service(WEB).sni()).unwrap()
}

/// alpha whose `web` has these endpoints, and its peer beta.
fn alpha_with(endpoints: &[SocketAddr]) -> (Cluster, Authority) {
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    alpha.peer(&beta);
    alpha.exports.insert(
        service(WEB),
        (BTreeSet::from_iter(endpoints.iter().copied()), vec![beta.trust_domain.clone()]),
    );
    alpha.publish();
    (alpha, beta)
}

fn call(alpha: &Cluster, beta: &Authority) -> io::Result<TlsClient> {
    open_tls(alpha.address(), &beta.workload("ns/shop/sa/client"), &service(WEB).sni())
}

fn refusing() -> SocketAddr {
    SocketAddr::new(LOOPBACK, free_port())
}

#[test]
fn calls_avoid_an_endpoint_that_refuses_connections() {
    let echo = Echo::start();
    let (alpha, beta) = alpha_with(&[echo.address, refusing(), refusing()]);
    let envoy = alpha.gateway();
    for number in 0..80 {
        call(&alpha, &beta).unwrap_or_else(|error| panic!("call {number}: {error}"));
    }
    assert_eq!(echo.connections(), 80);
    until("both are out", || (envoy.stat(EJECTED) == 2).then_some(()));
}

#[test]
fn calls_avoid_an_endpoint_that_does_not_answer() {
    let (echo, hole) = (Echo::start(), BlackHole::dig());
    let (alpha, beta) = alpha_with(&[echo.address, hole.address]);
    let envoy = alpha.gateway();
    for number in 0..80 {
        call(&alpha, &beta).unwrap_or_else(|error| panic!("call {number}: {error}"));
    }
    until("it is out", || (envoy.stat(EJECTED) == 1).then_some(()));
    until("calls not to wait for it any more", || {
        let start = Instant::now();
        call(&alpha, &beta).unwrap();
        (start.elapsed() < Duration::from_secs(1)).then_some(())
    });
}

/// Reading from the client does not wait for the back end, but its data and its end do.
#[test]
fn what_a_client_sends_before_the_back_end_is_connected_arrives_whole() {
    let (echo, hole) = (Echo::start(), BlackHole::dig());
    let (alpha, beta) = alpha_with(&[echo.address, hole.address]);
    let _envoy = alpha.gateway();
    let sent: Vec<u8> = (0_u32..25_000).flat_map(u32::to_be_bytes).collect();
    // One of the two waits for the endpoint that does not answer.
    let mut clients = [connect(&alpha, &beta), connect(&alpha, &beta)];
    for client in &mut clients {
        client.write_all(&sent).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
    }
    for client in &mut clients {
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == sent, "the bytes differ");
    }
}

#[test]
fn a_client_cannot_fill_the_memory_while_no_back_end_answers() {
    let hole = BlackHole::dig();
    let (alpha, beta) = alpha_with(&[hole.address]);
    let envoy = alpha.gateway();
    let mut client = connect(&alpha, &beta);
    while client.write_all(&[0; 16 * 1024]).is_ok() {}
    let received = envoy.stat(r"tcp\.federation\.downstream_cx_rx_bytes_total");
    let limit = u64::from(EARLY_DATA);
    assert!((limit..=3 * limit).contains(&received), "Envoy has taken on {received} bytes");
}

#[test]
fn calls_fail_fast_while_all_endpoints_are_dead_and_recover() {
    let (first, second) = (refusing(), refusing());
    let (alpha, beta) = alpha_with(&[first, second]);
    let envoy = alpha.gateway();
    let start = Instant::now();
    until("both are out", || {
        assert!(call(&alpha, &beta).is_err());
        (envoy.stat(EJECTED) == 2).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let _echo = Echo::at(second);
    // The other endpoint may just have returned to rotation alone. The next call ejects it again.
    until("the first call is answered", || call(&alpha, &beta).ok());
    for number in 0..20 {
        call(&alpha, &beta).unwrap_or_else(|error| panic!("call {number}: {error}"));
    }
}
