//! One client's connection: a handshake, a few requests, and the end. Each step has a time limit,
//! and so has the whole.

use super::{
    ExporterSettings, Transport,
    balancer::read_header,
    metrics::Dropped,
    request,
    slots::{Slot, SlotPool},
    tls::Started,
};
use crate::counted::Counted;
use axum::{Router, body::Body, http::Request};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
    service::TowerToHyperService,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

/// An accepted connection with its slot, which it frees when it ends.
pub(super) struct Connection {
    pub(super) settings: Arc<ExporterSettings>,
    pub(super) router: Router,
    /// Ends a handshake when the exporter stops. A [`Watcher`] cannot: it watches HTTP connections
    /// only, and a client in the middle of a handshake has no request to finish.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) _open: Counted,
    /// Shared with the requests: a valid token on one of them makes the connection a peer's.
    pub(super) slot: Arc<Slot>,
    pub(super) slots: Arc<SlotPool>,
}

impl Connection {
    /// Serves until the client closes, a limit is reached, another connection needs the slot, or
    /// the exporter stops. `watcher` then lets a request finish.
    pub(super) async fn serve(mut self, mut stream: TcpStream, watcher: Watcher) {
        // Answers are small and written at once, so there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        if self.settings.proxy_protocol && !self.is_named(&mut stream).await {
            return;
        }
        let dropped = tokio::select! {
            () = self.converse(stream, watcher) => None,
            () = self.life() => Some(Dropped::Life),
            reason = self.slot.evicted() => Some(reason),
        };
        if let Some(reason) = dropped {
            self.settings.metrics.dropped(reason);
        }
    }

    /// Learns from the balancer whose connection it is, and takes a slot as that source. Returns
    /// false if the connection must end.
    async fn is_named(&mut self, stream: &mut TcpStream) -> bool {
        let header = timeout(self.settings.limits.handshake, read_header(stream));
        let read = tokio::select! {
            read = header => read.ok(),
            () = stopped(self.stop.clone()) => return false,
            reason = self.slot.evicted() => {
                self.settings.metrics.dropped(reason);
                return false;
            }
        };
        match read {
            Some(Ok(Some(source))) => self.slot = Arc::new(self.slots.acquire(source)),
            Some(Ok(None)) => {}
            failed => {
                debug!(?failed, "no header of the PROXY protocol");
                self.settings.metrics.dropped(Dropped::NoProxyHeader);
                return false;
            }
        }
        true
    }

    /// Waits for the end of the connection's life. While a peer waits on it, it answers within a
    /// limited time anyway, and then has to ask again.
    async fn life(&self) {
        loop {
            sleep(self.settings.limits.connection_life).await;
            if !self.slot.is_seated() {
                return;
            }
        }
    }

    async fn converse(&self, stream: TcpStream, watcher: Watcher) {
        match &self.settings.transport {
            Transport::Plain => self.answer(stream, watcher, Started::default()).await,
            Transport::Tls(tls) => {
                let (acceptor, started) = tls.start();
                if let Some(stream) = self.handshake(&acceptor, stream).await {
                    self.answer(stream, watcher, started).await;
                }
            }
        }
    }

    async fn handshake(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let handshake = timeout(self.settings.limits.handshake, acceptor.accept(stream));
        let done = tokio::select! {
            done = handshake => done,
            () = stopped(self.stop.clone()) => return None,
        };
        match done {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake failed");
                self.settings.metrics.dropped(Dropped::Handshake);
            }
            Err(_) => self.settings.metrics.dropped(Dropped::HandshakeTimeout),
        }
        None
    }

    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        watcher: Watcher,
        started: Started,
    ) {
        let limits = &self.settings.limits;
        let router = TowerToHyperService::new(self.router.clone());
        let served = AtomicU32::new(0);
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(self.slot.clone());
            request.extensions_mut().insert(started.clone());
            let count = served.fetch_add(1, Ordering::Relaxed) + 1;
            let (slot, started) = (self.slot.clone(), started.clone());
            let is_last = move || {
                let has_more = count < limits.requests_per_connection || slot.is_seated();
                !has_more || started.is_replaced()
            };
            request::answer(request, &router, is_last, &self.settings.metrics)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request_head)
            .max_header_size(limits.request_head_bytes)
            .max_buf_size(limits.request_head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            debug!(%error, "connection ended");
        }
    }
}

/// Waits until the exporter has to stop, or its sender is gone.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
