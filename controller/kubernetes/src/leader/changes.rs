//! What happened when, kept by the leader in a ConfigMap, so that operators find later what changed
//! while nobody looked.
//!
//! The leader looks at most once a second, and hands the history to the writer at most every
//! [`PAUSE`], however much changes meanwhile. What was in force is stored with it. So nothing is
//! lost between the last write and the next leader: that one finds the difference, with a later
//! time.

use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::owner::is_ours;
use crate::leader::election::Leadership;
use crate::replica::as_leader::AsLeader;
use crate::settings::ControllerSettings;
use crate::sinks::memory;
use crate::sinks::object::Desired;
use crate::sources::memory::{CHANGES, ChangesError, read_changes};
use fedgate_core::PeerName;
use fedgate_engine::history::{Change, ChangeKind, History};
use fedgate_process::clock::until;
use jiff::Timestamp;
use kube::Client;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

/// The shortest time between two looks. A change that lasts shorter may be missed.
const LOOK: Duration = Duration::from_secs(1);
/// How long changes are gathered before the first write.
const GATHER: Duration = Duration::from_secs(2);
/// The shortest time between two writes.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause before a stored history is asked for again.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the history while this replica leads.
pub(crate) struct Keeper {
    /// The client of the API server.
    pub client: Client,
    /// The settings.
    pub settings: Arc<ControllerSettings>,
    /// The newest compilation.
    pub as_leader: AsLeader,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// The ConfigMap that the writer writes. `None` until this replica leads and knows the stored
    /// history.
    pub kept: watch::Sender<Option<Arc<Desired>>>,
    /// Wakes the writer.
    pub wake: Arc<Notify>,
}

impl Keeper {
    /// Runs until the process ends.
    pub(crate) async fn run(mut self) {
        loop {
            while self.as_leader.compiled().is_none() {
                self.as_leader.changed().await;
            }
            let leadership = self.leadership.clone();
            tokio::select! {
                () = self.lead() => {}
                () = leadership.ended() => {}
            }
            self.kept.send_replace(None);
        }
    }

    async fn lead(&mut self) {
        let mut history = self.stored().await;
        let who = self.settings.pod_name.clone();
        history.put(vec![Change::new(Timestamp::now(), ChangeKind::Leader, &who, "leads")]);
        let (mut looked, mut written) = (Weak::new(), None::<Instant>);
        let mut due = Some(Instant::now() + GATHER);
        while let Some(compiled) = self.as_leader.compiled() {
            if !looked.ptr_eq(&Arc::downgrade(&compiled)) {
                let pending = compiled.pending();
                let is_settled = |name: &PeerName| !pending.contains(name);
                let now = Timestamp::now();
                if history.note_settled(&compiled.in_force, now, is_settled) && due.is_none() {
                    let gathered = Instant::now() + GATHER;
                    due = Some(written.map_or(gathered, |last| gathered.max(last + PAUSE)));
                }
                looked = Arc::downgrade(&compiled);
            }
            drop(compiled);
            if due.is_some_and(|due| due <= Instant::now()) {
                let object = memory::changes(&self.settings.namespaces, &history);
                self.kept.send_replace(Some(Arc::new(object)));
                self.wake.notify_one();
                (written, due) = (Some(Instant::now()), None);
            }
            sleep(LOOK).await;
            tokio::select! {
                () = self.as_leader.changed() => {}
                () = until(due) => {}
            }
        }
    }

    /// What the last leader stored. A history that cannot be read is replaced: it is of use to
    /// people only.
    async fn stored(&self) -> History {
        let own = self.settings.namespaces.own();
        let api = Kind::ConfigMap.within(&self.client, own);
        loop {
            let object = match api.get_opt(CHANGES).await {
                Ok(object) => object.filter(|object| is_ours(object, own)),
                Err(error) => {
                    tracing::warn!(
                        "ConfigMap {own}/{CHANGES} cannot be read, trying again: {}",
                        describe(&error)
                    );
                    sleep(RETRY).await;
                    continue;
                }
            };
            return match object.as_ref().map(read_changes) {
                None => History::default(),
                Some(Ok(history)) => history,
                Some(Err(ChangesError(why))) => {
                    tracing::warn!(
                        "ConfigMap {own}/{CHANGES} is damaged ({why}); a new history of changes begins"
                    );
                    History::default()
                }
            };
        }
    }
}
