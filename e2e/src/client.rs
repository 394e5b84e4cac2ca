//! Clients: one that can use any certificate and any SNI, and a plain one for the egress.

use crate::authority::Identity;
use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The timeout of everything that a client waits for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A TLS client that accepts any server certificate: it plays an attacker, or the test checks only
/// the server's side.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

/// An open connection.
pub type Connection = BufReader<TlsStream<TcpStream>>;

impl Client {
    /// A client with or without a certificate.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn new(identity: Option<&Identity>) -> Result<Self> {
        Self::with_versions(identity, rustls::DEFAULT_VERSIONS)
    }

    /// A client that offers only these TLS versions.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn with_versions(
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<Self> {
        Self::with_provider(identity, versions, aws_lc_rs::default_provider())
    }

    /// A client that offers only TLS 1.3 with this key exchange group.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn with_group(
        identity: Option<&Identity>,
        group: &'static dyn SupportedKxGroup,
    ) -> Result<Self> {
        let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
        Self::with_provider(identity, &[&rustls::version::TLS13], provider)
    }

    fn with_provider(
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        provider: CryptoProvider,
    ) -> Result<Self> {
        let provider = Arc::new(provider);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
        let config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// A session that has not started, for a client that stops in the middle of it.
    ///
    /// # Errors
    /// When `sni` is not a valid server name.
    pub fn session(&self, sni: &str) -> Result<ClientConnection> {
        Ok(ClientConnection::new(self.config.clone(), ServerName::try_from(sni.to_owned())?)?)
    }

    /// Connects and completes the client's side of the handshake. In TLS 1.3 the server has not
    /// checked the client's certificate by then: the first read reports a refusal.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub async fn connect(&self, gateway: SocketAddr, sni: &str) -> Result<Connection> {
        let name = ServerName::try_from(sni.to_owned())?;
        let connector = TlsConnector::from(self.config.clone());
        self.finish(gateway, connector, name).await
    }

    /// Like [`Self::connect`], without an SNI.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub async fn connect_without_sni(&self, gateway: SocketAddr) -> Result<Connection> {
        // TLS sends no SNI for an IP address (RFC 6066, section 3).
        self.finish(
            gateway,
            TlsConnector::from(self.config.clone()),
            ServerName::from(gateway.ip()),
        )
        .await
    }

    async fn finish(
        &self,
        gateway: SocketAddr,
        connector: TlsConnector,
        name: ServerName<'static>,
    ) -> Result<Connection> {
        let connect = async {
            let stream = TcpStream::connect(gateway).await.context("in the connect")?;
            connector.connect(name, stream).await.context("in the handshake")
        };
        Ok(BufReader::new(
            timeout(PATIENCE, connect).await.context("in the handshake: no answer")??,
        ))
    }

    /// Connects, requests `/` and closes the connection.
    ///
    /// # Errors
    /// When the answer is not an HTTP response.
    pub async fn get(&self, gateway: SocketAddr, sni: &str, host: &str) -> Result<Response> {
        let mut connection = self.connect(gateway, sni).await?;
        get_on(&mut connection, host).await
    }

    /// Like [`Self::get`], for another path than `/`.
    ///
    /// # Errors
    /// When the answer is not an HTTP response.
    pub async fn get_path(
        &self,
        gateway: SocketAddr,
        sni: &str,
        host: &str,
        path: &str,
    ) -> Result<Response> {
        let mut connection = self.connect(gateway, sni).await?;
        get_path_on(&mut connection, host, path).await
    }

    /// The same client, offering the application protocol `istio` as sidecars do. A gateway that
    /// passes TLS through requires it.
    pub fn offering_istio(&self) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![b"istio".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// Connects and reads the first line, which the server sends unasked.
    ///
    /// # Errors
    /// When the connection fails, or is closed before the line arrives.
    pub async fn greeting(&self, gateway: SocketAddr, sni: &str) -> Result<(Connection, String)> {
        let mut connection = self.connect(gateway, sni).await?;
        let line = read_line(&mut connection).await?;
        Ok((connection, line))
    }
}

/// Returns true if the handshake resumed an earlier session.
pub fn resumed(connection: &Connection) -> bool {
    connection.get_ref().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The server's certificate.
pub fn server_certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    Some(connection.get_ref().get_ref().1.peer_certificates()?.first()?.clone().into_owned())
}

/// Requests `/` over a plain connection, as a program behind the egress does.
///
/// # Errors
/// When the answer is not an HTTP response.
pub async fn plain_get(egress: SocketAddr, host: &str) -> Result<Response> {
    let stream = timeout(PATIENCE, TcpStream::connect(egress)).await??;
    get_on(&mut BufReader::new(stream), host).await
}

/// Opens a plain connection and reads the first line, which the server sends unasked.
///
/// # Errors
/// When the connection fails, or is closed before the line arrives.
pub async fn plain_greeting(egress: SocketAddr) -> Result<(BufReader<TcpStream>, String)> {
    let mut stream = BufReader::new(timeout(PATIENCE, TcpStream::connect(egress)).await??);
    let line = read_line(&mut stream).await?;
    Ok((stream, line))
}

/// Sends a line and reads the reply line.
///
/// # Errors
/// When the connection is closed.
pub async fn send_line<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    line: &str,
) -> Result<String> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await?;
    read_line(stream).await
}

/// Waits until the other side closes the connection.
///
/// # Errors
/// When it is still open after `deadline`, or the other side sends something.
pub async fn wait_closed<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
    deadline: Duration,
) -> Result<()> {
    let mut buffer = [0; 256];
    match timeout(deadline, stream.read(&mut buffer)).await {
        // A reset counts as a close, and so does TLS without close_notify.
        Ok(Ok(0) | Err(_)) => Ok(()),
        Ok(Ok(count)) => {
            bail!(
                "expected a close, found {count} bytes: {:?}",
                String::from_utf8_lossy(&buffer[..count])
            )
        }
        Err(_) => bail!("the connection was still open after {deadline:?}"),
    }
}

/// Reads a line and strips its line ending.
///
/// # Errors
/// When the connection is closed before a line arrives.
pub async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<String> {
    let mut line = String::new();
    match timeout(PATIENCE, stream.read_line(&mut line))
        .await
        .context("no line came")?
        .context("after the handshake")?
    {
        0 => bail!("after the handshake: closed without a word"),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Requests `/` on an open connection, which is closed afterwards.
///
/// # Errors
/// When the answer is not an HTTP response.
pub async fn get_on<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    host: &str,
) -> Result<Response> {
    get_path_on(stream, host, "/").await
}

async fn get_path_on<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    host: &str,
    path: &str,
) -> Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("after the handshake")?;
    stream.flush().await.context("after the handshake")?;
    let mut answer = Vec::new();
    let read =
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("no response came")?;
    let text = String::from_utf8_lossy(&answer);
    match parse_response(&text) {
        Some(response) => Ok(response),
        None => {
            read.context("after the handshake")?;
            bail!("after the handshake: closed, and instead of an HTTP response came {text:?}")
        }
    }
}

fn parse_response(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Response { status, body: body.trim_end().to_owned() })
}

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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
