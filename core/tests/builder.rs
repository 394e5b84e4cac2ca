//! What the builder refuses, with the right error, and the limits of what it accepts.

use fedgate_core::{
    BuildError, CallerPattern, Callers, Grant, MAX_CALLER_PATTERNS, Mode, Pattern, Peer, PeerIndex,
    ServiceName, ServicePort, Table, TableBuilder,
};

fn builder() -> TableBuilder {
    TableBuilder::new("alpha.example".parse().unwrap())
}

fn peer(name: &str, trust_domain: &str) -> Peer {
    Peer {
        name: name.parse().unwrap(),
        trust_domain: trust_domain.parse().unwrap(),
        mode: Mode::Enforce,
    }
}

fn service(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn patterns(texts: impl Iterator<Item = String>) -> Callers {
    let pattern = |text: String| CallerPattern {
        namespace: Pattern::parse(&text).unwrap(),
        service_account: Pattern::parse(&text).unwrap(),
    };
    Callers::Only(texts.map(pattern).collect())
}

fn any(peer: PeerIndex) -> Grant {
    Grant { peer, callers: Callers::Any }
}

/// A table with these services and no grants.
fn table(services: &[String]) -> Table {
    let mut builder = builder();
    for name in services {
        builder.export(service(name), vec![]).unwrap();
    }
    Table::read(builder.build(1).unwrap()).unwrap()
}

/// Every service is found, and no similar name is.
#[track_caller]
fn finds_exactly(services: &[&str]) {
    let services: Vec<String> = services.iter().map(|service| service.to_string()).collect();
    let table = table(&services);
    let mut listed: Vec<String> = table.exports().map(|(service, _)| service.to_string()).collect();
    listed.sort();
    let mut expected = services.clone();
    expected.sort();
    assert_eq!(listed, expected);
    for name in &services {
        let ServiceName { host, port, .. } = service(name);
        assert!(table.export(host.as_str(), port).is_some(), "{name}");
        for near in [
            host.as_str()[1..].to_owned(),
            format!("{host}a"),
            format!("{host}.a"),
            format!("a.{host}"),
        ] {
            let is_listed = expected.contains(&format!("{near}:{port}"));
            assert_eq!(table.export(&near, port).is_some(), is_listed, "{near}:{port}");
        }
    }
}

#[test]
fn two_peers_with_one_trust_domain_are_refused() {
    let mut builder = builder();
    builder.peer(peer("beta", "beta.example")).unwrap();
    let error = builder.peer(peer("other", "beta.example")).unwrap_err();
    assert_eq!(error.to_string(), "peers beta and other have the same trust domain beta.example");
    builder.peer(peer("other", "beta.example.org")).unwrap();
}

#[test]
fn a_service_is_exported_once() {
    let mut builder = builder();
    builder.export(service("web.shop:80"), vec![]).unwrap();
    let error = builder.export(service("Web.shop:80"), vec![]).unwrap_err();
    assert_eq!(error.to_string(), "service web.shop:80 is exported twice");
    builder.export(service("web.shop:81"), vec![]).unwrap();
}

#[test]
fn grants_name_each_peer_of_the_table_once() {
    let mut builder = builder();
    let beta = builder.peer(peer("beta", "beta.example")).unwrap();
    let mut other = builder.clone();
    let stranger = other.peer(peer("gamma", "gamma.example")).unwrap();
    let web = || service("web.shop:80");
    let wrong = Err(BuildError::WrongGrant(web()));
    assert_eq!(builder.export(web(), vec![any(beta), any(beta)]), wrong);
    assert_eq!(
        builder.export(
            web(),
            vec![any(beta), Grant { peer: beta, callers: patterns(None.into_iter()) }]
        ),
        wrong
    );
    assert_eq!(builder.export(web(), vec![any(beta), any(stranger)]), wrong);
    assert!(builder.export(web(), vec![any(beta)]).is_ok());
}

#[test]
fn the_number_of_patterns_in_a_grant_is_limited() {
    let mut builder = builder();
    let beta = builder.peer(peer("beta", "beta.example")).unwrap();
    let grant = |count| {
        vec![Grant {
            peer: beta,
            callers: patterns((0..count).map(|number| format!("a-{number}"))),
        }]
    };
    builder.export(service("web.shop:80"), grant(MAX_CALLER_PATTERNS)).unwrap();
    let error = builder.export(service("web.shop:81"), grant(MAX_CALLER_PATTERNS + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there are 1001 caller patterns in one grant, at most 1000 fit in a table"
    );
    assert!(Table::read(builder.build(1).unwrap()).is_ok());
}

#[test]
fn the_number_of_peers_is_limited() {
    let mut builder = builder();
    let add = |builder: &mut TableBuilder, number: u32| {
        builder.peer(peer("peer", &format!("p{number}"))).unwrap()
    };
    let last = (0..65_535).map(|number| add(&mut builder, number)).last().unwrap();
    builder.export(service("web.shop:80"), vec![any(last)]).unwrap();
    let table = Table::read(builder.build(1).unwrap()).unwrap();
    assert_eq!(
        (table.peer_count(), table.peer_of("p65534").map(|peer| peer.name)),
        (65_535, Some("peer"))
    );
    add(&mut builder, 65_535);
    let error = builder.build(1).unwrap_err();
    assert_eq!(error, BuildError::TooMany { what: "peers", count: 65_536, most: 65_535 });
}

#[test]
fn the_number_of_caller_sets_is_limited() {
    let mut builder = builder();
    let beta = builder.peer(peer("beta", "beta.example")).unwrap();
    let export = |builder: &mut TableBuilder, number: u32| {
        let callers = patterns([number.to_string()].into_iter());
        let (host, port) = (number / 60_000, number % 60_000 + 1);
        builder
            .export(service(&format!("h{host}:{port}")), vec![Grant { peer: beta, callers }])
            .unwrap();
    };
    (0..65_535).for_each(|number| export(&mut builder, number));
    assert!(Table::read(builder.build(1).unwrap()).is_ok());
    export(&mut builder, 65_535);
    let error = builder.build(1).unwrap_err();
    assert_eq!(error, BuildError::TooMany { what: "caller sets", count: 65_536, most: 65_535 });
}

#[test]
fn an_oversized_table_is_an_error_and_never_truncated() {
    let mut builder = builder();
    let beta = builder.peer(peer("beta", "beta.example")).unwrap();
    for port in 1..=70 {
        let texts = (0..1_000).map(|number| format!("{:0>253}", port * 1_000 + number));
        let grants = vec![Grant { peer: beta, callers: patterns(texts) }];
        builder.export(service(&format!("web.shop:{port}")), grants).unwrap();
    }
    let error = builder.build(1).unwrap_err();
    assert!(matches!(error, BuildError::TooLarge(size) if size > 70 * 253 * 1_000), "{error}");
}

#[test]
fn finds_services_in_tables_with_one_row_or_none() {
    finds_exactly(&[]);
    finds_exactly(&["web.shop.svc.alpha.example:80"]);
    finds_exactly(&["a:1"]);
}

#[test]
fn finds_every_port_of_one_host() {
    let services: Vec<String> =
        (1..=100).map(|port| format!("web.shop.svc.alpha.example:{port}")).collect();
    finds_exactly(&services.iter().map(String::as_str).collect::<Vec<_>>());
    let table = table(&services);
    for port in [101, 65_535] {
        assert_eq!(
            table.export("web.shop.svc.alpha.example", ServicePort::new(port).unwrap()),
            None
        );
    }
}

#[test]
fn finds_hosts_that_share_nothing_or_are_prefixes_of_each_other() {
    finds_exactly(&["a.b:1", "c.d:1"]);
    finds_exactly(&[
        "b:1", "a.b:1", "aa.b:1", "a.a.b:1", "a-a.b:1", "a_a.b:1", "a0.b:1", "bb:1", "b0:1", "b_:1",
    ]);
    finds_exactly(&["example:65535", "alpha.example:1", "beta.example:65535"]);
}

#[test]
fn finds_the_longest_hosts() {
    let label = "a".repeat(63);
    let host = |last: &str| format!("{last}.{label}.{label}.{label}:80");
    let services: Vec<String> = (0..40).map(|number| host(&format!("{number:0>47}"))).collect();
    assert_eq!(services[0].len(), 239 + 3);
    let table = table(&services);
    for name in &services {
        let ServiceName { host, port, .. } = service(name);
        assert!(table.export(host.as_str(), port).is_some());
        assert_eq!(table.export(&host.as_str()[1..], port), None);
        assert_eq!(table.export(&format!("a{host}"), port), None);
    }
}
