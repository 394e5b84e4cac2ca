use super::*;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::{Import, ServerIdentity};
use std::sync::Arc;

fn import(service: &str, protocol: Protocol) -> Import {
    let trust_domain = fedgate_core::TrustDomain::parse("beta.example").unwrap();
    Import {
        peer: fedgate_core::PeerName::parse("beta").unwrap(),
        service: ServiceName::parse(service).unwrap(),
        port_name: "port".into(),
        protocol,
        gateways: [].into(),
        passthrough: false,
        server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
        trust_domain,
    }
}

/// The services that are reached by server name.
fn routed_to(imports: &[Import]) -> Vec<String> {
    let trust_domain = fedgate_core::TrustDomain::parse("beta.example").unwrap();
    let bundle = TrustBundle { trust_domain, roots: Vec::new() };
    let outlets: Vec<_> =
        imports.iter().map(|import| Outlet { import, bundle: &bundle, port: 15_100 }).collect();
    let listen = "127.0.0.1:15444".parse().unwrap();
    let names =
        ServerNames::of(listen, &outlets, |_| "way".into(), (&AccessLog::Stdout, Quiet::default()));
    names
        .into_iter()
        .flat_map(|names| names.services)
        .map(|(service, _)| service.to_string())
        .collect()
}

#[test]
fn a_server_name_means_the_port_that_speaks_tls() {
    let (http, https) = (Protocol::Http, Protocol::Tls);
    for (ports, chosen) in [
        (vec![(80, http), (443, https), (8443, https)], Some(443)),
        (vec![(80, http), (443, Protocol::Tcp)], Some(443)),
        (vec![(80, http), (8443, Protocol::Tls)], Some(8443)),
        (vec![(5432, Protocol::Tcp)], Some(5432)),
        // It is unclear which is meant.
        (vec![(8443, https), (9443, https)], None),
        (vec![(80, http), (81, http)], None),
    ] {
        let imports: Vec<_> = ports
            .iter()
            .map(|(port, protocol)| import(&format!("web.shop.svc.beta.example:{port}"), *protocol))
            .collect();
        let expected: Vec<_> =
            chosen.iter().map(|port| format!("web.shop.svc.beta.example:{port}")).collect();
        assert_eq!(routed_to(&imports), expected, "{ports:?}");
    }
    assert!(routed_to(&[]).is_empty());
}

#[test]
fn only_the_names_of_imports_are_matched_and_nothing_is_the_default() {
    let names = ServerNames {
        listen: "127.0.0.1:15444".parse().unwrap(),
        services: vec![(
            ServiceName::parse("web.shop.svc.beta.example:443").unwrap(),
            "way".into(),
        )],
        access_log: AccessLog::Stdout,
        quiet: Quiet::default(),
    };
    let listener = names.listener();
    let chains = listener["filter_chains"].as_array().unwrap();
    assert_eq!(chains.len(), 1);
    assert_eq!(
        chains[0]["filter_chain_match"],
        json!({ "server_names": ["web.shop.svc.beta.example"] })
    );
    assert_eq!(listener.get("default_filter_chain"), None);
}
