//! Small back ends that answer with their name and count connections.

use crate::authority::Identity;
use crate::tls_listener::TlsListener;
use anyhow::Result;
use axum::Router;
use axum::http::header::CONNECTION;
use axum::routing::get;
use axum::serve::ListenerExt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// How long a server that ends may go on with requests that have begun.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// A running back end. Stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    /// Tells an HTTP server to end; aborting its task would leave open connections.
    end: Option<Arc<Notify>>,
}

impl Backend {
    /// An HTTP server on a loopback port that answers every path with [`identity`].
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn http(service: &str, cluster: &str) -> Result<Self> {
        Self::http_at(Ipv4Addr::LOCALHOST, service, cluster).await
    }

    /// Like [`Self::http`], at an address that Pods can reach.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn http_at(address: Ipv4Addr, service: &str, cluster: &str) -> Result<Self> {
        Self::http_on(TcpListener::bind((address, 0)).await?, service, cluster)
    }

    /// Like [`Self::http`], on an existing socket, for example one in a Pod's network.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn http_on(listener: TcpListener, service: &str, cluster: &str) -> Result<Self> {
        let (address, connections) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let counted = connections.clone();
        let listener = listener.tap_io(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let answer = format!("{}\n", identity(service, cluster));
        let router = Router::new().fallback(get(async move || answer));
        let end = Arc::<Notify>::default();
        let ended = end.clone();
        let task = tokio::spawn(async move {
            let serve = axum::serve(listener, router);
            let _ = serve.with_graceful_shutdown(async move { ended.notified().await }).await;
        });
        Ok(Self { address, connections, task, end: Some(end) })
    }

    /// Like [`Self::http`], at the address of one that has stopped.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn http_again(address: SocketAddr, service: &str, cluster: &str) -> Result<Self> {
        Self::http_on(TcpListener::bind(address).await?, service, cluster)
    }

    /// An HTTPS server at an address, with this certificate, that answers every path with
    /// [`identity`]. It does not count connections.
    ///
    /// # Errors
    /// When the address is taken, or the key does not belong to the certificate.
    pub async fn https_at(
        address: SocketAddr,
        certificate: &Identity,
        service: &str,
        cluster: &str,
    ) -> Result<Self> {
        let listener = TlsListener::bind_at(address, certificate).await?;
        let address = listener.address();
        let answer = format!("{}\n", identity(service, cluster));
        // Clients must not keep connections open: those would outlive this server.
        let router = Router::new().fallback(get(async move || ([(CONNECTION, "close")], answer)));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, connections: Arc::default(), task, end: None })
    }

    /// A server on a loopback port that speaks first, like a mail server. It greets with
    /// [`identity`] and echoes every line.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn greeting(service: &str, cluster: &str) -> Result<Self> {
        Self::greeting_at(Ipv4Addr::LOCALHOST, service, cluster).await
    }

    /// Like [`Self::greeting`], at an address that Pods can reach.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn greeting_at(address: Ipv4Addr, service: &str, cluster: &str) -> Result<Self> {
        let (listener, address, connections) = listen(address).await?;
        let counted = connections.clone();
        let greeting = format!("220 {}\r\n", identity(service, cluster));
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.spawn(greet_and_echo(stream, greeting.clone()));
            }
        });
        Ok(Self { address, connections, task, end: None })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Stops it, and waits until it is gone: new connections are refused, and idle ones have ended.
    /// One that the system had accepted for it is reset.
    pub async fn stop(mut self) {
        if let Some(end) = &self.end {
            end.notify_one();
            if timeout(LAST_ANSWERS, &mut self.task).await.is_ok() {
                return;
            }
        }
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The text by which a back end identifies itself.
pub fn identity(service: &str, cluster: &str) -> String {
    format!("this is {service} of {cluster}")
}

async fn listen(address: Ipv4Addr) -> Result<(TcpListener, SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind((address, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address, Arc::default()))
}

async fn greet_and_echo(mut stream: TcpStream, greeting: String) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("250 {line}\r\n").as_bytes()).await?;
    }
    Ok(())
}
