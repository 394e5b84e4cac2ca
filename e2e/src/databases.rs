//! Small servers that hand out names of Pods, and clients that follow them.
//!
//! They stand for two protocols that do not work behind one name for all Pods. Only the parts that
//! matter for names are like the originals; the words are lines of text.
//!
//! - A [`broker`] stands for a Kafka broker. Whichever broker is asked first, it answers with the
//!   *advertised listener* of the one that leads, `kafka-1.kafka.NAMESPACE.svc.DOMAIN:9092`, and
//!   takes records only if it leads itself.
//! - A [`replica`] stands for a PostgreSQL server. A client has several hosts in its connection
//!   string and `target_session_attrs=read-write`: it connects to one after the other until a server
//!   does not say that it is in recovery.

use crate::client::send_line;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A server that answers each line.
#[derive(Debug)]
pub struct LineServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl LineServer {
    /// Starts one on an existing socket. `answer` gets each line.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn start(
        listener: TcpListener,
        answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_lines(stream, answer.clone()));
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LineServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_lines(
    mut stream: TcpStream,
    answer: impl Fn(&str) -> String,
) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("{}\r\n", answer(&line)).as_bytes()).await?;
    }
    Ok(())
}

/// Starts a broker with this name. `leader` is the host and port that all brokers advertise.
///
/// # Errors
/// When the socket has no address.
pub fn broker(listener: TcpListener, name: &str, leader: &str) -> Result<LineServer> {
    let (name, leader) = (name.to_owned(), leader.to_owned());
    let leads = leader.starts_with(&format!("{name}."));
    LineServer::start(listener, move |line| match line {
        "METADATA" => format!("LEADER {leader}"),
        _ if leads => format!("STORED {line} BY {name}"),
        _ => "NOT_LEADER_OR_FOLLOWER".to_owned(),
    })
}

/// Asks a broker who leads.
///
/// # Errors
/// When it does not answer with a host and a port.
pub async fn leader(broker: SocketAddr) -> Result<(String, u16)> {
    let answer = ask(broker, "METADATA").await?;
    let name = answer.strip_prefix("LEADER ").and_then(|name| name.rsplit_once(':'));
    let found = name.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    found.ok_or_else(|| anyhow::anyhow!("expected a leader, found {answer:?}"))
}

/// Stores a record at a broker; returns who stored it.
///
/// # Errors
/// When the broker does not lead.
pub async fn store(broker: SocketAddr, record: &str) -> Result<String> {
    let answer = ask(broker, record).await?;
    let by = answer.strip_prefix(&format!("STORED {record} BY "));
    by.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("the broker says {answer:?}"))
}

/// Starts a database server with this name.
///
/// # Errors
/// When the socket has no address.
pub fn replica(listener: TcpListener, name: &str, in_recovery: bool) -> Result<LineServer> {
    let name = name.to_owned();
    let recovery = if in_recovery { "on" } else { "off" };
    LineServer::start(listener, move |_| format!("READY in_hot_standby={recovery} {name}"))
}

/// Starts a session as `target_session_attrs=read-write` does; `None` if the server is in recovery,
/// otherwise its name.
///
/// # Errors
/// When the server does not answer as one.
pub async fn read_write(server: SocketAddr) -> Result<Option<String>> {
    let answer = ask(server, "STARTUP user=app").await?;
    let words: Vec<_> = answer.split(' ').collect();
    ensure!(words.len() == 3 && words[0] == "READY", "the server says {answer:?}");
    Ok((words[1] == "in_hot_standby=off").then(|| words[2].to_owned()))
}

/// Sends a line to a server; returns its answer.
///
/// # Errors
/// When it does not answer.
pub async fn ask(server: SocketAddr, line: &str) -> Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    send_line(&mut stream, line).await
}
