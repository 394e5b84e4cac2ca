//! For tests: a CA, and TLS servers on loopback that do whatever a test makes them do.

use crate::{exporter::ServerTls, importer::Identity};
use fedgate_federation::{document::ClusterUuid, key::SigningKey};
use fedgate_process::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};
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
use tokio_rustls::server::TlsStream;

/// A CA whose key was made a moment ago.
pub struct TestCa(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and key, PEM.
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

    /// One that is a server's certificate for `host` too, until the end of a year before `year`.
    pub fn for_host(host: &str, year: i32) -> Self {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate and key, to serve with.
    pub fn itself(&self) -> Leaf {
        Leaf { chain: self.0.pem(), key: self.0.key().serialize_pem() }
    }

    pub fn der(&self) -> Box<[u8]> {
        self.0.der().to_vec().into()
    }

    /// For 127.0.0.1.
    pub fn leaf(&self) -> Leaf {
        self.sign(CertificateParams::new(["127.0.0.1".to_owned()]).unwrap())
    }

    pub fn leaf_for(&self, name: &str) -> Leaf {
        self.sign(CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// Of a workload with these URI SANs, in this order.
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

    fn sign(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        Leaf { chain: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn with_uris(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

impl Leaf {
    pub fn tls(&self) -> Arc<ServerTls> {
        Arc::new(ServerTls::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap())
    }
}

/// A server that ends with the test.
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
    /// Hands each TCP connection to `handle`.
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

    /// Hands each connection to `handle` once TLS came about, and the head of a request is there.
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

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

/// A request's head, blank line included; `None` when the client is gone.
pub async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?.into());
    }
    Some(head)
}

/// A cluster's UUID and key, made a moment ago.
pub fn identity() -> Identity {
    let cluster_uuid = ClusterUuid::parse(&uuid::Uuid::new_v4().to_string()).unwrap();
    let mut seed = [0; 32];
    seed.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
    Identity { cluster_uuid, key: SigningKey::from_seed(&seed).unwrap() }
}

/// A clock that a test sets.
#[derive(Clone)]
pub struct TestClock {
    /// Seconds since 1970, or how far it is ahead of the machine's clock when it goes.
    seconds: Arc<AtomicI64>,
    goes: bool,
}

impl TestClock {
    /// It stands at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self { seconds: Arc::new(AtomicI64::new(1_767_225_600)), goes: false }
    }

    /// It goes as the machine's does, which is also what HTTP servers tell their clients.
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
