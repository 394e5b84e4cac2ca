//! Lists and watches, again and again.
//!
//! A watch that ends at its normal time resumes where it was. A watch that ends earlier, however
//! politely, is a sign that the API server restarted or lost its data, which may then be older. So
//! everything is listed again. The `watcher` of kube-runtime resumes from the last version in both
//! cases, and exposes neither the version of a list nor bookmarks.

use super::state::Difference;
use super::{Key, Version, Watched};
use fedgate_process::backoff::backoff;
use futures_util::{Stream, StreamExt, pin_mut};
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, WatchEvent, WatchParams};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long the API server may keep a watch open, and how long a silently dead connection can go
/// unnoticed.
pub(super) const WATCH: Duration = Duration::from_secs(60);
/// The tolerance within which a watch counts as ended at its normal time.
const MARGIN: Duration = Duration::from_secs(5);
/// How many objects one request lists.
const PAGE: u32 = 500;
/// After a watch of this length, the pauses start short again.
const STEADY: Duration = Duration::from_secs(10);

/// Why everything is listed again.
pub(super) enum Again {
    /// A request failed.
    Failed(kube::Error),
    /// The watch ended before its time, or is too old to resume.
    Interrupted,
    /// Versions went back.
    RolledBack,
}

impl From<kube::Error> for Again {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs forever.
pub(super) async fn follow<T: Clone + PartialEq + Send + 'static>(
    watched: Watched<T>,
) -> Infallible {
    let mut tries = 0;
    loop {
        let began = Instant::now();
        let again = tokio::select! {
            Err(again) = watched.list_and_watch() => again,
            () = watched.rolled_back() => Again::RolledBack,
        };
        if began.elapsed() >= STEADY {
            tries = 0;
        }
        match again {
            Again::RolledBack => {
                let rollbacks = watched.0.watch.rollbacks.count();
                watched.lock().rolled_back(rollbacks);
            }
            Again::Failed(error) => watched.failed(&error),
            Again::Interrupted => {
                tracing::debug!(what = watched.name(), "the watch was interrupted: listing again")
            }
        }
        sleep(pause(tries)).await;
        tries += 1;
    }
}

/// The pause before a retry: from a quarter of a second to about 4 s. So the return of an API
/// server is noticed soon, and there are few watches.
fn pause(tries: u32) -> Duration {
    backoff(Duration::from_millis(250), Duration::from_secs(4), tries + 1)
        + Duration::from_millis(fastrand::u64(0..250))
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    /// Waits until a rollback is detected that came after the last list, by this watch or another
    /// one.
    async fn rolled_back(&self) {
        let known = self.lock().rollbacks;
        self.0.watch.rollbacks.more_than(known).await;
    }

    async fn list_and_watch(&self) -> Result<Infallible, Again> {
        let mut version = self.list().await?;
        let config = &self.0.watch.config;
        let parameters = WatchParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            timeout: Some(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX)),
            bookmarks: true,
            send_initial_events: false,
        };
        loop {
            let events = self.0.watch.api.watch(&parameters, &version).await?;
            self.works();
            version = self.take(events, version).await?;
        }
    }

    /// Lists everything; returns the version of the list.
    async fn list(&self) -> Result<String, Again> {
        let mut parameters = ListParams {
            label_selector: self.0.watch.config.label_selector.clone(),
            field_selector: self.0.watch.config.field_selector.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let (mut listed, keep) = (BTreeMap::new(), self.0.watch.keep);
        loop {
            let page = self.0.watch.api.list(&parameters).await?;
            let kept = |object| (Key::of(&object), (Version::of(&object), keep(object)));
            listed.extend(page.items.into_iter().map(kept));
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                let version = page.metadata.resource_version.unwrap_or_default();
                self.listed(listed, Version::parse(&version));
                return Ok(version);
            }
        }
    }

    fn listed(&self, listed: BTreeMap<Key, (Version, T)>, version: Version) {
        let difference = {
            let mut state = self.lock();
            if version.is_before(state.reported()) {
                state.rollbacks = self.0.watch.rollbacks.noticed(state.rollbacks, self.name());
            }
            state.replace(listed, version)
        };
        self.notify(difference);
        self.works();
    }

    /// Takes the reports of a watch until it ends at its normal time; returns the version from
    /// which to resume.
    async fn take(
        &self,
        events: impl Stream<Item = kube::Result<WatchEvent<DynamicObject>>>,
        mut version: String,
    ) -> Result<String, Again> {
        pin_mut!(events);
        let began = Instant::now();
        loop {
            // Silence for longer than a watch may last means that the connection is dead.
            let Ok(event) = timeout(WATCH + MARGIN, events.next()).await else {
                return Err(Again::Interrupted);
            };
            match event {
                Some(event) => version = self.event(event?)?,
                None if began.elapsed() + MARGIN >= WATCH => return Ok(version),
                None => return Err(Again::Interrupted),
            }
        }
    }

    /// Takes one report; returns its version.
    pub(super) fn event(&self, event: WatchEvent<DynamicObject>) -> Result<String, Again> {
        let (version, object) = match event {
            WatchEvent::Bookmark(bookmark) => (bookmark.metadata.resource_version, None),
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.resource_version().unwrap_or_default(), Some((object, false)))
            }
            WatchEvent::Deleted(object) => {
                (object.resource_version().unwrap_or_default(), Some((object, true)))
            }
            WatchEvent::Error(status) if status.code == 410 => return Err(Again::Interrupted),
            WatchEvent::Error(status) => return Err(Again::Failed(kube::Error::Api(status))),
        };
        let difference = {
            let (mut state, parsed) = (self.lock(), Version::parse(&version));
            if parsed.is_before(state.reported()) {
                self.0.watch.rollbacks.noticed(state.rollbacks, self.name());
                return Err(Again::RolledBack);
            }
            match object {
                None => {
                    state.bookmark(parsed);
                    Difference::None
                }
                Some((object, true)) => state.reports_deletion(&Key::of(&object), parsed),
                Some((object, false)) => {
                    state.reports(Key::of(&object), parsed, (self.0.watch.keep)(object))
                }
            }
        };
        self.notify(difference);
        Ok(version)
    }
}
