//! The gateway's files on a real Envoy, with the real filter.

use super::pki::Authority;
use super::process::{Envoy, until};
use super::tls::{Echo, TlsClient, client_config, client_config_of, connect_with, open_tls, ping};
use super::world::{Cluster, service};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};

const WEB: &str = "web.shop.svc.alpha.example:80";
const DB: &str = "db.shop.svc.alpha.example:5432";

/// alpha, which grants `web` to a peer beta.
fn alpha_with_beta(echo: &Echo) -> (Cluster, Authority) {
    let mut alpha = Cluster::new("alpha.example");
    let beta = Authority::new("beta.example");
    alpha.peer(&beta);
    alpha.export(WEB, echo.address, &[&beta]);
    alpha.publish();
    (alpha, beta)
}

fn call(alpha: &Cluster, caller: &Authority, name: &str) -> io::Result<TlsClient> {
    open_tls(alpha.address(), &caller.workload("ns/shop/sa/client"), &service(name).sni())
}

/// Waits until `caller` is let in.
#[track_caller]
fn until_let_in(alpha: &Cluster, caller: &Authority, name: &str) -> TlsClient {
    until("the caller is let in", || call(alpha, caller, name).ok())
}

/// Waits until the table in force has this generation.
#[track_caller]
fn until_generation(envoy: &Envoy, generation: u64) {
    let name = "wasmcustom.fedgate.table.generation";
    until("the table is in force", || (envoy.stat(name) == generation).then_some(()));
}

#[test]
fn a_gateway_without_peers_starts_and_refuses_all_calls() {
    let echo = Echo::start();
    let mut alpha = Cluster::new("alpha.example");
    alpha.export(WEB, echo.address, &[]);
    alpha.publish();
    let envoy = alpha.gateway();
    assert_eq!(envoy.stat("listener_manager.total_listeners_active"), 2);
    assert!(call(&alpha, &Authority::new("beta.example"), WEB).is_err());
    let own = alpha.authority.workload("ns/shop/sa/client");
    assert!(
        open_tls(alpha.address(), &own, &service(WEB).sni()).is_err(),
        "the own roots must let nobody in"
    );
    let odd = alpha.authority.leaf("spiffe://nobody/has/this/trust/domain/x");
    assert!(
        open_tls(alpha.address(), &odd, &service(WEB).sni()).is_err(),
        "nobody's trust domain is nobody's"
    );
    until("three failed handshakes", || {
        (envoy.stat("listener.federation.ssl.fail_verify_error") == 3).then_some(())
    });
    assert_eq!(echo.connections(), 0);
}

#[test]
fn a_granted_peer_passes_and_others_are_refused_with_their_reason() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let gamma = Authority::new("gamma.reason.a.peer.b.example");
    alpha.peer(&gamma);
    alpha.publish();
    let envoy = alpha.gateway();
    drop(call(&alpha, &beta, WEB).unwrap());
    assert!(call(&alpha, &beta, DB).is_err());
    assert!(call(&alpha, &gamma, WEB).is_err());
    let forged = gamma.leaf("spiffe://beta.example/ns/shop/sa/client");
    assert!(open_tls(alpha.address(), &forged, &service(WEB).sni()).is_err());
    assert_eq!(echo.connections(), 1);

    let granted = envoy.logged("reason", "granted");
    assert_eq!(granted["outcome"], "allowed");
    assert_eq!(granted["peer"], "beta");
    assert_eq!(granted["service"], WEB);
    assert_eq!(granted["generation"], "2");
    assert_eq!(granted["sni"], service(WEB).sni());
    assert_eq!(granted["client_uri_san"], "spiffe://beta.example/ns/shop/sa/client");
    assert_eq!(granted["cluster"], service(WEB).cluster());
    assert_eq!(granted["endpoint"], echo.address.to_string());
    assert_eq!((&granted["bytes_received"], &granted["bytes_sent"]), (&4.into(), &4.into()));
    assert_eq!(envoy.logged("reason", "unknown_service")["outcome"], "refused");
    assert_eq!(envoy.logged("reason", "not_granted")["peer"], "gamma.reason.a.peer.b");
    let forged = until("the forged certificate's line", || {
        let is_failure = |line: &serde_json::Value| {
            line["tls_failure"].as_str().is_some_and(|text| text.contains("verify"))
        };
        envoy.access_log().into_iter().find(is_failure)
    });
    assert_eq!(forged["endpoint"], serde_json::Value::Null);

    let metrics = envoy.get("/stats/prometheus").unwrap();
    for expected in [
        r#"fedgate_connections{outcome="allowed",reason="granted"} 1"#,
        r#"fedgate_connections{outcome="refused",reason="not_granted"} 1"#,
        r#"fedgate_peer_connections{outcome="allowed",peer="beta"} 1"#,
        r#"fedgate_peer_connections{outcome="refused",peer="gamma.reason.a.peer.b"} 1"#,
    ] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
}

