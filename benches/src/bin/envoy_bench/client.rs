//! A client of the gateway: one connection, and what is checked about it.

use crate::backends::{ONCE, STAY};
use crate::world::Call;
use anyhow::{Context, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No answer takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The right back end answers.
    Granted,
    /// It is closed during the handshake.
    RefusedEarly,
    /// It is closed after the handshake.
    RefusedLate,
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A client with its certificate. Its sessions are never resumed.
pub(crate) struct Client {
    call: Call,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    pub(crate) fn new(call: &Call, version: &'static SupportedProtocolVersion) -> Result<Self> {
        let provider = CryptoProvider {
            // With TLS 1.2, a client must also name the curve of the server's key.
            kx_groups: vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1],
            ..aws_lc_rs::default_provider()
        };
        let provider = Arc::new(provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_client_cert_resolver(Arc::new(One(Arc::clone(&call.certificate))));
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(call.server_name.clone())?;
        Ok(Self { call: call.clone(), config: Arc::new(config), name })
    }

    /// Makes a connection that must have this fate. Returns how long it took to the first byte of
    /// the answer, or to the refusal.
    pub(crate) fn expect(&self, gateway: SocketAddr, expected: Fate) -> Result<Duration> {
        let (fate, took) = self.ask(gateway)?;
        let name = &self.call.server_name;
        ensure!(fate == expected, "{name}: expected {expected:?}, found {fate:?}");
        Ok(took)
    }

    /// Makes a connection, and returns its fate and how long that took.
    ///
    /// A wrong answer is an error, and so is a connection that is neither answered nor closed, or
    /// closed with a TLS alert: that is not the decision which is measured.
    pub(crate) fn ask(&self, gateway: SocketAddr) -> Result<(Fate, Duration)> {
        let start = Instant::now();
        let mut stream = self.connect(gateway)?;
        match self.answer(&mut stream, ONCE) {
            Ok(first) => {
                // The back end closes.
                ensure!(
                    stream.read(&mut [0; 1])? == 0,
                    "{}: a second answer",
                    self.call.server_name
                );
                Ok((Fate::Granted, first - start))
            }
            Err(error) if is_closed(&error) => {
                let fate = match stream.conn.is_handshaking() {
                    true => Fate::RefusedEarly,
                    false => Fate::RefusedLate,
                };
                Ok((fate, start.elapsed()))
            }
            Err(error) => Err(error).context(self.call.server_name.clone()),
        }
    }

    /// Opens a connection that stays, for requests of this size.
    pub(crate) fn open(&self, gateway: SocketAddr, size: usize) -> Result<Open> {
        let mut stream = self.connect(gateway)?;
        self.answer(&mut stream, STAY).context(self.call.server_name.clone())?;
        Ok(Open { stream, sent: vec![0x5a; size], got: vec![0; size] })
    }

    fn connect(&self, gateway: SocketAddr) -> Result<TlsStream> {
        let socket = TcpStream::connect(gateway).context("cannot connect")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        Ok(StreamOwned::new(session, socket))
    }

    /// Sends a word and reads the answer, which must be the right back end's. Returns when its
    /// first byte came.
    fn answer(&self, stream: &mut TlsStream, word: &[u8]) -> std::io::Result<Instant> {
        stream.write_all(word)?;
        let mut answer = vec![0; self.call.answer.len()];
        let length = stream.read(&mut answer)?;
        let first = Instant::now();
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        stream.read_exact(&mut answer[length..])?;
        if answer != self.call.answer.as_bytes() {
            let found = String::from_utf8_lossy(&answer);
            return Err(Error::other(format!("expected {:?}, found {found:?}", self.call.answer)));
        }
        Ok(first)
    }
}

/// Returns true if the proxy closed the connection.
fn is_closed(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// An open connection.
pub(crate) struct Open {
    stream: TlsStream,
    sent: Vec<u8>,
    got: Vec<u8>,
}

impl Open {
    /// Sends a request, and checks that it comes back.
    pub(crate) fn echo(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.stream.write_all(&self.sent)?;
        self.stream.read_exact(&mut self.got)?;
        if self.sent != self.got {
            bail!("the answer differs from the request");
        }
        Ok(start.elapsed())
    }
}

/// Presents one certificate.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesClientCert for One {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any server: checking its certificate would cost the client time, and Envoy none.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
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
