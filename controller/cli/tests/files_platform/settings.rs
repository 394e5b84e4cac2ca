//! `fedgate.yaml`: defaults, and everything that can be wrong with it.

use fedgate_envoy::FilterKind;
use fedgate_exchange::settings::MetadataTransport;
use fedgate_federation::knowledge::AtExpiry;
use fedgate_files::settings::Settings;
use std::path::Path;
use std::time::Duration;

const LEAST: &str = "trustDomain: alpha.example
gateway: {advertise: ['192.0.2.1:15443']}
metadata: {plain: true}
identity: {certificateChain: chain.pem, privateKey: key.pem, roots: /etc/roots.pem}
";

fn parse(text: &str) -> Result<Settings, String> {
    let listed = |problems: Vec<fedgate_files::settings::Problem>| {
        problems
            .iter()
            .map(|problem| format!("{} {problem}", problem.line))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Settings::parse(Path::new("/etc/fedgate"), text).map_err(listed)
}

#[test]
fn minimal_settings_are_read() {
    let settings = parse(LEAST).unwrap();
    assert_eq!(settings.trust_domain.as_str(), "alpha.example");
    assert_eq!(settings.gateway.listen.to_string(), "0.0.0.0:15443");
    assert_eq!(settings.gateway.advertise[0].to_string(), "192.0.2.1:15443");
    assert_eq!(settings.metadata.path.as_str(), "/metadata");
    assert_eq!(settings.metadata.transport, MetadataTransport::Plain);
    assert_eq!(settings.identity.certificate_chain, Path::new("/etc/fedgate/chain.pem"));
    assert_eq!(settings.identity.roots, Path::new("/etc/roots.pem"));
    assert_eq!(settings.key_file, Path::new("/etc/fedgate/state/authn.key"));
    assert!(settings.admin.listen.ip().is_loopback());
    assert!(settings.egress.listen.is_loopback());
    assert_eq!(settings.times.knowledge.staleness_limit, Duration::from_secs(24 * 60 * 60));
    assert_eq!(settings.times.knowledge.at_expiry, AtExpiry::Drain);
    assert_eq!(settings.times.knowledge.hint, None);
    assert_eq!(settings.cluster_uuid, None);
    assert_eq!(settings.gateway.filter, FilterKind::ProxyWasm);
}

#[test]
fn all_settings_are_read() {
    let settings = parse(
        "trustDomain: alpha.example
clusterUUID: 11111111-aaaa-4aaa-8aaa-111111111111
network: {name: n, podCIDRs: [10.0.0.0/16, 'fd00::/64'], serviceCIDRs: [10.1.0.0/16]}
gateway:
  listen: '[::1]:15443'
  admin: 127.0.0.1:9901
  filter: native
  filterModule: /usr/lib/fedgate_filter.so
egress: {listen: 127.0.0.2, ports: 16000-16009, admin: '127.0.0.1:9902'}
metadata:
  listen: 127.0.0.1:443
  path: /federation/
  tls: {certificate: tls.pem, key: tls.key}
identity: {certificateChain: chain.pem, privateKey: key.pem, roots: roots.pem}
keyFile: authn.key
peers: {proxy: 'http://user:secret@proxy.example:3128', noProxy: [internal.example], clientTLS: client}
times: {poll: 1m, timeout: 2s, staleAfter: 10m, stalenessLimit: 48h, atExpiry: Keep, staleAfterHint: 2m}
admin: {listen: '[::1]:9900'}
",
    )
    .unwrap();
    assert_eq!(settings.gateway.filter, FilterKind::Native);
    assert_eq!(settings.network.pod_cidrs.len(), 2);
    assert_eq!(settings.egress.ports, 16_000..=16_009);
    assert_eq!(settings.metadata.path.as_str(), "/federation");
    assert_eq!(settings.times.poll, Duration::from_secs(60));
    assert_eq!(settings.times.knowledge.stale_after, Duration::from_secs(600));
    assert!(!format!("{settings:?}").contains("secret"));
    assert_eq!(settings.peers.proxy.no_proxy, ["internal.example"]);
    assert_eq!(settings.peers.client_tls.as_deref(), Some(Path::new("/etc/fedgate/client")));
    assert_eq!(settings.times.knowledge.at_expiry, AtExpiry::Keep);
    assert_eq!(settings.times.knowledge.hint, Some(Duration::from_secs(120)));
    assert_eq!(settings.key_file, Path::new("/etc/fedgate/authn.key"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "trustDomain: Alpha.Example
clusterUUID: 1234
network: {podCIDRs: [10.0.0.0/33, 10.0.0.1], serviceCIDR: [10.1.0.0/16]}
gateway:
  listen: 15443
  admin: 0.0.0.0:9901
  advertise: [gw.example, '0.0.0.0:1', 'gw.example:0']
egress: {listen: everywhere, ports: 15199-15100}
metadata:
  path: a b
  plain: true
  tls: {certificate: x}
identity: {certificateChain: 7, privatekey: key.pem, roots: roots.pem}
times: {poll: 10, timeout: 0s, staleAfter: 2h, stalenessLimit: 1h, atExpiry: keep}
admin: {listen: 0.0.0.0:9900}
adnim: {}
";
    insta::assert_snapshot!(parse(text).unwrap_err());
}

/// It may contain a password, so it is not quoted.
#[test]
fn a_wrong_proxy_is_reported_but_not_shown() {
    for proxy in ["socks5://user:secret@proxy.example", "user:secret@proxy.example:3128"] {
        let error = parse(&format!("peers: {{proxy: '{proxy}'}}\n")).unwrap_err();
        assert!(error.contains("peers.proxy"), "{error}");
        assert!(error.contains("expected a URL such as http://"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn missing_required_settings_are_reported() {
    insta::assert_snapshot!(parse("").unwrap_err());
}

#[test]
fn a_file_that_is_not_a_yaml_mapping_is_refused() {
    for (text, expected) in [
        ("trustDomain: [\n", "1 "),
        ("- a\n", "expected fields, found a list"),
        ("trustDomain: a.example\ntrustDomain: b.example\n", "2 "),
        ("x: &a [*a]\n", "1 "),
    ] {
        let found = parse(text).unwrap_err();
        assert!(found.contains(expected), "{text:?}: {found}");
    }
}
