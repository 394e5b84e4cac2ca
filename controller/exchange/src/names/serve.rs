//! Sockets. Any Pod may send anything, so each client and all together have limits.

use super::answer::{Answer, Transport, answer};
use super::table::Names;
use hickory_resolver::proto::op::ResponseCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::select;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The names in force; `None` until they are known.
pub type Served = watch::Receiver<Option<Arc<Names>>>;

/// The longest question that is read. A name has at most 255 bytes.
const LONGEST_QUESTION: usize = 4096;
/// How many TCP connections may be open, in total and from one address.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_SOURCE: usize = 64;
/// How long a TCP connection may take for a question, and how long it may last.
const IDLE: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(120);

/// What the server counts. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    answers: Family<Code, Counter>,
    names: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let answers = "Answers to DNS questions, by code";
        registry.register("fedgate_dns_answers", answers, self.answers.clone());
        registry.register("fedgate_dns_names", "Names that have an address", self.names.clone());
    }

    /// Shows how many names are served.
    pub fn show(&self, names: &Names) {
        self.names.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
    }

    fn answered(&self, code: ResponseCode) {
        let code = match code {
            ResponseCode::NoError => "noerror",
            ResponseCode::NXDomain => "nxdomain",
            ResponseCode::Refused => "refused",
            ResponseCode::ServFail => "servfail",
            _ => "other",
        };
        self.answers.get_or_create(&Code { code }).inc();
    }
}

/// Answers datagrams.
///
/// # Errors
/// If the socket fails.
pub async fn serve_udp(socket: UdpSocket, names: Served, metrics: Metrics) -> io::Result<()> {
    let mut buffer = [0; LONGEST_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An earlier answer could not be delivered.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(bytes) = answered(question, &names, Transport::Udp, &metrics) {
            // A client that cannot be reached asks again.
            let _ = socket.send_to(&bytes, client).await;
        }
    }
}

/// Answers over TCP, to clients for which a datagram is too short.
///
/// # Errors
/// Never: what fails is one connection.
pub async fn serve_tcp(listener: TcpListener, names: Served, metrics: Metrics) -> io::Result<()> {
    let (places, sources) = (Arc::new(Semaphore::new(CONNECTIONS)), Sources::default());
    let (crowded, mut open) = (Arc::new(Notify::new()), JoinSet::new());
    loop {
        while open.try_join_next().is_some() {}
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a DNS connection cannot be accepted, trying again: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = sources.seat(client.ip()) else { continue };
        if places.available_permits() == 0 {
            crowded.notify_one();
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let (names, metrics, crowded) = (names.clone(), metrics.clone(), Arc::clone(&crowded));
        open.spawn(async move {
            let _held = (place, seat);
            let _ = timeout(LIFE, converse(stream, &names, &metrics, &crowded)).await;
        });
    }
}

/// Answers the questions of a connection. When it is crowded, the connection that has waited longest
/// for a question ends (RFC 7766, section 6.2.3): [`Notify`] wakes in the order of waiting.
async fn converse(
    mut stream: TcpStream,
    names: &Served,
    metrics: &Metrics,
    crowded: &Notify,
) -> io::Result<()> {
    let mut question = Vec::new();
    loop {
        let is_whole = select! {
            biased;
            is_whole = timeout(IDLE, read_question(&mut stream, &mut question)) => is_whole??,
            () = crowded.notified() => false,
        };
        if !is_whole {
            return Ok(());
        }
        let Some(bytes) = answered(&question, names, Transport::Tcp, metrics) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(bytes.len()) else { return Ok(()) };
        let message = [&length.to_be_bytes(), bytes.as_slice()].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}

/// Reads a message, which follows its length in two bytes. False if it is too long.
async fn read_question(stream: &mut TcpStream, question: &mut Vec<u8>) -> io::Result<bool> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_QUESTION {
        return Ok(false);
    }
    question.resize(length, 0);
    stream.read_exact(question).await.map(|_| true)
}

fn answered(
    question: &[u8],
    names: &Served,
    over: Transport,
    metrics: &Metrics,
) -> Option<Vec<u8>> {
    let names = names.borrow().clone();
    let Answer { bytes, code } = answer(question, names.as_deref(), over)?;
    metrics.answered(code);
    Some(bytes)
}

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection of an address, for as long as it lasts.
struct Seat(Sources, IpAddr);

impl Sources {
    fn seat(&self, source: IpAddr) -> Option<Seat> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= CONNECTIONS_PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Seat(self.clone(), source))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}
