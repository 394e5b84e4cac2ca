//! A peer that polls another cluster's metadata endpoint, as a controller does: a connection for
//! each round, TLS sessions that are resumed, a token for each private document.

use crate::cluster::Cluster;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a round may take.
const LONGEST: Duration = Duration::from_secs(10);
/// The paths of the two documents.
const PATHS: [&str; 2] = ["public/public.json", "private/federation.json"];

/// One peer, and what it knows from earlier rounds.
pub struct Asker {
    /// Its own address: the exporter limits the connections of each.
    from: Ipv4Addr,
    to: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
    uuid: String,
    audience: String,
    key: KeyPair,
    etags: Mutex<[Option<String>; 2]>,
    /// The second of the last token.
    second: AtomicI64,
}

/// What a round brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// The statuses of the public and the private document.
    pub statuses: [u16; 2],
    /// From the beginning of the connection to the last byte of the second answer.
    pub time: Duration,
}

impl Asker {
    pub(super) fn new(number: usize, uuid: &str, key: &KeyPair, other: &Cluster) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(other.metadata_authority().der())?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        let to = other.metadata_address();
        let [_, high, middle, low] = u32::try_from(number)?.saturating_add(1 << 8).to_be_bytes();
        Ok(Self {
            from: Ipv4Addr::new(127, high.saturating_add(1), middle, low),
            to,
            tls: TlsConnector::from(Arc::new(config)),
            name: ServerName::from(to.ip()),
            uuid: uuid.to_owned(),
            audience: other.uuid().to_owned(),
            key: KeyPair::try_from(key.serialize_der())?,
            etags: Mutex::default(),
            second: AtomicI64::new(0),
        })
    }

    /// Asks for both documents over a new connection.
    ///
    /// # Errors
    /// When the connection fails, an answer is not HTTP, or the round takes too long.
    pub async fn round(&self) -> Result<Round> {
        let began = Instant::now();
        let statuses = tokio::time::timeout(LONGEST, self.ask()).await.context("too late")??;
        Ok(Round { statuses, time: began.elapsed() })
    }

    /// Asks for the private document that differs from the one it has, and waits for that up to 50
    /// seconds. Returns the status, and when the answer came.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub async fn wait_for_change(&self) -> Result<(u16, Instant)> {
        let mut stream = self.connect().await?;
        let headers = format!("authorization: Bearer {}\r\nprefer: wait=50\r\n", self.token()?);
        let status = self.document(&mut stream, 1, &headers).await?;
        Ok((status, Instant::now()))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.to).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        self.tls.connect(self.name.clone(), stream).await.context("handshake")
    }

    async fn ask(&self) -> Result<[u16; 2]> {
        let mut stream = self.connect().await?;
        let public = self.document(&mut stream, 0, "").await?;
        let token = format!("authorization: Bearer {}\r\nconnection: close\r\n", self.token()?);
        let private = self.document(&mut stream, 1, &token).await?;
        let _ = stream.shutdown().await;
        Ok([public, private])
    }

    /// Asks for one document; returns the status.
    async fn document(
        &self,
        stream: &mut TlsStream<TcpStream>,
        index: usize,
        headers: &str,
    ) -> Result<u16> {
        let known = self.etags()[index].clone();
        let known = known.map(|etag| format!("if-none-match: {etag}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /metadata/{} HTTP/1.1\r\nhost: {}\r\n{known}{headers}\r\n",
            PATHS[index], self.to
        );
        stream.write_all(request.as_bytes()).await?;
        let answer = answer(stream).await?;
        if answer.status == 200 {
            self.etags()[index] = answer.etag;
        }
        Ok(answer.status)
    }

    fn etags(&self) -> std::sync::MutexGuard<'_, [Option<String>; 2]> {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for the private document (peer protocol, section 3). Each is of another second, because
    /// equal ones count as one token, which is good for a second only.
    fn token(&self) -> Result<String> {
        let now = Timestamp::now().as_second();
        let next = |last: i64| Some(now.max(last + 1));
        let last = self.second.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let now = last.map_or(now, |last| now.max(last + 1));
        let claims = json!({
            "iss": "d8-istio",
            "aud": self.audience,
            "sub": self.uuid,
            "scope": "private-federation",
            "nbf": now,
            "exp": now + 60,
        });
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let signed =
            format!("{}.{}", encode(br#"{"alg":"EdDSA"}"#), encode(claims.to_string().as_bytes()));
        let signature = encode(&self.key.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// An answer's head. Its body is read and dropped.
struct Answer {
    status: u16,
    etag: Option<String>,
}

async fn answer(stream: &mut TlsStream<TcpStream>) -> Result<Answer> {
    let mut bytes = Vec::with_capacity(4096);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the connection was closed before an answer");
        }
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let header = |name: &str| {
        let line = head.lines().find(|line| {
            line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        })?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length: usize = match header("content-length") {
        Some(length) if status == 200 => length.parse()?,
        _ => 0,
    };
    let answer = Answer { status, etag: header("etag") };
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the connection was closed in the middle of a document");
        }
    }
    Ok(answer)
}
