//! What the operators' page shows besides what is in force: what happened, and what the gateway
//! counted and logged.

use crate::state::StateError;
use arc_swap::ArcSwapOption;
use fedgate_disk::{Readers, replace};
use fedgate_engine::history::{Change, ChangeKind, History};
use fedgate_engine::in_force::InForce;
use fedgate_envoy::metric_name;
use fedgate_page::calls::Calls;
use fedgate_page::counters::Counters;
use fedgate_page::traffic::{Refusal, Traffic, refusals};
use fedgate_page::{Around, Feed};
use fedgate_process::regular_file;
use jiff::Timestamp;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// How often to look. A change that lasts shorter is not in the history.
const LOOK: Duration = Duration::from_secs(1);
/// How often to ask the gateway while a page is open.
const ASK: Duration = Duration::from_secs(5);
/// The shortest time between two writes of the history.
const SAVE: Duration = Duration::from_secs(5);
/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most of an Envoy's answer that is read, in bytes: counters of ten thousand imports.
const LONGEST_ANSWER: usize = 4 << 20;
/// The filter's counters of the gateway.
const DECISIONS: &str = "/stats/prometheus?filter=fedgate";
/// The egress's counters of the imports' listeners, of the peers' gateways and of members.
const CALLS: &str =
    "/stats?usedonly&filter=%5E(tcp%7Clistener)%5C.outbound%7C%5Ecluster%5C.(peer%7Cmember)%5C%7C";
/// How much of the end of the access log is read, in bytes.
const LONGEST_LOG: u64 = 1 << 18;
/// The history's file in the state folder.
const FILE: &str = "changes.json";

/// Where the page's feeder finds what it needs.
pub(crate) struct Sources {
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The gateway's admin address. Port 0 means that the system picks one, which is not known.
    pub(crate) gateway_admin: SocketAddr,
    /// The same for the egress.
    pub(crate) egress_admin: SocketAddr,
    /// The gateway's access log, if it is a file.
    pub(crate) access_log: Option<PathBuf>,
}

/// A feed of a site that has just started.
pub(crate) fn new(in_force: Arc<ArcSwapOption<InForce>>) -> Feed {
    Feed::new(in_force, Around::new("files"))
}

/// Feeds the page until `stop` completes.
pub(crate) async fn run(
    feed: Feed,
    in_force: Arc<ArcSwapOption<InForce>>,
    sources: Sources,
    stop: impl Future<Output = ()> + Send,
) {
    let mut feeder = Feeder::new(feed, sources);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = ticks.tick() => feeder.look(in_force.load_full()).await,
        }
    }
    feeder.save().await;
}

struct Feeder {
    feed: Feed,
    sources: Sources,
    client: Option<reqwest::Client>,
    history: History,
    last: Option<Arc<InForce>>,
    asked: Option<Instant>,
    saved: Instant,
    unsaved: bool,
}

impl Feeder {
    fn new(feed: Feed, sources: Sources) -> Self {
        let history = load(&sources.state.join(FILE));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self {
            feed,
            sources,
            client: client.ok(),
            history,
            last: None,
            asked: None,
            saved: Instant::now(),
            unsaved: false,
        }
    }

    async fn look(&mut self, now: Option<Arc<InForce>>) {
        let before = self.feed.around();
        let mut around = Around::clone(&before);
        let is_new = match (&now, &self.last) {
            (Some(now), Some(last)) => !Arc::ptr_eq(now, last),
            (now, _) => now.is_some(),
        };
        if let Some(now) = now.filter(|_| is_new) {
            self.unsaved |= self.history.note(&now, Timestamp::now());
            if self.last.is_none() {
                self.note_start();
            }
            self.last = Some(now);
        }
        if *around.changes != *self.history.changes() {
            around.changes = self.history.changes().into();
        }
        if self.feed.is_watched() && self.asked.is_none_or(|at| at.elapsed() >= ASK) {
            around.traffic = self.traffic().await;
            around.calls = self.calls().await;
            around.refusals = self.refusals().await;
            self.asked = Some(Instant::now());
        }
        let is_same = Arc::ptr_eq(&around.changes, &before.changes)
            && (&around.traffic, &around.calls, &around.refusals)
                == (&before.traffic, &before.calls, &before.refusals);
        if !is_same {
            self.feed.surround(around);
        }
        if self.unsaved && self.saved.elapsed() >= SAVE {
            self.save().await;
        }
    }

