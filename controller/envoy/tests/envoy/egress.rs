//! The egress's files on a real Envoy.

use super::pki::Authority;
use super::process::{Envoy, end_with_inotify, free_port, until};
use super::tls::{Echo, TlsEcho, open_plain, ping};
use super::world::{Cluster, LOOPBACK, service};
use fedgate_federation::document::WorkloadIdentity;
use fedgate_federation::federate::ServerIdentity;
use std::net::SocketAddr;
use std::sync::Arc;

const WEB: &str = "web.shop.svc.beta.example:80";
const DB: &str = "db.shop.svc.beta.example:5432";
/// How many gateways are out of rotation.
const EJECTED: &str = r"cluster\..*\.outlier_detection\.ejections_active";

/// alpha, which imports `web` from a peer beta. Beta's gateway remembers what it sees.
fn alpha_with_beta() -> (Cluster, Authority, TlsEcho) {
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    let gateway = TlsEcho::start(&beta.workload("ns/istio-system/sa/gateway"), &alpha.authority);
    alpha.peer(&beta);
    alpha.import(WEB, &[("127.0.0.1", gateway.address.port())]);
    alpha.publish_imports();
    (alpha, beta, gateway)
}

#[test]
fn an_egress_starts_without_imports() {
    let mut alpha = Cluster::new("alpha.example");
    alpha.publish_imports();
    let envoy = alpha.egress();
    assert_eq!(envoy.stat("listener_manager.total_listeners_active"), 1, "it says that it runs");
}

#[test]
fn a_call_passes_through_egress_and_gateway_to_the_peers_service() {
    let echo = Echo::start();
    let (mut alpha, mut beta) = (Cluster::new("alpha.example"), Cluster::new("beta.example"));
    beta.peer(&alpha.authority);
    beta.export(WEB, echo.address, &[&alpha.authority]);
    beta.publish();
    alpha.peer(&beta.authority);
    let gateway = beta.gateway();
    alpha.import(WEB, &[("127.0.0.1", beta.address().port())]);
    alpha.import(DB, &[("127.0.0.1", beta.address().port())]);
    alpha.publish_imports();
    let egress = alpha.egress();
    drop(open_plain(alpha.port(WEB)).unwrap());
    assert!(open_plain(alpha.port(DB)).is_err());
    assert_eq!(
        gateway.logged("reason", "granted")["client_uri_san"],
        "spiffe://alpha.example/ns/istio-system/sa/gateway"
    );
    gateway.logged("reason", "unknown_service");
    let line = egress.logged("service", WEB);
    assert_eq!(line["gateway_uri_san"], "spiffe://beta.example/ns/istio-system/sa/gateway");
    assert_eq!(line["gateway"], beta.address().to_string());
    assert_eq!(echo.connections(), 1);
}

#[test]
fn the_gateway_gets_sni_alpn_and_certificate_and_no_resumed_session() {
    let (alpha, _beta, gateway) = alpha_with_beta();
    let _envoy = alpha.egress();
    for _ in 0..3 {
        open_plain(alpha.port(WEB)).unwrap();
    }
    for observed in gateway.observed() {
        assert_eq!(observed.server_name, Some(service(WEB).sni()));
        assert_eq!(observed.alpn.as_deref(), Some(&b"istio"[..]));
        assert!(!observed.resumed);
        assert_eq!(observed.client.as_deref(), Some(&*alpha.certificate));
    }
    assert_eq!(gateway.observed().len(), 3);
}

