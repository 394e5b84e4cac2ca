//! The endpoints for the kubelet and Prometheus: liveness, readiness and metrics.
//!
//! They reveal only counts and the state of this replica, so they may listen on the Pod's address.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The loop beats at least this often. A replica whose loop has not beaten for much longer hangs.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
const DEAD: Duration = Duration::from_secs(60);

/// The health of this replica.
#[derive(Clone)]
pub(crate) struct Health(Arc<Mutex<Inner>>);

struct Inner {
    beat: Instant,
    /// What must happen before peers get answers; `None` if they already do.
    waiting_for: Option<String>,
    /// Why this replica is ending.
    dead: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        let waiting_for = Some("the start".to_owned());
        Self(Arc::new(Mutex::new(Inner { beat: Instant::now(), waiting_for, dead: None })))
    }
}

impl Health {
    /// Records that the loop is alive.
    pub(crate) fn beat(&self) {
        self.lock().beat = Instant::now();
    }

    /// Beats forever, until there is a loop that does so.
    pub(crate) async fn beating(&self) {
        loop {
            self.beat();
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Sets what this replica waits for; `None` if it answers peers.
    pub(crate) fn waiting_for(&self, what: Option<String>) {
        self.lock().waiting_for = what;
    }

    /// Records that something essential to this replica has ended.
    pub(crate) fn died(&self, why: String) {
        self.lock().dead = Some(why);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> Result<(), String> {
        let inner = self.lock();
        if let Some(why) = &inner.dead {
            return Err(format!("{why}\n"));
        }
        let since = inner.beat.elapsed();
        (since < DEAD)
            .then_some(())
            .ok_or_else(|| format!("the main loop has not run for {} s\n", since.as_secs()))
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        self.live()?;
        match &self.lock().waiting_for {
            None => Ok(()),
            Some(what) => Err(format!("waiting for {what}\n")),
        }
    }
}

#[derive(Clone)]
struct Asked {
    health: Health,
    registry: Arc<Registry>,
}

/// Serves until `stop` is ready.
///
/// # Errors
/// If the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route(
            "/healthz",
            get(|State(asked): State<Asked>| async move { answer(asked.health.live()) }),
        )
        .route(
            "/readyz",
            get(|State(asked): State<Asked>| async move { answer(asked.health.ready()) }),
        )
        .route("/metrics", get(metrics))
        .with_state(Asked { health, registry: Arc::new(registry) });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

fn answer(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn metrics(State(asked): State<Asked>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &asked.registry) {
        Ok(()) => (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn liveness_and_readiness_follow_the_loop() {
        let health = Health::default();
        assert!(health.live().is_ok() && health.ready().unwrap_err().contains("the start"));
        health.waiting_for(Some("Nodes: forbidden".to_owned()));
        assert!(health.ready().unwrap_err().contains("Nodes: forbidden"));
        health.waiting_for(None);
        assert!(health.ready().is_ok());
        tokio::time::advance(DEAD).await;
        assert!(health.live().is_err() && health.ready().is_err());
        health.beat();
        assert!(health.ready().is_ok());
        health.died("the writer: it has returned".to_owned());
        assert!(health.live().unwrap_err().contains("the writer") && health.ready().is_err());
    }
}