    fn note_start(&mut self) {
        let (kind, text) = (ChangeKind::Leader, "the controller started");
        self.history.put(vec![Change::new(Timestamp::now(), kind, "this cluster", text)]);
        self.unsaved = true;
    }

    /// What the gateway counted.
    async fn traffic(&self) -> Result<Traffic, String> {
        let text = self.ask("gateway", self.sources.gateway_admin, DECISIONS).await?;
        let mut traffic = Traffic::default();
        traffic.add(&text);
        Ok(traffic)
    }

    /// What local programs called.
    async fn calls(&self) -> Result<Calls, String> {
        let text = self.ask("egress", self.sources.egress_admin, CALLS).await?;
        let in_force = self.last.as_ref().ok_or("nothing is in force yet")?;
        let counters = Counters::of_admin(&text);
        Ok(Calls::of(&counters, &in_force.federation.imports, metric_name))
    }

    /// Asks an Envoy at its admin address. An error says what to do.
    async fn ask(&self, role: &str, address: SocketAddr, path: &str) -> Result<String, String> {
        if address.port() == 0 {
            return Err(format!(
                "the port of the {role}'s admin address is not known; set {role}.admin to a fixed \
                 port in fedgate.yaml to see traffic"
            ));
        }
        let unknown = |_| {
            format!(
                "the {role}'s admin address {address} does not answer; see whether its Envoy runs"
            )
        };
        self.fetch(address, path).await.map_err(unknown)
    }

    async fn fetch(
        &self,
        address: SocketAddr,
        path: &str,
    ) -> Result<String, Option<reqwest::Error>> {
        let client = self.client.as_ref().ok_or(None)?;
        let url = format!("http://{address}{path}");
        let mut response =
            client.get(url).send().await.and_then(|response| response.error_for_status())?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST_ANSWER {
                text.truncate(LONGEST_ANSWER);
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The latest refusals in the access log.
    async fn refusals(&self) -> Result<Vec<Refusal>, String> {
        let Some(path) = self.sources.access_log.clone() else {
            return Err("the gateway's access log goes to its standard output; set \
                 gateway.accessLog to a file in fedgate.yaml to see each refusal"
                .to_owned());
        };
        let read = spawn_blocking(move || end_of(&path).map_err(|error| (path, error))).await;
        match read {
            Ok(Ok(log)) => Ok(refusals(&log)),
            Ok(Err((path, error))) => {
                let why = fedgate_process::words::io(&error);
                Err(format!("cannot read the access log {}: {why}", path.display()))
            }
            Err(_) => Err("the access log could not be read".to_owned()),
        }
    }

    /// Stores the history. After a failure the next change tries again.
    async fn save(&mut self) {
        (self.saved, self.unsaved) = (Instant::now(), false);
        let Ok(bytes) = serde_json::to_vec(&self.history) else { return };
        let path = self.sources.state.join(FILE);
        let saved = spawn_blocking(move || replace(&path, &bytes, Readers::Owner)).await;
        if let Ok(Err(error)) = saved {
            let error = StateError::from(error);
            tracing::warn!("the history of changes is not stored: {error}");
        }
    }
}

/// What was stored; nothing if that cannot be read. It is of use to people only.
fn load(path: &Path) -> History {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The whole lines at the end of a file.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = regular_file::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LONGEST_LOG);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_LOG).read_to_end(&mut bytes)?;
    if start > 0 {
        // The first line is cut, and a stranger may have written what its end looks like.
        let cut = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..cut);
    }
    Ok(bytes)
}