#[test]
fn only_the_peers_own_certificate_is_accepted() {
    let (mut alpha, beta, gateway) = alpha_with_beta();
    let gamma = Authority::new("gamma.example");
    alpha.peer(&gamma);
    alpha.import("web.shop.svc.gamma.example:80", &[("127.0.0.1", gateway.address.port())]);
    alpha.publish_imports();
    let envoy = alpha.egress();
    assert!(open_plain(alpha.port(WEB)).is_ok());

    gateway.show(&gamma.leaf("spiffe://beta.example/ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err(), "another peer's root");
    gateway.show(&alpha.authority.leaf("spiffe://beta.example/ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err(), "our own root");
    gateway.show(&gamma.workload("ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err(), "another peer");
    assert!(
        open_plain(alpha.port("web.shop.svc.gamma.example:80")).is_ok(),
        "it is believed as itself"
    );
    gateway.show(&beta.leaf("spiffe://gamma.example/ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err(), "the peer's root in another peer's name");
    assert!(
        open_plain(alpha.port("web.shop.svc.gamma.example:80")).is_err(),
        "that name, by the wrong root"
    );
    // If there are several URI SANs, the first decides which roots count, but any of them may match
    // the expected identity.
    let [beta_name, gamma_name] =
        ["beta", "gamma"].map(|name| format!("spiffe://{name}.example/ns/istio-system/sa/gateway"));
    for names in [[&*gamma_name, &beta_name], [&beta_name, &gamma_name]] {
        gateway.show(&gamma.leaf_of(&names));
        assert!(open_plain(alpha.port(WEB)).is_err(), "another peer that is {names:?}");
    }
    gateway.show(&beta.leaf("spiffe://beta.example.evil/ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err(), "a name that only begins like the peer's");
    let failed = until("a line with the reason", || {
        envoy.access_log().into_iter().find(|line| line["gateway_failure"].as_str().is_some())
    });
    assert!(
        failed["gateway_failure"].as_str().unwrap().contains("CERTIFICATE_VERIFY_FAILED"),
        "{failed}"
    );
}

#[test]
fn a_peer_can_name_the_identities_of_its_gateways() {
    let (mut alpha, beta, gateway) = alpha_with_beta();
    let envoy = alpha.egress();
    let identity = |text: &str| WorkloadIdentity::parse(text).unwrap();
    let named = vec![
        identity("spiffe://beta.example/ns/a/sa/gateway"),
        identity("spiffe://beta.example/ns/b/sa/gateway"),
    ];
    alpha.imports[0].server = Arc::new(ServerIdentity::Exactly(named));
    let mut open = open_plain(alpha.port(WEB)).unwrap();
    let before = envoy.listener_changes();
    assert_eq!(alpha.publish_imports().changed, ["egress/cds.json"]);
    until("the unnamed gateway is refused", || open_plain(alpha.port(WEB)).err());
    gateway.show(&beta.workload("ns/b/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_ok());
    gateway.show(&beta.workload("ns/b/sa/gateway-2"));
    assert!(open_plain(alpha.port(WEB)).is_err());
    ping(&mut open).unwrap();
    assert_eq!(envoy.listener_changes(), before);
}

#[test]
fn roots_and_own_certificate_are_replaced_without_closing_connections() {
    let (mut alpha, beta, gateway) = alpha_with_beta();
    let envoy = alpha.egress();
    let before = envoy.listener_changes();
    let mut open = open_plain(alpha.port(WEB)).unwrap();
    let successor = Authority::new("beta.example");
    gateway.show(&successor.workload("ns/istio-system/sa/gateway"));
    assert!(open_plain(alpha.port(WEB)).is_err());
    alpha.bundles.get_mut(&beta.trust_domain).unwrap().roots.extend(successor.bundle().roots);
    assert_eq!(alpha.publish_imports().changed, ["egress/cds.json"]);
    until("the new root is believed", || open_plain(alpha.port(WEB)).ok());
    alpha.peer(&successor);
    alpha.publish_imports();
    gateway.show(&beta.workload("ns/istio-system/sa/gateway"));
    until("the old root is not", || open_plain(alpha.port(WEB)).err());
    gateway.show(&successor.workload("ns/istio-system/sa/gateway"));

    let renewed = alpha.authority.workload("ns/istio-system/sa/egress");
    alpha.identity = renewed.identity();
    assert_eq!(alpha.publish_imports().changed, ["egress/identity.json"]);
    until("the gateway sees the new certificate", || {
        open_plain(alpha.port(WEB)).unwrap();
        (gateway.observed().last()?.client.as_deref() == Some(&*renewed.chain()[0])).then_some(())
    });
    ping(&mut open).unwrap();
    assert_eq!(envoy.listener_changes(), before);
}

#[test]
fn calls_avoid_a_dead_gateway() {
    let (mut alpha, _beta, gateway) = alpha_with_beta();
    alpha.import(WEB, &[("127.0.0.1", free_port()), ("127.0.0.1", gateway.address.port())]);
    alpha.publish_imports();
    let envoy = alpha.egress();
    until("the dead gateway is out", || {
        open_plain(alpha.port(WEB)).unwrap();
        (envoy.stat(EJECTED) == 1).then_some(())
    });
}

#[test]
fn the_only_gateway_is_used_again_as_soon_as_it_returns() {
    let (mut alpha, beta, _gateway) = alpha_with_beta();
    let address = SocketAddr::new(LOOPBACK, free_port());
    alpha.import(WEB, &[("127.0.0.1", address.port())]);
    alpha.publish_imports();
    let envoy = alpha.egress();
    until("the only gateway is out", || {
        assert!(open_plain(alpha.port(WEB)).is_err());
        (envoy.stat(EJECTED) == 1).then_some(())
    });
    let _gateway =
        TlsEcho::listen(address, &beta.workload("ns/istio-system/sa/gateway"), &alpha.authority);
    assert!(open_plain(alpha.port(WEB)).is_ok());
    assert_eq!(envoy.stat(EJECTED), 1);
}

/// A user has 128 inotify instances, and an Envoy that gets none aborts.
#[test]
fn peers_and_imports_need_no_inotify_instance() {
    let (mut alpha, _beta, gateway) = alpha_with_beta();
    let envoy = alpha.egress();
    let before = envoy.inotify_instances();
    assert!((1..=4).contains(&before), "{before}");
    let peers = alpha.peers_with_imports(200, gateway.address.port());
    alpha.publish_imports();
    until("all peers are there", || {
        (envoy.stat("cluster_manager.active_clusters") == 201).then_some(())
    });
    assert_eq!(envoy.inotify_instances(), before);
    drop(envoy);
    let envoy = alpha.egress();
    assert_eq!(envoy.stat("cluster_manager.active_clusters"), 201);
    assert_eq!(envoy.inotify_instances(), before, "from the start");
    assert!(open_plain(alpha.port(WEB)).is_ok());
    gateway.show(&peers[199].workload("ns/istio-system/sa/gateway"));
    assert!(
        open_plain(alpha.port("web.shop.svc.peer-199.example:443")).is_ok(),
        "a peer among 200 is itself"
    );
    assert!(open_plain(alpha.port("web.shop.svc.peer-198.example:443")).is_err(), "and no other");
}

/// A container may have only as many instances as one egress needs, whatever the number of its
/// peers.
#[test]
fn an_egress_with_many_peers_needs_few_inotify_instances() {
    const INSTANCES: usize = 4;
    let (mut alpha, _beta, gateway) = alpha_with_beta();
    alpha.peers_with_imports(150, gateway.address.port());
    alpha.publish_imports();
    let mut envoy = alpha.egress_with_inotify(INSTANCES);
    assert_eq!(envoy.stat("cluster_manager.active_clusters"), 151);
    assert_eq!(envoy.inotify_instances(), INSTANCES, "none is left");
    assert!(open_plain(alpha.port(WEB)).is_ok());
    // More peers come while it runs.
    alpha.peers_with_imports(200, gateway.address.port());
    alpha.publish_imports();
    until("all peers are there", || {
        (envoy.stat("cluster_manager.active_clusters") == 201).then_some(())
    });
    envoy.lives();
    assert!(open_plain(alpha.port(WEB)).is_ok());
    drop(envoy);
    // This is the exact limit: with one instance less, Envoy does not start.
    let (status, text) = end_with_inotify(alpha.path("egress/bootstrap.json"), INSTANCES - 1);
    assert!(!status.success() && text.contains("inotify"), "{status}: {text}");
}

#[test]
fn adding_and_removing_imports_does_not_disturb_others() {
    let (mut alpha, _beta, gateway) = alpha_with_beta();
    let envoy = alpha.egress();
    let mut open = open_plain(alpha.port(WEB)).unwrap();
    alpha.import(DB, &[("127.0.0.1", gateway.address.port())]);
    alpha.publish_imports();
    until("the second import is there", || open_plain(alpha.port(DB)).ok());
    let db = alpha.port(DB);
    alpha.imports.retain(|import| import.service != service(DB));
    alpha.publish_imports();
    until("its port is closed", || std::net::TcpStream::connect(db).err());
    assert_eq!(envoy.stat("cluster_manager.active_clusters"), 1, "the peer's, for what is left");
    ping(&mut open).unwrap();
    assert!(open_plain(alpha.port(WEB)).is_ok());
    assert_eq!(envoy.stat("listener_manager.listener_modified"), 0);
}

#[test]
fn a_removed_peer_leaves_no_files() {
    let (mut alpha, _beta, _gateway) = alpha_with_beta();
    let envoy = alpha.egress();
    let port = alpha.port(WEB);
    alpha.imports.clear();
    alpha.bundles.clear();
    alpha.publish_imports();
    until("its port is closed", || std::net::TcpStream::connect(port).err());
    until("its cluster is gone", || {
        (envoy.stat("cluster_manager.active_clusters") == 0).then_some(())
    });
}

#[test]
fn an_import_without_a_bundle_has_no_port() {
    let (mut alpha, _beta, _gateway) = alpha_with_beta();
    alpha.import("web.shop.svc.gamma.example:80", &[("127.0.0.1", 1)]);
    alpha.publish_imports();
    let envoy = alpha.egress();
    assert_eq!(envoy.stat("listener_manager.total_listeners_active"), 2);
    assert!(open_plain(alpha.port(WEB)).is_ok());
    assert!(std::net::TcpStream::connect(alpha.port("web.shop.svc.gamma.example:80")).is_err());
}

#[test]
fn a_port_in_use_affects_only_its_import() {
    let (mut alpha, _beta, gateway) = alpha_with_beta();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    alpha.import(DB, &[("127.0.0.1", gateway.address.port())]);
    alpha.ports.insert(service(DB), other.local_addr().unwrap().port());
    alpha.publish_imports();
    let envoy = alpha.egress();
    assert!(open_plain(alpha.port(WEB)).is_ok());
    assert_eq!(envoy.stat("listener_manager.listener_create_failure"), 1);
}

/// With `SO_REUSEPORT`, Envoy's default, both would listen and each would get some of the
/// connections.
#[test]
fn two_egresses_cannot_share_a_port() {
    let (alpha, _beta, _gateway) = alpha_with_beta();
    let _first = alpha.egress();
    let second = alpha.egress();
    // The import's listener, and the one that shows that the egress runs.
    until("both are refused", || {
        (second.stat("listener_manager.listener_create_failure") == 2).then_some(())
    });
    until("none is left", || {
        (second.stat("listener_manager.total_listeners_active") == 0).then_some(())
    });
}

/// A peer of two sites tells each that its gateway is the other site's egress. No address reveals
/// the loop, but no handshake in it ever ends, and that bounds it.
#[test]
fn a_loop_through_two_sites_is_bounded_and_affects_no_other_peer() {
    let (mut alpha, _beta, _gateway) = alpha_with_beta();
    let (mut delta, gamma) = (Cluster::new("delta.example"), Authority::new("gamma.example"));
    const HERE: &str = "web.shop.svc.gamma.example:80";
    for cluster in [&mut alpha, &mut delta] {
        cluster.peer(&gamma);
        cluster.import(HERE, &[("127.0.0.1", free_port())]);
        cluster.publish_imports();
    }
    let (at_alpha, at_delta) = (alpha.port(HERE).port(), delta.port(HERE).port());
    alpha.import(HERE, &[("127.0.0.1", at_delta)]);
    alpha.publish_imports();
    delta.import(HERE, &[("127.0.0.1", at_alpha)]);
    delta.publish_imports();
    let (mut one, mut other) = (alpha.egress(), delta.egress());
    let idle = one.descriptors().unwrap() + other.descriptors().unwrap();
    let overflows = |envoy: &Envoy| envoy.stat(r"cluster\..*gamma.*\.upstream_rq_pending_overflow");
    let caller = std::thread::spawn({
        let port = alpha.port(HERE);
        move || open_plain(port).is_err()
    });
    until("the circle is cut again and again", || {
        (overflows(&one) + overflows(&other) > 3).then_some(())
    });
    assert!(open_plain(alpha.port(WEB)).is_ok(), "another peer's import");
    assert!(caller.join().unwrap());
    let most =
        [&mut one, &mut other].map(|envoy| envoy.descriptors().expect("an egress has ended"));
    // Two for each connection, on two sites, and as many again that are being closed.
    assert!(
        most.iter().sum::<usize>() < idle + 8 * 1024,
        "{most:?} descriptors, {idle} of them when idle"
    );
}
