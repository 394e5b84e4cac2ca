//! For tests: a CA, and TLS servers on loopback that do whatever a test needs.

use crate::{exporter::ServerTls, importer::Identity, keyring::Keyring};
use fedgate_federation::{document::ClusterUuid, key::SigningKey};
use fedgate_process::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A CA with a fresh key.
pub struct TestCa(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and key in PEM.
pub struct Leaf {
    pub chain: String,
    pub key: String,
}

impl TestCa {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A CA certificate that is also valid as a server certificate for `host`, until the start of
    /// `year`.
    pub fn for_host(host: &str, year: i32) -> Self {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The CA's own certificate and key, for use by a server.
    pub fn itself(&self) -> Leaf {
        Leaf { chain: self.0.pem(), key: self.0.key().serialize_pem() }
    }

    pub fn der(&self) -> Box<[u8]> {
        self.0.der().to_vec().into()
    }

    /// A certificate for 127.0.0.1.
    pub fn leaf(&self) -> Leaf {
        self.sign(CertificateParams::new(["127.0.0.1".to_owned()]).unwrap())
    }

    pub fn leaf_for(&self, name: &str) -> Leaf {
        self.sign(CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A workload's certificate with these URI SANs, in this order.
    pub fn leaf_of(&self, uris: &[&str]) -> Leaf {
        self.sign(with_uris(uris))
    }

    pub fn expired_leaf_of(&self, uri: &str) -> Leaf {
        let mut params = with_uris(&[uri]);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    pub fn expired_leaf(&self) -> Leaf {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    /// A workload's, as istiod signs it.
    pub fn workload(&self, uris: &[&str], from: Timestamp, to: Timestamp) -> Leaf {
        let mut params = with_uris(uris);
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = std::time::SystemTime::from(from).into();
        params.not_after = std::time::SystemTime::from(to).into();
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        Leaf { chain: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn with_uris(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

impl Leaf {
    /// The chain, leaf first.
    pub fn der(&self) -> Vec<Vec<u8>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .map(|der| der.unwrap().to_vec())
            .collect()
    }

    pub fn tls(&self) -> Arc<ServerTls> {
        Arc::new(ServerTls::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap())
    }
}

/// A server that stops when the test ends.
pub struct Server {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Passes each TCP connection to `handle`.
    pub async fn tcp<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        Self::tcp_on("127.0.0.1:0", handle).await
    }

    pub async fn tcp_on<F: Future<Output = ()> + Send + 'static>(
        address: &str,
        handle: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        Self { address, task }
    }

    /// Passes each connection to `handle`, after the TLS handshake and with the head of its first
    /// request.
    pub async fn tls<F: Future<Output = ()> + Send + 'static>(
        leaf: &Leaf,
        handle: impl Fn(String, TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let tls = leaf.tls();
        Self::tcp(move |stream| {
            let (tls, handle) = (tls.clone(), handle.clone());
            async move {
                let Ok(mut stream) = tls.acceptor().accept(stream).await else { return };
                if let Some(head) = read_head(&mut stream).await {
                    handle(head, stream).await;
                }
            }
        })
        .await
    }

    /// A server that shows `leaf` and refuses every client, because none has a certificate of its
    /// CA.
    pub async fn gateway(leaf: &Leaf, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::gateway_on("127.0.0.1:0", leaf, versions).await
    }

    async fn gateway_on(
        address: &str,
        leaf: &Leaf,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let acceptor = acceptor(leaf, &TestCa::new(), versions);
        Self::tcp_on(address, move |stream| {
            let acceptor = acceptor.clone();
            async move { drop(acceptor.accept(stream).await) }
        })
        .await
    }

    /// The same at an address, with TLS 1.2 and 1.3.
    pub async fn of_pod(address: &str, leaf: &Leaf) -> Self {
        Self::gateway_on(address, leaf, &[&TLS13, &TLS12]).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

/// Reads a request's head, including the blank line. `None` if the client has gone away.
pub async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?.into());
    }
    Some(head)
}

/// A cluster UUID, and the key of that cluster.
#[derive(Clone)]
pub struct OneKey {
    pub cluster_uuid: ClusterUuid,
    pub key: SigningKey,
}

impl From<OneKey> for Identity {
    fn from(OneKey { cluster_uuid, key }: OneKey) -> Self {
        Self { cluster_uuid, keyring: Keyring::new(key) }
    }
}

/// A fresh cluster UUID and key.
pub fn identity() -> OneKey {
    let cluster_uuid = ClusterUuid::parse(&uuid::Uuid::new_v4().to_string()).unwrap();
    let mut seed = [0; 32];
    seed.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
    OneKey { cluster_uuid, key: SigningKey::from_seed(&seed).unwrap() }
}

/// A clock that a test can set.
#[derive(Clone)]
pub struct TestClock {
    /// Seconds since 1970 while the clock stands still, or seconds ahead of the system clock while
    /// it runs.
    seconds: Arc<AtomicI64>,
    goes: bool,
}

impl TestClock {
    /// A clock that stands still at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self { seconds: Arc::new(AtomicI64::new(1_767_225_600)), goes: false }
    }

    /// A clock that follows the system clock, from which HTTP servers take their `Date`.
    pub fn going() -> Self {
        Self { seconds: Arc::default(), goes: true }
    }

    pub fn advance(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let seconds = self.seconds.load(Ordering::SeqCst);
        match self.goes {
            true => Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).unwrap(),
            false => Timestamp::from_second(seconds).unwrap(),
        }
    }
}

/// Takes clients with certificates by `clients_ca`.
pub(crate) fn acceptor(
    leaf: &Leaf,
    clients_ca: &TestCa,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut clients = RootCertStore::empty();
    clients.add(CertificateDer::from(clients_ca.der().into_vec())).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(clients.into(), provider.clone())
        .build()
        .unwrap();
    let config =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    Arc::new(config.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap()).into()
}
