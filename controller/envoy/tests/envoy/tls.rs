//! Client and server ends of connections, plain and TLS.

use super::pki::{Authority, Leaf};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Sends `ping` and reads as many bytes back.
pub(crate) fn ping(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

/// A plain connection that has answered once.
pub(crate) fn open_plain(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    ping(&mut stream)?;
    Ok(stream)
}

pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection that has answered once.
pub(crate) fn open_tls(
    address: SocketAddr,
    leaf: &Leaf,
    server_name: &str,
) -> io::Result<TlsClient> {
    let mut stream = connect_tls(address, leaf, server_name)?;
    ping(&mut stream)?;
    Ok(stream)
}

/// A connection whose handshake comes with the first byte. It accepts any server, because these
/// tests are about whom the server lets in.
pub(crate) fn connect_tls(
    address: SocketAddr,
    leaf: &Leaf,
    server_name: &str,
) -> io::Result<TlsClient> {
    connect_with(client_config(leaf), address, server_name)
}

/// A client's configuration, with the sessions that it may resume.
pub(crate) fn client_config(leaf: &Leaf) -> Arc<ClientConfig> {
    client_config_of(leaf, rustls::DEFAULT_VERSIONS)
}

/// Like `client_config`, for these TLS versions only.
pub(crate) fn client_config_of(
    leaf: &Leaf,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        .with_client_auth_cert(leaf.chain(), leaf.key())
        .unwrap();
    Arc::new(config)
}

pub(crate) fn connect_with(
    config: Arc<ClientConfig>,
    address: SocketAddr,
    server_name: &str,
) -> io::Result<TlsClient> {
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    Ok(StreamOwned::new(connection, connect(address)?))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A server that echoes what it gets, and counts its connections.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn start() -> Self {
        Self::greeting(b"")
    }

    /// A server that speaks first.
    pub(crate) fn greeting(greeting: &'static [u8]) -> Self {
        Self::on(SocketAddr::new(super::world::LOOPBACK, 0), greeting)
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::on(address, b"")
    }

    fn on(address: SocketAddr, greeting: &'static [u8]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || stream.write_all(greeting).map(|()| echo(stream)));
            }
        });
        Self { address, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address that does not answer, because its queue is full.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _held: (TcpListener, Vec<TcpStream>),
}

impl BlackHole {
    pub(crate) fn dig() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "its queue has no end");
        }
        Self { address, _held: (listener, waiting) }
    }
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// What a peer's gateway saw of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedConnection {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) resumed: bool,
    pub(crate) client: Option<Vec<u8>>,
}

/// A peer's gateway that echoes what it gets, and remembers the clients it let in. It offers to
/// resume sessions.
pub(crate) struct TlsEcho {
    pub(crate) address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    trusted: CertificateDer<'static>,
    observed: Arc<Mutex<Vec<ObservedConnection>>>,
}

impl TlsEcho {
    pub(crate) fn start(leaf: &Leaf, trusted: &Authority) -> Self {
        Self::listen(SocketAddr::new(super::world::LOOPBACK, 0), leaf, trusted)
    }

    pub(crate) fn listen(address: SocketAddr, leaf: &Leaf, trusted: &Authority) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(server_config(leaf, trusted.root())));
        let observed = Arc::new(Mutex::new(Vec::new()));
        let echo = Self {
            address,
            config: config.clone(),
            trusted: trusted.root(),
            observed: observed.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, observed) = (config.lock().unwrap().clone(), observed.clone());
                thread::spawn(move || serve(stream, config, &observed));
            }
        });
        echo
    }

    /// Sets the certificate to show from now on.
    pub(crate) fn show(&self, leaf: &Leaf) {
        *self.config.lock().unwrap() = server_config(leaf, self.trusted.clone());
    }

    pub(crate) fn observed(&self) -> Vec<ObservedConnection> {
        self.observed.lock().unwrap().clone()
    }
}

fn server_config(leaf: &Leaf, trusted: CertificateDer<'static>) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain(), leaf.key())
        .unwrap();
    config.alpn_protocols = vec![b"istio".to_vec()];
    Arc::new(config)
}

fn serve(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    observed: &Mutex<Vec<ObservedConnection>>,
) {
    let mut connection = ServerConnection::new(config).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return;
        }
    }
    observed.lock().unwrap().push(ObservedConnection {
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        client: connection.peer_certificates().map(|chain| chain[0].to_vec()),
    });
    echo(StreamOwned::new(connection, stream));
}
