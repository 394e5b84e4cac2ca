//! The address of a gateway that can fail in the ways that gateways do.

use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// They go on to this address.
    To(SocketAddr),
    /// They are refused, and open ones end, as when the process dies.
    Dead,
    /// They are accepted, and nothing answers, as when packets get lost.
    Silent,
    /// They are accepted and closed at once.
    Closing,
}

/// An address in front of a gateway. Stops when dropped.
pub struct GatewayFront {
    address: SocketAddr,
    wanted: watch::Sender<Front>,
    in_force: watch::Receiver<Front>,
    _task: JoinSet<()>,
}

impl GatewayFront {
    /// Listens on a free loopback port, and forwards to `gateway`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(gateway: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (wanted, receiver) = watch::channel(Front::To(gateway));
        let (sender, in_force) = watch::channel(Front::To(gateway));
        let mut task = JoinSet::new();
        task.spawn(serve(address, Some(listener), receiver, sender));
        Ok(Self { address, wanted, in_force, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of connections. When this returns, it is so, and open ones have ended.
    ///
    /// # Errors
    /// Never.
    pub async fn set(&self, front: Front) -> Result<()> {
        self.wanted.send_replace(front);
        self.in_force.clone().wait_for(|in_force| *in_force == front).await?;
        Ok(())
    }
}

async fn serve(
    address: SocketAddr,
    mut listener: Option<TcpListener>,
    mut wanted: watch::Receiver<Front>,
    in_force: watch::Sender<Front>,
) {
    loop {
        let front = *wanted.borrow_and_update();
        let open = match (front, listener.take()) {
            (Front::Dead, _) => None,
            (_, Some(open)) => Some(open),
            (_, None) => Some(bind_again(address).await),
        };
        in_force.send_replace(front);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                stream = accept(open.as_ref()) => {
                    connections.spawn(handle(stream, front));
                }
            }
        }
        listener = open;
        if *wanted.borrow() == Front::Dead {
            drop(listener.take());
        }
        connections.shutdown().await;
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

async fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        if let Ok(listener) = bind(address) {
            return listener;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn handle(mut stream: TcpStream, front: Front) {
    match front {
        Front::To(gateway) => {
            if let Ok(mut gateway) = TcpStream::connect(gateway).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut gateway).await;
            }
        }
        Front::Silent => std::future::pending().await,
        Front::Closing | Front::Dead => {}
    }
}
