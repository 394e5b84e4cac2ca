//! A Service in front of several replicas, as kube-proxy implements it: connections go to a live
//! one.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards connections. Stops when dropped, and closes its connections.
pub struct Balancer {
    address: SocketAddr,
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
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, targets.clone()));
        Ok(Self { address, targets, _tasks: tasks })
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, forwards new connections to the first of these targets that accepts them.
    pub fn set_targets(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }
}

async fn serve(listener: TcpListener, targets: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let targets = targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.spawn(async move {
            for target in targets {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