#[test]
fn callers_are_counted_by_name_if_the_operator_asks_for_it() {
    const WORKERS: usize = 2;
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let gamma = Authority::new("gamma.example");
    alpha.peer(&gamma);
    alpha.publish();
    let envoy = alpha.gateway();
    drop(call(&alpha, &beta, WEB).unwrap());
    let callers = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("fedgate_callers{"));
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let counted = || callers(&envoy.get("/stats/prometheus").unwrap());
    assert!(counted().is_empty(), "off by default: {:?}", counted());

    alpha.options.named_callers = 2;
    alpha.publish();
    until_generation(&envoy, 3);
    let as_workload = |authority: &Authority, path: &str| {
        open_tls(alpha.address(), &authority.workload(path), &service(WEB).sni())
    };
    assert!(as_workload(&gamma, "ns/shop/sa/client").is_err());
    drop(as_workload(&beta, "ns/shop/sa/client").unwrap());
    drop(as_workload(&beta, "ns/a.peer.gamma/sa/client").unwrap());
    for stranger in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
        drop(as_workload(&beta, &format!("ns/{stranger}/sa/client")).unwrap());
    }
    let found = counted();
    let of = |namespace: &str, export: &str| {
        let labels = format!(
            r#"fedgate_callers{{peer="beta",caller_namespace="{namespace}",export="{export}"}} "#
        );
        found.iter().find_map(|line| line.strip_prefix(&labels)?.parse::<u64>().ok())
    };
    assert_eq!(of("shop", WEB), Some(1), "{found:#?}");
    let others = of("_other", "_other").unwrap_or_default();
    // Each worker names two of the ten combinations.
    assert!(others >= 6 && found.len() <= 2 * WORKERS + 1, "{found:#?}");
    assert!(found.iter().all(|line| !line.contains("gamma")), "{found:#?}");
    let sum: u64 =
        found.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(sum, 10, "each connection that passed is counted once: {found:#?}");
}

#[test]
fn connections_without_data_are_logged_as_well() {
    let echo = Echo::start();
    let (alpha, _beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let client = std::net::TcpStream::connect(alpha.address()).unwrap();
    let address = client.local_addr().unwrap().to_string();
    drop(client);
    assert_eq!(envoy.logged("client", &address)["outcome"], serde_json::Value::Null);
}

#[test]
fn a_new_table_changes_no_listener_and_no_connection() {
    let (echo, db) = (Echo::start(), Echo::start());
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let listener = fs::read(alpha.path("gateway/lds.json")).unwrap();
    let envoy = alpha.gateway();
    let (before, updates) =
        (envoy.listener_changes(), envoy.stat("listener_manager.lds.update_success"));
    let mut open = call(&alpha, &beta, WEB).unwrap();

    let gamma = Authority::new("gamma.example");
    alpha.peer(&gamma);
    alpha.export(DB, db.address, &[&gamma]);
    let written = alpha.publish();
    let expected = ["gateway/trust/bundles.json", "gateway/cds.json", "gateway/filter/filter.json"];
    assert_eq!(written.changed, expected);
    until_let_in(&alpha, &gamma, DB);
    ping(&mut open).unwrap();

    assert_eq!(fs::read(alpha.path("gateway/lds.json")).unwrap(), listener);
    assert_eq!(envoy.listener_changes(), before);
    assert_eq!(envoy.stat("listener_manager.lds.update_success"), updates);
}

#[test]
fn a_new_export_never_routes_to_a_missing_cluster() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    for number in 0..20 {
        let name = format!("web-{number}.shop.svc.alpha.example:80");
        alpha.export(&name, echo.address, &[&beta]);
        alpha.publish();
        until_let_in(&alpha, &beta, &name);
    }
    assert_eq!(envoy.stat("wasmcustom.fedgate.route_failures"), 0);
    assert!(envoy.access_log().iter().all(|line| line["flags"] != "NC"));
}

