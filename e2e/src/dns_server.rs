//! A small DNS server (RFC 1035) for the addresses of gateways, whose records a test changes.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

type Shared = Arc<Mutex<Zone>>;

/// What the server answers.
#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<IpAddr>>,
    /// Whether questions for IPv4 addresses fail.
    fails_for_ipv4: bool,
}

/// How long an answer is valid, in seconds.
const TTL: u32 = 1;
const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// A running server. Stops when dropped.
pub struct DnsServer {
    zone: Shared,
    program: PathBuf,
    _tasks: JoinSet<()>,
}

impl DnsServer {
    /// Starts one on port 53 of an address of the tests' own network, and writes a program to
    /// `folder` that runs `fedgate` with this server as its only one.
    ///
    /// # Errors
    /// When the port is taken, or the program cannot be written.
    pub async fn start(folder: &Path, address: IpAddr) -> Result<Self> {
        let at = SocketAddr::new(address, 53);
        let socket = UdpSocket::bind(at).await.with_context(|| format!("a DNS server at {at}"))?;
        let zone = Shared::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(socket, zone.clone()));
        let settings = folder.join("resolv.conf");
        std::fs::write(&settings, format!("nameserver {address}\n"))?;
        let program = folder.join("fedgate-with-dns");
        let fedgate = crate::programs::fedgate()?.display();
        let script = format!(
            "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {} /etc/resolv.conf && exec {fedgate} \"$@\"' sh \"$@\"\n",
            settings.display()
        );
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { zone, program, _tasks: tasks })
    }

    /// The program that asks this server.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Sets all addresses of a name. Without any, there is no such name.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.records.insert(name.to_owned(), addresses.to_vec());
    }

    /// From now on, questions for IPv4 addresses fail, or not.
    pub fn set_fails_for_ipv4(&self, fails: bool) {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).fails_for_ipv4 = fails;
    }
}

async fn serve(socket: UdpSocket, zone: Shared) {
    let mut query = [0; 512];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query).await else { continue };
        let answer = {
            let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&query[..length], &zone)
        };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// The answer to a query with one question; `None` if it is none.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(label.to_ascii_lowercase()).ok()?);
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let records = zone.records.get(&labels.join("."));
    let known = records.filter(|addresses| !addresses.is_empty());
    let fails = kind == TYPE_A && zone.fails_for_ipv4;
    let is_asked = |ip: &&IpAddr| match kind {
        TYPE_A => ip.is_ipv4(),
        TYPE_AAAA => ip.is_ipv6(),
        _ => false,
    };
    let found = known.into_iter().flatten().filter(|ip| is_asked(ip) && !fails);
    let found: Vec<_> = found.collect();
    let code = match (fails, known) {
        (true, _) => SERVER_FAILURE,
        (false, None) => NO_SUCH_NAME,
        (false, Some(_)) => 0,
    };
    // An authoritative answer, to one question.
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(found.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(query.get(HEADER..at + 4)?);
    for ip in found {
        let data = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        // The name is that of the question.
        answer.extend([0xc0, HEADER as u8]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(TTL.to_be_bytes());
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}
