//! Envoys with few descriptors, and strangers that try to take them all.

use super::pki::Authority;
use super::process::{Envoy, until};
use super::tls::{Echo, TlsEcho, open_plain, open_tls, ping};
use super::world::{Cluster, service};
use fedgate_envoy::Descriptors;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

const WEB: &str = "web.shop.svc.alpha.example:80";
const WORKERS: u64 = 2;

/// Opens more connections than there are descriptors, from a silent client.
fn flood(address: std::net::SocketAddr, count: u64) -> Vec<TcpStream> {
    (0..count).filter_map(|_| TcpStream::connect(address).ok()).collect()
}

/// How many connections the gateway closed because of its limit.
fn refused(envoy: &Envoy) -> u64 {
    envoy.stat(r"listener\.federation\.downstream_cx_overflow")
}

/// Likewise for a port of the egress, where one limit covers all ports.
fn refused_by_port(envoy: &Envoy, port: &str) -> u64 {
    envoy.stat(&format!(r"listener\.{port}\.downstream_global_cx_overflow"))
}

/// Returns true if the gateway tells local programs that it runs.
fn answers(cluster: &Cluster) -> bool {
    let address =
        SocketAddr::from_abstract_name(cluster.files.gateway_socket().trim_start_matches('@'))
            .unwrap();
    let mut stream = UnixStream::connect_addr(&address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: fedgate\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// How many connections a gateway reserves for local programs.
const LOCAL: u32 = 8;

#[test]
fn a_gateway_survives_more_connections_than_descriptors() {
    let echo = Echo::start();
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    alpha.peer(&beta);
    alpha.export(WEB, echo.address, &[&beta]);
    let descriptors = Descriptors { limit: 256, workers: WORKERS };
    alpha.connections = descriptors.gateway();
    alpha.publish();
    let mut envoy = alpha.limited_gateway(descriptors.limit);
    let address = alpha.address();
    let call = || open_tls(address, &beta.workload("ns/shop/sa/client"), &service(WEB).sni());

    // A granted peer takes all slots, each with a connection to the back end.
    let slots = alpha.connections.0 - LOCAL;
    let mut granted: Vec<_> = (0..slots)
        .map(|number| {
            call().unwrap_or_else(|error| panic!("connection {number} of {slots}: {error}"))
        })
        .collect();
    assert!(call().is_err(), "one more is refused");
    let strangers = flood(address, 600);
    until("strangers are refused and counted", || (refused(&envoy) >= 500).then_some(()));
    envoy.lives();
    assert!(answers(&alpha), "the controller would take the gateway for dead");
    granted.iter_mut().for_each(|open| ping(open).unwrap());

    // While it runs, its limit rises, and then falls.
    drop(strangers);
    alpha.connections.0 += 4;
    assert_eq!(
        alpha.publish().changed,
        ["gateway/limits.json", "gateway/filter/filter.json"],
        "no restart is needed"
    );
    granted.push(until("one more has room", || call().ok()));
    alpha.connections.0 = 1;
    alpha.publish();
    until("none has room", || call().err());
    granted.iter_mut().for_each(|open| ping(open).unwrap());
    alpha.connections = descriptors.gateway();
    alpha.publish();
    drop(granted);
    until("there is room again", || call().ok());

    // Only strangers. A peer gets in as soon as their time is up.
    let strangers = flood(address, 600);
    envoy.lives();
    until("those that say nothing are gone", || call().ok());
    drop(strangers);
}

#[test]
fn an_egress_survives_more_connections_than_descriptors() {
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    let gateway = TlsEcho::start(&beta.workload("ns/istio-system/sa/gateway"), &alpha.authority);
    alpha.peer(&beta);
    let descriptors = Descriptors { limit: 256, workers: WORKERS };
    let names: Vec<_> = (0..descriptors.egress_ports(900))
        .map(|number| format!("web-{number}.shop.svc.beta.example:80"))
        .collect();
    assert_eq!(names.len(), 40);
    for name in &names {
        alpha.import(name, &[("127.0.0.1", gateway.address.port())]);
    }
    alpha.connections = descriptors.egress(900);
    alpha.publish_imports();
    let mut envoy = alpha.limited_egress(descriptors.limit);
    let mut open: Vec<_> = (0..alpha.connections.0)
        .map(|number| open_plain(alpha.port(&names[number as usize % names.len()])).unwrap())
        .collect();
    assert!(open_plain(alpha.port(&names[0])).is_err(), "one more is refused");
    let _more: Vec<_> = names.iter().flat_map(|name| flood(alpha.port(name), 10)).collect();
    let counted = || {
        refused_by_port(&envoy, &service(&names[0]).cluster().replace('.', "_").replace('|', r"\|"))
    };
    until("what is too much is refused and counted", || (counted() >= 1).then_some(()));
    open.iter_mut().for_each(|open| ping(open).unwrap());
    envoy.lives();
    drop((open, _more));
    until("there is room again", || open_plain(alpha.port(&names[39])).ok());
}

/// A client cannot hold a place by saying nothing, by saying half of something, or by saying it
/// slowly.
#[test]
fn an_unfinished_handshake_is_closed() {
    let echo = Echo::start();
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    alpha.peer(&beta);
    alpha.export(WEB, echo.address, &[&beta]);
    alpha.publish();
    let _envoy = alpha.gateway();
    let beginnings: [&[u8]; 3] =
        [b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
    let start = Instant::now();
    let open: Vec<_> = beginnings
        .iter()
        .map(|bytes| {
            let mut stream = TcpStream::connect(alpha.address()).unwrap();
            stream.write_all(bytes).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        })
        .collect();
    for (number, mut stream) in open.into_iter().enumerate() {
        // The end, or an alert followed by the end.
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(
            !timed_out && start.elapsed() < Duration::from_secs(25),
            "beginning {number}: {:?}",
            start.elapsed()
        );
    }
    assert_eq!(echo.connections(), 0);
}
