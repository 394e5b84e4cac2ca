//! Serves documents to peers over HTTPS: the public document, the SPIFFE bundle, and each peer's
//! private document.
//!
//! A client has proved nothing when it connects, so `Limits` bounds everything that it can hold
//! or spend: connections, each source's share of them, the time of the handshake, the time and
//! bytes of a request's head, and the life of a connection. Requests are GET or HEAD, without a
//! body. Documents are ready-made bytes ([`Published`]), swapped as a whole when the federation
//! changes. A request costs one lookup, and a signature if the last one is five minutes old; a
//! private document costs a signature check as well.
//!
//! One module, `authorize`, decides who may read a private document. All refusals look the same
//! from outside, so a stranger cannot find out who is a member.

mod authorize;
mod balancer;
#[cfg(test)]
mod balancer_tests;
mod connection;
mod document;
mod limits;
mod metrics;
mod news;
#[cfg(test)]
mod private_tests;
mod published;
#[cfg(test)]
mod published_tests;
mod request;
mod routes;
#[cfg(test)]
pub(crate) mod server_tests;
mod settings;
mod signing;
mod slots;
#[cfg(test)]
mod storm_tests;
mod tls;
mod tls_files;
mod waiting;
#[cfg(test)]
mod waiting_tests;

pub use crate::tls::InvalidPair;
pub use document::Document;
pub(crate) use limits::Limits;
pub use metrics::Metrics;
#[cfg(test)]
pub(crate) use metrics::{DocumentLabel, Dropped, DroppedLabels, RequestLabels, TokenLabels};
pub use published::{Access, Published};
pub(crate) use settings::Transport;
pub use settings::{ExporterSettings, InvalidPath, MetadataPath};
pub use tls::ServerTls;
pub use tls_files::MetadataTls;

use crate::counted::Counted;
use fedgate_process::words;
use published::PeerAccess;

use axum::Router;
use connection::Connection;
use hyper_util::server::graceful::GracefulShutdown;
use slots::SlotPool;
use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

/// How long to wait when the system has no file descriptor left. A connection is closed to free
/// one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then gives open connections `Limits::drain` to finish.
///
/// Each request is answered from what `published` holds at that moment. A peer may wait until that
/// changes.
pub async fn serve(
    listener: TcpListener,
    settings: ExporterSettings,
    published: watch::Sender<Arc<Published>>,
    shutdown: impl Future<Output = ()>,
) {
    let mut server = Server::new(settings, published);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = shutdown.as_mut() => break,
            accepted = server.accept(&listener) => server.begin(accepted),
        }
    }
    drop(listener);
    server.drain().await;
}

struct Server {
    settings: Arc<ExporterSettings>,
    router: Router,
    slots: Arc<SlotPool>,
    /// Lets open connections finish their requests.
    graceful: GracefulShutdown,
    /// Ends handshakes, and answers those who wait.
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

impl Server {
    fn new(settings: ExporterSettings, published: watch::Sender<Arc<Published>>) -> Self {
        let (settings, stop) = (Arc::new(settings), watch::Sender::new(false));
        Self {
            router: routes::router(settings.clone(), published, stop.subscribe()),
            slots: SlotPool::new(
                settings.limits.connections,
                settings.limits.connections_per_source,
                settings.limits.waiting,
            ),
            graceful: GracefulShutdown::new(),
            stop,
            connections: JoinSet::new(),
            settings,
        }
    }

    /// Accepts the next connection at once, however many are open: see [`slots`].
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    warn!(
                        error = words::io(&error),
                        "a connection for metadata cannot be accepted; trying again, see the limit on open files"
                    );
                    self.slots.evict_one();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(&mut self, (stream, address): (TcpStream, SocketAddr)) {
        // Removes ended tasks, so that the set never outgrows the number of open connections.
        while self.connections.try_join_next().is_some() {}
        let connection = Connection {
            _open: Counted::new(self.settings.metrics.connections.clone()),
            settings: self.settings.clone(),
            router: self.router.clone(),
            stop: self.stop.subscribe(),
            slot: Arc::new(match self.settings.proxy_protocol {
                false => self.slots.acquire(address.ip()),
                true => self.slots.acquire_unnamed(address.ip()),
            }),
            slots: self.slots.clone(),
        };
        self.connections.spawn(connection.serve(stream, self.graceful.watcher()));
    }

    async fn drain(mut self) {
        let _ = self.stop.send(true);
        let _ = timeout(self.settings.limits.drain, self.graceful.shutdown()).await;
        // Ends what is left after the limit, and waits until every task has freed what it held.
        self.connections.shutdown().await;
    }
}
