//! A stand-in for a gateway where no Envoy runs: a server with the gateway's certificate, and the
//! metrics of its Pod.

use super::cluster::KubernetesCluster;
use super::install::{GATEWAY, GATEWAY_PORT};
use super::names::NAMESPACE;
use crate::tls_listener::TlsListener;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The metrics ports of Istio's proxies: Envoy's, and istio-agent's, which adds its own metrics.
const STATS_PORTS: [u16; 2] = [15090, 15020];

/// A gateway that answers at its address, and whose Pod reports its table. Stops when dropped.
pub struct GatewayStub {
    generation: Arc<AtomicU64>,
    counters: Arc<Mutex<String>>,
    // The tasks are aborted when dropped.
    _tasks: JoinSet<()>,
}

impl GatewayStub {
    /// Starts one at the addresses that the installation assigned to `cluster`'s gateway and its
    /// Pod.
    ///
    /// # Errors
    /// When an address is taken.
    pub async fn start(cluster: &KubernetesCluster) -> Result<Self> {
        let (addresses, generation) = (cluster.addresses(), Arc::<AtomicU64>::default());
        let identity = format!("spiffe://{}/ns/{NAMESPACE}/sa/{GATEWAY}", cluster.trust_domain());
        let identity = cluster.authority().workload(&identity)?;
        let gateway =
            TlsListener::bind_at((addresses.gateway, GATEWAY_PORT).into(), &identity).await?;
        let counters = Arc::<Mutex<String>>::default();
        let router = Router::new()
            .route("/stats/prometheus", get(shown))
            .with_state((Arc::clone(&generation), Arc::clone(&counters)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = axum::serve(gateway, Router::new()).await;
        });
        for port in STATS_PORTS {
            let stats =
                TcpListener::bind((addresses.node, port)).await.context("the Pod's counters")?;
            let router = router.clone();
            tasks.spawn(async move {
                let _ = axum::serve(stats, router).await;
            });
        }
        Ok(Self { generation, counters, _tasks: tasks })
    }

    /// From now on, the Pod reports these metrics, too.
    pub fn counts(&self, metrics: &str) {
        metrics.clone_into(&mut self.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on, the Pod reports a table of this generation.
    pub fn loads(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }
}

type Metrics = (Arc<AtomicU64>, Arc<Mutex<String>>);

async fn shown(State((generation, counters)): State<Metrics>) -> String {
    let generation = generation.load(Ordering::Relaxed);
    let counters = counters.lock().unwrap_or_else(PoisonError::into_inner).clone();
    format!(
        "# TYPE fedgate_table_generation gauge\nfedgate_table_generation{{}} {generation}\nfedgate_table_threads{{}} 3\n\
         envoy_server_concurrency{{}} 2\n{counters}"
    )
}
