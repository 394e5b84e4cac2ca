//! A Service in front of several replicas, as kube-proxy implements it: connections go to a live
//! one. It can say from where connections come, as load balancers in front of a cluster do.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A header of the PROXY protocol before each connection.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Version 2 in place of 1.
    pub binary: bool,
    /// The source that it names, in place of the client's own.
    pub source: SocketAddrV4,
}

impl Header {
    fn bytes(self, target: SocketAddr) -> Vec<u8> {
        let Self { binary, source } = self;
        if !binary {
            let (from, to) = (source.ip(), Ipv4Addr::LOCALHOST);
            let ports = (source.port(), target.port());
            return format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes();
        }
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        bytes.extend(source.ip().octets());
        bytes.extend(Ipv4Addr::LOCALHOST.octets());
        bytes.extend(source.port().to_be_bytes());
        bytes.extend(target.port().to_be_bytes());
        bytes
    }
}

/// Forwards connections. Stops when dropped, and closes its connections.
pub struct Balancer {
    address: SocketAddr,
    header: Arc<Mutex<Option<Header>>>,
    accepted: Arc<AtomicUsize>,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Listens on a free loopback port. There is no target yet.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Like [`Self::start`], at this address.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        let targets: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let header: Arc<Mutex<Option<Header>>> = Arc::default();
        let accepted: Arc<AtomicUsize> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, targets.clone(), header.clone(), accepted.clone()));
        Ok(Self { address, header, accepted, targets, _tasks: tasks })
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// From now on, sends this header before each connection.
    pub fn set_header(&self, header: Option<Header>) {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// From now on, forwards new connections to the first of these targets that accepts them.
    pub fn set_targets(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }
}

async fn serve(
    listener: TcpListener,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    header: Arc<Mutex<Option<Header>>>,
    accepted: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let targets = targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        accepted.fetch_add(1, Ordering::Relaxed);
        let header = *header.lock().unwrap_or_else(PoisonError::into_inner);
        connections.spawn(async move {
            for target in targets {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let header = header.map(|header| header.bytes(target)).unwrap_or_default();
                    let _ = server.write_all(&header).await;
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