#[test]
fn roots_are_added_and_removed_by_rename() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let before = envoy.listener_changes();
    let successor = Authority::new("beta.example");
    assert!(call(&alpha, &successor, WEB).is_err());

    alpha.bundles.get_mut(&beta.trust_domain).unwrap().roots.extend(successor.bundle().roots);
    assert_eq!(
        alpha.publish().changed,
        ["gateway/trust/bundles.json", "gateway/filter/filter.json"]
    );
    until_let_in(&alpha, &successor, WEB);
    assert!(call(&alpha, &beta, WEB).is_ok());

    alpha.peer(&successor);
    alpha.publish();
    until("the old root is gone", || call(&alpha, &beta, WEB).err());
    assert!(call(&alpha, &successor, WEB).is_ok());

    alpha.bundles.clear();
    alpha.export(WEB, echo.address, &[]);
    alpha.publish();
    let failures = envoy.stat("listener.federation.ssl.fail_verify_error");
    until("the last peer is refused in the handshake", || {
        assert!(call(&alpha, &successor, WEB).is_err());
        (envoy.stat("listener.federation.ssl.fail_verify_error") > failures).then_some(())
    });
    assert_eq!(envoy.listener_changes(), before);
}

#[test]
fn the_certificate_is_renewed_without_closing_connections() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let before = envoy.listener_changes();
    let shown = |alpha: &Cluster| {
        call(alpha, &beta, WEB).unwrap().conn.peer_certificates().unwrap().to_vec()
    };
    let mut open = call(&alpha, &beta, WEB).unwrap();
    for _ in 0..3 {
        let renewed = alpha.authority.workload("ns/istio-system/sa/gateway");
        alpha.identity = renewed.identity();
        let written = alpha.publish().changed;
        assert!(written.contains(&"gateway/identity.json".to_owned()), "{written:?}");
        until("the new certificate is shown", || (shown(&alpha) == renewed.chain()).then_some(()));
    }
    ping(&mut open).unwrap();
    assert_eq!(envoy.listener_changes(), before);
    assert_eq!(envoy.stat("sds.identity.key_rotation_failed"), 0);
}

/// A client of the admin interface can stop Envoy, but must not be able to act as the cluster.
#[test]
fn the_admin_interface_does_not_show_the_key() {
    let echo = Echo::start();
    let (alpha, _beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let dump = envoy.get("/config_dump").unwrap();
    // `[redacted]` in base64.
    assert!(dump.contains("W3JlZGFjdGVkXQ=="), "the secret is in the dump, without what it says");
    let file: serde_json::Value =
        serde_json::from_slice(&fs::read(alpha.path("gateway/identity.json")).unwrap()).unwrap();
    let key = &file["resources"][0]["tls_certificate"]["private_key"]["inline_bytes"];
    assert!(!dump.contains(key.as_str().unwrap()));
}

#[test]
fn a_broken_table_keeps_the_last_good_one() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let path = alpha.path("gateway/filter/filter.json");
    let good = fs::read_to_string(&path).unwrap();
    let refused = |after: u64| {
        until("the update is refused", || {
            let failed = envoy
                .stat("extension_config_discovery.network_filter.fedgate.config_fail")
                + envoy.stat("extension_config_discovery.network_filter.fedgate.update_rejected")
                + envoy.stat("extension_config_discovery.network_filter.fedgate.update_failure");
            (failed > after).then_some(failed)
        })
    };
    let count =
        refused_after_writing(&path, &good.replace("contentHash", "contentHush"), || refused(0));
    assert!(call(&alpha, &beta, WEB).is_ok());
    refused_after_writing(&path, "{", || refused(count));
    assert!(call(&alpha, &beta, WEB).is_ok());

    alpha.exports.clear();
    alpha.publish();
    until_generation(&envoy, 2);
    until("the next good table is in force", || call(&alpha, &beta, WEB).err());
}

fn refused_after_writing<T>(path: &std::path::Path, text: &str, refused: impl FnOnce() -> T) -> T {
    let partial = path.with_extension("partial");
    #[expect(clippy::disallowed_methods, reason = "it is renamed then, as the controller does")]
    fs::write(&partial, text).unwrap();
    fs::rename(&partial, path).unwrap();
    refused()
}

#[test]
fn a_withdrawn_export_is_closed_and_its_cluster_removed() {
    let (echo, db) = (Echo::start(), Echo::start());
    let (mut alpha, beta) = alpha_with_beta(&echo);
    alpha.export(DB, db.address, &[&beta]);
    alpha.publish();
    let envoy = alpha.gateway();
    let (mut web, mut withdrawn) =
        (call(&alpha, &beta, WEB).unwrap(), call(&alpha, &beta, DB).unwrap());

    alpha.exports.remove(&service(DB));
    alpha.publish();
    until("the open connection is closed", || ping(&mut withdrawn).err());
    until("the cluster is gone", || {
        (envoy.stat("cluster_manager.active_clusters") == 2).then_some(())
    });
    assert!(call(&alpha, &beta, DB).is_err());
    envoy.logged("reason", "unknown_service");
    ping(&mut web).unwrap();
}

