use crate::peer::{ALPHA_UUID, BETA_UUID, key, now, statement, uuid};
use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Options, Pattern, Peer, PeerIndex, Table, TableBuilder,
    write_configuration,
};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{PublicDocument, SpiffeBundle};
use fedgate_federation::token::sign;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// Valid inputs for each target, from which the fuzzer starts.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let tables = [example(0), example(1), example(2), example(5), example(40), passthrough()];
    let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "table" => tables.to_vec(),
        "sealed_table" => tables.iter().map(|table| table[..table.len() - 32].to_vec()).collect(),
        "configuration" => tables.into_iter().map(configuration).collect(),
        "decision" => text(&[
            "outbound_.80_._.web-0.shop.svc.alpha.example\0spiffe://beta.example/ns/orders/sa/worker",
            "outbound_.443_.v1_.Web-7.team.svc.alpha.example\0spiffe://gamma.example/ns/orders/sa/worker",
        ]),
        "sni" => text(&[
            "outbound_.80_._.web.shop.svc.beta.example",
            "outbound_.8443_.v1_.Web.Shop.svc.beta.example",
        ]),
        "spiffe_id" => text(&["spiffe://beta.example/ns/orders/sa/worker", "spiffe://b/a.b-c_d"]),
        "public_document" => vec![public_document()],
        "private_document" => text(&[PRIVATE, PRIVATE_OF_DKP]),
        "spiffe_bundle" => {
            vec![SpiffeBundle { sequence: 1, roots: vec![root(), root()] }.to_json()]
        }
        "certificate" => vec![root().der().to_vec()],
        "token" => vec![token().into_bytes()],
        "authorization" => vec![format!("Bearer {}", token()).into_bytes()],
        "if_none_match" => text(&["\"44136fa3\"", "W/\"x\", \"44136fa3\" ,\"y\"", "*"]),
        "prefer" => text(&["wait=50", "respond-async, wait=\"10\";x=1 , handling=lenient"]),
        "entity_tag" => text(&["\"44136fa3\"", "W/\"1\""]),
        "date" => text(&["Thu, 01 Jan 2026 00:00:00 GMT", "Thursday, 01-Jan-26 00:00:00 GMT"]),
        "proxy_header" => vec![
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::7 ::1 40000 443\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            fedgate_federation::proxy_header::LOCAL.to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x9c\x40\x01\xbb".to_vec(),
        ],
        "quoted" => text(&[
            "120",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "https://beta.example/",
            "\u{202e}x\u{7}",
        ]),
        "signature" => {
            let made = fedgate_federation::signature::sign(&key(), &statement(), now());
            let made = made.expect("a signature").into_bytes();
            let twice = [made.as_slice(), b", ", &made].concat();
            vec![made, twice]
        }
        _ => Vec::new(),
    }
}

const PRIVATE: &str = r#"{
  "ingressGateways": [{"address": "192.0.2.1", "port": 15443}, {"address": "gw.beta.example", "port": 15443}],
  "publicServices": [{"hostname": "web.shop.svc.beta.example", "ports": [{"name": "http", "port": 80}]}],
  "fedgate": {"sequence": 1767225600000, "serviceCount": 1, "network": {"name": "n", "podCIDRs": ["10.0.0.0/16"]},
    "gatewayIdentities": ["spiffe://beta.example/ns/istio-system/sa/gateway"],
    "gatewayLocalities": [{"address": "192.0.2.1", "port": 15443, "locality": "eu-west/a/rack-1"}],
    "view": {"sequence": 7, "gateways": [{"address": "192.0.2.7", "port": 15443}], "clockAhead": -40,
      "fetch": {"reason": "FetchFailed", "since": "2026-01-01T00:00:00Z"},
      "probe": {"reason": "Succeeded", "since": "2026-01-01T00:00:00Z"}}}
}"#;

const PRIVATE_OF_DKP: &str =
    r#"{"ingressGateways": [{"address": "192.0.2.1", "port": 15443}], "publicServices": null}"#;

fn token() -> String {
    sign(&key(), &uuid(ALPHA_UUID), &uuid(BETA_UUID), now()).expect("a token")
}

fn public_document() -> Vec<u8> {
    let extension = None;
    let document = PublicDocument {
        cluster_uuid: uuid(BETA_UUID),
        authn_key: key().public(),
        roots: vec![root()],
        extension,
    };
    document.to_json()
}

fn root() -> Root {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    Root::from_der(parameters.self_signed(&key).expect("a certificate").der()).expect("a root")
}

fn configuration(table: Vec<u8>) -> Vec<u8> {
    let table = Table::read(table).expect("the builder's table");
    serde_json::to_vec(&write_configuration(&table, Options::default())).expect("plain data")
}

/// A table with two peers, grants of every kind, and `exports` exports.
pub(crate) fn example(exports: usize) -> Vec<u8> {
    let mut builder = TableBuilder::new("alpha.example".parse().expect("a trust domain"));
    let (beta, gamma) =
        (peer(&mut builder, "beta", Mode::Enforce), peer(&mut builder, "gamma", Mode::Audit));
    let sets = [
        vec![],
        vec![(beta, Callers::Any), (gamma, Callers::Only([].into()))],
        vec![(beta, only("orders", "w*"))],
        vec![(beta, only("*", "worker")), (gamma, only("a*", "b"))],
    ];
    for number in 0..exports {
        let (namespace, port) = (["shop", "team"][number / 5 % 2], [80, 443, 8080][number % 3]);
        let service = format!("web-{}.{namespace}.svc.alpha.example:{port}", number / 2);
        let grants = sets[number % sets.len()]
            .iter()
            .cloned()
            .map(|(peer, callers)| Grant { peer, callers });
        builder
            .export(service.parse().expect("a service"), grants.collect())
            .expect("a new service");
    }
    builder.build(1).expect("a small table")
}

/// A table with one service of each kind: terminated and passthrough.
fn passthrough() -> Vec<u8> {
    let mut builder = TableBuilder::new("alpha.example".parse().expect("a trust domain"));
    let service = |text: &str| text.parse().expect("a service");
    let grant = Grant { peer: peer(&mut builder, "beta", Mode::Enforce), callers: Callers::Any };
    builder.export(service("web.shop.svc.alpha.example:80"), vec![grant]).expect("a new service");
    builder.passthrough(service("db.shop.svc.alpha.example:5432")).expect("a new service");
    builder.build(1).expect("a small table")
}

fn peer(builder: &mut TableBuilder, name: &str, mode: Mode) -> PeerIndex {
    let trust_domain = format!("{name}.example").parse().expect("a trust domain");
    builder
        .peer(Peer { name: name.parse().expect("a name"), trust_domain, mode })
        .expect("a new peer")
}

fn only(namespace: &str, service_account: &str) -> Callers {
    let parse = |text| Pattern::parse(text).expect("a pattern");
    Callers::Only(
        [CallerPattern { namespace: parse(namespace), service_account: parse(service_account) }]
            .into(),
    )
}
