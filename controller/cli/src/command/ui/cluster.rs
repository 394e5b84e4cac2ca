//! Serves the page for a Kubernetes cluster, on loopback only. The cluster is read with the user's
//! kubeconfig, as `fedgate status` does, and only while a page is open.

use super::super::target::Kubernetes;
use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use fedgate_engine::history::History;
use fedgate_engine::in_force::InForce;
use fedgate_engine::status::Status;
use fedgate_kubernetes::inspect::beside::metrics;
use fedgate_kubernetes::inspect::changes::happened;
use fedgate_kubernetes::inspect::snapshot::Snapshot;
use fedgate_page::traffic::Traffic;
use fedgate_page::{Around, Feed};
use jiff::Timestamp;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The shortest pause between two looks at the cluster.
const PAUSE: Duration = Duration::from_secs(3);
/// A look takes at most this share of the time, so that large clusters are read less often.
const SHARE: u32 = 5;
/// How soon a page that was opened is noticed.
const NOTICE: Duration = Duration::from_millis(250);

/// Serves until the user ends it. Calls `ready` with the URL as soon as the page can be opened.
///
/// # Errors
/// When the cluster cannot be read at first, or the port is taken.
pub(super) async fn serve(cluster: &Kubernetes, port: u16, ready: impl FnOnce(&str)) -> Result<()> {
    let client = cluster.client().await?;
    let mut reader = Reader::new(client, cluster.namespace());
    reader.look().await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another --port"))?;
    ready(&format!("http://{}/", listener.local_addr()?));
    let feed = reader.feed.clone();
    let ended = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        served = fedgate_page::serve(listener, feed) => Ok(served?),
        () = reader.run() => Ok(()),
        () = ended => Ok(()),
    }
}

struct Reader {
    client: kube::Client,
    namespace: String,
    in_force: Arc<ArcSwapOption<InForce>>,
    feed: Feed,
    status: Option<Status>,
    /// Finds out whether something in force has changed. The leader keeps what is shown.
    history: History,
}

impl Reader {
    fn new(client: kube::Client, namespace: &str) -> Self {
        let in_force: Arc<ArcSwapOption<InForce>> = Arc::default();
        let mut around = Around::new("kubernetes");
        around.refusals = Err(format!(
            "the gateway writes its access log to its Pods' output; see `kubectl logs -n {namespace}`, or a log store"
        ));
        around.calls =
            Err("the sidecars of the calling workloads count calls to peers; see Istio's \
             metrics istio_tcp_connections_opened_total and istio_tcp_sent_bytes_total by \
             destination_service"
                .to_owned());
        Self {
            client,
            namespace: namespace.to_owned(),
            feed: Feed::new(Arc::clone(&in_force), around),
            in_force,
            status: None,
            history: History::default(),
        }
    }

    async fn run(mut self) {
        loop {
            let began = Instant::now();
            if let Err(error) = self.look().await {
                let mut around = Around::clone(&self.feed.around());
                around.trouble = Some(format!("the cluster cannot be read: {error:#}"));
                self.feed.surround(around);
            }
            tokio::time::sleep(PAUSE.max(began.elapsed() * SHARE)).await;
            while !self.feed.is_watched() {
                tokio::time::sleep(NOTICE).await;
            }
        }
    }

    /// Reads the cluster, and shows what differs from before.
    async fn look(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let snapshot = Snapshot::take(&self.client, &self.namespace, now).await?;
        let (metrics, happened) =
            tokio::join!(metrics(&self.client, &snapshot), happened(&self.client, &snapshot));
        let status = snapshot.status();
        let before = self.feed.around();
        let mut around = Around::clone(&before);
        around.loaded.clone_from(&status.table.loaded);
        around.traffic = metrics.map(|texts| {
            let mut traffic = Traffic::default();
            texts.iter().for_each(|text| traffic.add(text));
            traffic
        });
        around.trouble = None;
        let has_changed = self.history.note(&snapshot.in_force, now);
        if *around.changes != *happened.changes {
            around.changes = happened.changes.into();
        }
        around.unknown_changes = happened.trouble.map(|why| format!("Changes are missing: {why}"));
        if has_changed || self.status.as_ref() != Some(&status) {
            self.in_force.store(Some(Arc::new(snapshot.in_force)));
            self.status = Some(status);
        }
        let is_same = Arc::ptr_eq(&around.changes, &before.changes)
            && around.unknown_changes == before.unknown_changes
            && (&around.loaded, &around.traffic, &around.trouble)
                == (&before.loaded, &before.traffic, &before.trouble);
        if !is_same {
            self.feed.surround(around);
        }
        Ok(())
    }
}