#[test]
fn endpoints_change_without_closing_a_connection() {
    let (first, second) = (Echo::start(), Echo::start());
    let (mut alpha, beta) = alpha_with_beta(&first);
    let _envoy = alpha.gateway();
    let mut open = call(&alpha, &beta, WEB).unwrap();
    alpha.exports.get_mut(&service(WEB)).unwrap().0 = BTreeSet::from([second.address]);
    alpha.publish();
    until("new connections go to the new endpoint", || {
        call(&alpha, &beta, WEB).unwrap();
        (second.connections() > 0).then_some(())
    });
    ping(&mut open).unwrap();
}

#[test]
fn peers_and_exports_need_no_inotify_instance() {
    let echo = Echo::start();
    let (mut alpha, beta) = alpha_with_beta(&echo);
    let envoy = alpha.gateway();
    let before = envoy.inotify_instances();
    assert!((1..=7).contains(&before), "{before}");
    for number in 0..20 {
        alpha.peer(&Authority::new(&format!("peer-{number}.example")));
        alpha.export(&format!("web-{number}.shop.svc.alpha.example:80"), echo.address, &[&beta]);
    }
    alpha.publish();
    until_let_in(&alpha, &beta, "web-19.shop.svc.alpha.example:80");
    assert_eq!(envoy.inotify_instances(), before);
}

#[test]
fn a_gateway_restarts_from_its_files_alone() {
    let echo = Echo::start();
    let (alpha, beta) = alpha_with_beta(&echo);
    drop(alpha.gateway());
    let _envoy = alpha.gateway();
    assert!(call(&alpha, &beta, WEB).is_ok());
}

/// Exactly the host functions that the filter's source imports are allowed.
#[test]
fn the_filter_may_call_all_its_host_functions() {
    let echo = Echo::start();
    let (alpha, _beta) = alpha_with_beta(&echo);
    let filter: serde_json::Value =
        serde_json::from_slice(&fs::read(alpha.path("gateway/filter/filter.json")).unwrap())
            .unwrap();
    let plugin = &filter["resources"][0]["typed_config"]["config"];
    let allowed =
        plugin["capability_restriction_config"]["allowed_capabilities"].as_object().unwrap();
    let source = fs::read_to_string(xtask::root().join("filter/src/vm/imports.rs")).unwrap();
    let called: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("fn ")?.split('(').next())
        .filter(is_host_call)
        .collect();
    assert!(called.len() > 10);
    let calls: BTreeSet<_> =
        allowed.keys().map(String::as_str).filter(|name| !name.starts_with("proxy_on_")).collect();
    assert_eq!(calls, called);
}

fn is_host_call(name: &&str) -> bool {
    name.starts_with("proxy_")
}

#[test]
fn sessions_are_not_resumed() {
    let echo = Echo::start();
    let (alpha, beta) = alpha_with_beta(&echo);
    let _envoy = alpha.gateway();
    let config = client_config(&beta.workload("ns/shop/sa/client"));
    for _ in 0..3 {
        let mut client =
            connect_with(config.clone(), alpha.address(), &service(WEB).sni()).unwrap();
        ping(&mut client).unwrap();
        ping(&mut client).unwrap();
        assert_ne!(client.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }
}

/// In TLS 1.2 the client's proof follows its certificate in a separate flight, so the filter must
/// learn when the handshake is over.
#[test]
fn a_server_may_speak_first_in_tls_1_2_and_1_3() {
    let greeter = Echo::greeting(b"220 ready");
    let (alpha, beta) = alpha_with_beta(&greeter);
    let _envoy = alpha.gateway();
    let peer = beta.workload("ns/shop/sa/client");
    let stranger = Authority::new("gamma.example").workload("ns/shop/sa/client");
    for (version, calls) in [(&rustls::version::TLS12, 1), (&rustls::version::TLS13, 2)] {
        let greeting_for = |leaf| {
            let config = client_config_of(leaf, &[version]);
            let mut client = connect_with(config, alpha.address(), &service(WEB).sni()).unwrap();
            let mut greeting = [0; 9];
            client.read_exact(&mut greeting).map(|()| greeting)
        };
        assert_eq!(&greeting_for(&peer).unwrap(), b"220 ready", "{version:?}");
        assert!(greeting_for(&stranger).is_err(), "{version:?}");
        assert_eq!(greeter.connections(), calls);
    }
}

#[test]
fn envoy_accepts_the_bootstraps() {
    let echo = Echo::start();
    let (mut alpha, _beta) = alpha_with_beta(&echo);
    alpha.publish_imports();
    for role in ["gateway", "egress"] {
        super::process::validate(&alpha.path(&format!("{role}/bootstrap.json")));
    }
}
