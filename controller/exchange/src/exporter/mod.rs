//! What peers may fetch, over HTTPS: the public document, the SPIFFE bundle, and for each peer its own private document.
//!
//! Nobody who connects here has shown any right yet, so everything that a client can hold or spend has a limit
//! ([`Limits`]): connections, a source's share of them, the time of the handshake and of a request's head, its bytes, the
//! life of a connection. Requests have no body and are GET or HEAD. Documents are ready-made bytes ([`Published`]),
//! swapped whole when the federation changes; a request costs a lookup and, for the private one, one signature check.
//!
//! Who may read a private document is decided in one place (`authorize`), and every refusal looks the same from outside:
//! a stranger does not learn who is a member.

mod admission;
mod authorize;
mod connection;
mod document;
mod limits;
mod metrics;
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
mod tls;
mod tls_files;

pub use document::Document;
pub use limits::Limits;
pub use metrics::{DocumentLabel, Dropped, DroppedLabels, Metrics, RequestLabels, TokenLabels};
pub use published::{Access, Published};
pub use settings::{ExporterSettings, InvalidPath, MetadataPath, Transport};
pub use tls::{ServerTls, ServerTlsError};
pub use tls_files::MetadataTls;

use fedgate_process::words;
use published::PeerAccess;

use admission::Admission;
use arc_swap::ArcSwap;
use axum::Router;
use connection::{Connection, Open};
use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

/// How long to wait when the system has no file descriptor left: a connection is closed for that.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then lets open connections finish within [`Limits::drain`].
///
/// Each request is answered from what `published` holds at that moment.
pub async fn serve(
    listener: TcpListener,
    settings: ExporterSettings,
    published: Arc<ArcSwap<Published>>,
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
    admission: Arc<Admission>,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

impl Server {
    fn new(settings: ExporterSettings, published: Arc<ArcSwap<Published>>) -> Self {
        let settings = Arc::new(settings);
        Self {
            router: routes::router(settings.clone(), published),
            admission: Admission::new(settings.limits.connections, settings.limits.connections_per_source),
            stop: watch::Sender::new(false),
            connections: JoinSet::new(),
            settings,
        }
    }

    /// The next connection. It is taken at once, however many are open: see [`admission`].
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    warn!(
                        error = words::io(&error),
                        "a connection for metadata cannot be accepted; trying again, see the limit on open files"
                    );
                    self.admission.make_room();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(&mut self, (stream, address): (TcpStream, SocketAddr)) {
        // Those that ended: the set grows no larger than the number of open connections was.
        while self.connections.try_join_next().is_some() {}
        let connection = Connection {
            _open: Open::new(self.settings.metrics.connections.clone()),
            settings: self.settings.clone(),
            router: self.router.clone(),
            stop: self.stop.subscribe(),
            place: Arc::new(self.admission.admit(address.ip())),
        };
        self.connections.spawn(connection.serve(stream));
    }

    async fn drain(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.connections.join_next().await.is_some() {} };
        if timeout(self.settings.limits.drain, all).await.is_err() {
            self.connections.shutdown().await;
        }
    }
}
