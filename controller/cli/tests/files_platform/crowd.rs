//! Many peers at once: changes that arrive together are compiled together.

use crate::cluster::Cluster;
use fedgate_core::{Hostname, ServicePort};
use fedgate_exchange::exporter::{
    self, Access, Document, ExporterSettings, MetadataPath, Metrics, Published, ServerTls,
};
use fedgate_exchange::keyring::Keyring;
use fedgate_federation::bundle::{Root, roots_from_pem};
use fedgate_federation::document::{
    ClusterUuid, GatewayAddress, GatewayHost, PrivateDocument, PublicDocument, PublicService,
    PublicServicePort,
};
use fedgate_federation::key::SigningKey;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

const PEERS: usize = 300;
/// Far more than needed, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

fn uuid(number: usize) -> ClusterUuid {
    ClusterUuid::parse(&format!("{number:08x}-aaaa-4aaa-8aaa-111111111111")).unwrap()
}

fn key(number: usize) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed).unwrap()
}

/// What a peer publishes: the document for all, and the one for cluster 0.
fn published(number: usize, root: &Root) -> Published {
    let public = PublicDocument {
        cluster_uuid: uuid(number),
        authn_key: key(number).public(),
        roots: vec![root.clone()],
        extension: None,
    };
    let port = |port| ServicePort::new(port).unwrap();
    let service = PublicService {
        hostname: Hostname::parse(&format!("web.shop.svc.p{number}.example")).unwrap(),
        ports: vec![PublicServicePort { name: "http".into(), port: port(80) }],
    };
    let gateway =
        GatewayAddress { address: GatewayHost::parse("192.0.2.7").unwrap(), port: port(15443) };
    let private = PrivateDocument {
        gateways: vec![gateway],
        services: vec![service].into(),
        extension: None,
    };
    let mut access = Access::new(uuid(number), key(number).public());
    access.allow(uuid(0), key(0).public(), Document::new(private.to_json()));
    Published { public: Some(Document::new(public.to_json())), bundle: None, access: Some(access) }
}

/// Serves a peer for as long as the runtime lives.
async fn serve(number: usize, tls: &Arc<ServerTls>, root: &Root) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (path, tls) = (MetadataPath::default(), Some(Arc::clone(tls)));
    let settings = ExporterSettings::new(path, tls, Metrics::default(), Keyring::default());
    let published = watch::Sender::new(Arc::new(published(number, root)));
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
    tokio::spawn(exporter::serve(listener, settings, published, std::future::pending()));
    address
}

fn manifest(number: usize, address: SocketAddr, ca: &str) -> String {
    let ca: String = ca.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "      {line}");
        text
    });
    format!(
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: p{number}}}\nspec:\n  trustDomain: \
         p{number}.example\n  metadataEndpoint: https://{address}/metadata\n  metadata:\n    ca: |\n{ca}"
    )
}

/// The value of one of the controller's metrics.
fn metric(cluster: &Cluster, name: &str) -> Option<u64> {
    let admin: Value =
        serde_json::from_slice(&fs::read(cluster.path("state/admin.json")).ok()?).ok()?;
    let mut stream = TcpStream::connect(admin["address"].as_str()?).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The processor time of a process, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
#[expect(clippy::disallowed_macros, reason = "it says what it measured")]
fn simultaneous_answers_of_peers_are_compiled_together() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut alpha = Cluster::new("alpha");
    let root = roots_from_pem(&alpha.root_pem, 1 << 14).remove(0).unwrap();
    let pem = |name: &str| fs::read(alpha.path(&format!("identity/{name}"))).unwrap();
    let tls = Arc::new(ServerTls::from_pem(&pem("metadata.pem"), &pem("metadata.key")).unwrap());
    fs::create_dir(alpha.path("state")).unwrap();
    alpha.put("state/authn.key", &key(0).to_pem());
    alpha.put(
        "fedgate.yaml",
        &format!("clusterUUID: {}\n{}", uuid(0), alpha.settings().replace("poll: 1s", "poll: 10m")),
    );
    let manifests: String = (1..=PEERS)
        .map(|number| {
            manifest(number, runtime.block_on(serve(number, &tls, &root)), &alpha.root_pem)
                + "---\n"
        })
        .collect();
    alpha.put("manifests/peers.yaml", &manifests);
    alpha.start();
    let began = Instant::now();
    while metric(&alpha, "fedgate_imports") != Some(PEERS as u64) {
        assert!(
            began.elapsed() < DEADLINE,
            "{:?} imports\n{}",
            metric(&alpha, "fedgate_imports"),
            alpha.log()
        );
        #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
        std::thread::sleep(Duration::from_millis(100));
    }
    let compilations = metric(&alpha, "fedgate_compilations_total").unwrap();
    println!(
        "{PEERS} peers: {:.1} s, {:.1} s of processor time, {compilations} compilations",
        began.elapsed().as_secs_f64(),
        ticks(alpha.pid()) as f64 / 100.0
    );
    // Each peer answers twice.
    assert!(compilations < PEERS as u64 / 2, "{compilations} compilations");
    assert_eq!(alpha.stop(), 0);
}
