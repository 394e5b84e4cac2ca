//! A query to a DNS server (RFC 1035): istio-agent's proxy, CoreDNS, or fedgate's own.

use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The address of istio-agent's DNS proxy in each Pod. In a real Pod iptables redirects queries for port 53
/// to it.
pub const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15053);

const PATIENCE: Duration = Duration::from_secs(5);

/// The header: our ID, recursion desired, one question.
const HEADER: [u8; 12] = [0x0f, 0xed, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// The answer to a question for an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The response code: 0 if the name exists, 3 (NXDOMAIN) if not, 5 if the server refuses.
    pub code: u8,
    /// The first address.
    pub address: Option<Ipv4Addr>,
}

/// The name does not exist.
pub const MISSING: Answer = Answer { code: 3, address: None };

/// The server does not answer for such names.
pub const REFUSED: Answer = Answer { code: 5, address: None };

/// Asks a server for a name's IPv4 address.
///
/// # Errors
/// When no answer arrives.
pub async fn ask(server: SocketAddr, name: &str) -> Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let question = question(name)?;
    socket.send_to(&question, server).await?;
    let mut answer = [0; 512];
    let length = timeout(PATIENCE, socket.recv(&mut answer))
        .await
        .with_context(|| format!("{server} does not answer"))??;
    let answer = &answer[..length];
    let code = answer.get(3).context("the answer has no header")? & 0x0f;
    Ok(Answer { code, address: address(answer, question.len()) })
}

/// Resolves a name to its first IPv4 address.
///
/// # Errors
/// When there is no address, or no answer arrives.
pub async fn resolve(server: SocketAddr, name: &str) -> Result<Ipv4Addr> {
    ask(server, name).await?.address.with_context(|| format!("{name} has no address"))
}

fn question(name: &str) -> Result<Vec<u8>> {
    let mut question = HEADER.to_vec();
    for label in name.split('.') {
        ensure!((1..64).contains(&label.len()), "{name} is no DNS name");
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend(ADDRESS);
    Ok(question)
}

/// The address in the first answer, which follows the question. The answer's name is either a
/// pointer (2 bytes) or spelled out as in the question.
fn address(answer: &[u8], question: usize) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let name = match answer.get(question)? & 0xc0 {
        0xc0 => 2,
        _ => question - HEADER.len() - ADDRESS.len(),
    };
    // Type, class, TTL and length: 10 bytes.
    let record = answer.get(question + name..)?;
    let data: [u8; 4] = record.get(10..14)?.try_into().ok()?;
    (answers > 0 && record.starts_with(&ADDRESS)).then(|| Ipv4Addr::from(data))
}
