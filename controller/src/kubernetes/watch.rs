//! Watching one kind, and keeping of each object what is needed and no more.
//!
//! Objects come as untyped JSON and are read one by one, so a malformed one is a value like any other and cannot stop the watch. A
//! deletion needs nothing but namespace and name. After an interruption (a restart of the API server, a watch that is too old)
//! everything is listed again and put in place at once, so nobody sees a half-filled store.

use futures_util::{StreamExt, pin_mut};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long the API server may keep a watch open. It is also how long a connection that died silently goes unnoticed.
const WATCH_SECONDS: u32 = 120;

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object.
    pub fn of(object: &DynamicObject) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// How one kind is watched.
pub(super) struct Watch<T> {
    /// What it is called in logs and in `/readyz`.
    pub(super) name: &'static str,
    /// Where the objects are.
    pub(super) api: Api<DynamicObject>,
    /// Which of them.
    pub(super) config: Config,
    /// What is kept of an object.
    pub(super) keep: fn(DynamicObject) -> T,
    /// Whether the difference between two is one that `wake` is for.
    pub(super) is_news: fn(&T, &T) -> bool,
    /// Woken by news, and by objects that come and go.
    pub(super) wake: Arc<Notify>,
    /// Woken by any other difference.
    pub(super) otherwise: Arc<Notify>,
}

/// The objects of one kind, as they are now.
#[derive(Debug)]
pub(super) struct Watched<T> {
    name: &'static str,
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
struct State<T> {
    objects: BTreeMap<Key, T>,
    listed: bool,
    failure: Option<String>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, state: Arc::clone(&self.state) }
    }
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    /// Begins to watch, for as long as `tasks` lives.
    pub(super) fn start(watch: Watch<T>, tasks: &mut JoinSet<()>) -> Self {
        let state = State { objects: BTreeMap::new(), listed: false, failure: None };
        let watched = Self { name: watch.name, state: Arc::new(Mutex::new(state)) };
        tasks.spawn(follow(watch, watched.clone()));
        watched
    }

    /// All objects.
    pub(super) fn all(&self) -> BTreeMap<Key, T> {
        self.lock().objects.clone()
    }

    /// One object.
    pub(super) fn get(&self, key: &Key) -> Option<T> {
        self.lock().objects.get(key).cloned()
    }

    /// The keys for which `which` says yes.
    pub(super) fn keys(&self, which: impl Fn(&Key, &T) -> bool) -> Vec<Key> {
        self.lock().objects.iter().filter(|(key, kept)| which(key, kept)).map(|(key, _)| key.clone()).collect()
    }

    /// Takes what a write gave back, so that its echo in the watch is no news.
    pub(super) fn wrote(&self, key: Key, kept: Option<T>) {
        let mut state = self.lock();
        match kept {
            Some(kept) => state.objects.insert(key, kept),
            None => state.objects.remove(&key),
        };
    }

    /// Whether everything was listed once.
    pub(super) fn is_listed(&self) -> bool {
        self.lock().listed
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Why the watch does not run at the moment.
    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &kube::runtime::watcher::Error) {
        let said = super::client::told(error);
        let mut state = self.lock();
        if state.failure.as_ref() != Some(&said) {
            tracing::warn!(what = self.name, "the watch is interrupted, and goes on with what is known: {said}");
            state.failure = Some(said);
        }
    }

    fn works(&self) {
        if self.lock().failure.take().is_some() {
            tracing::info!(what = self.name, "the watch works again");
        }
    }
}

async fn follow<T: Clone + PartialEq + Send + 'static>(watch: Watch<T>, watched: Watched<T>) {
    let Watch { api, config, keep, is_news, wake, otherwise, .. } = watch;
    let stream = watcher(api, config.timeout(WATCH_SECONDS)).backoff(Pauses::default());
    pin_mut!(stream);
    let mut listing = BTreeMap::new();
    while let Some(event) = stream.next().await {
        let difference = match event {
            Err(error) => {
                watched.failed(&error);
                continue;
            }
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.insert(Key::of(&object), keep(object));
                continue;
            }
            Ok(Event::InitDone) => replace(&watched, std::mem::take(&mut listing), is_news),
            Ok(Event::Apply(object)) => {
                let (key, kept) = (Key::of(&object), keep(object));
                let before = watched.lock().objects.insert(key, kept.clone());
                Difference::between(before.as_ref(), Some(&kept), is_news)
            }
            Ok(Event::Delete(object)) => {
                let before = watched.lock().objects.remove(&Key::of(&object));
                Difference::between(before.as_ref(), None, is_news)
            }
        };
        watched.works();
        match difference {
            Difference::None => {}
            Difference::News => wake.notify_one(),
            Difference::Other => otherwise.notify_one(),
        }
    }
}

/// The pauses between tries: from a quarter of a second to 5 s. An API server that is back is noticed soon, and the number of
/// watches is small.
#[derive(Default)]
struct Pauses {
    tries: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(250 << self.tries.min(4)) + Duration::from_millis(fastrand::u64(0..250));
        self.tries += 1;
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.tries = 0;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    None,
    Other,
    News,
}

impl Difference {
    fn between<T: PartialEq>(before: Option<&T>, after: Option<&T>, is_news: fn(&T, &T) -> bool) -> Self {
        match (before, after) {
            (None, None) => Self::None,
            (Some(before), Some(after)) if before == after => Self::None,
            (Some(before), Some(after)) if !is_news(before, after) => Self::Other,
            _ => Self::News,
        }
    }
}

/// Puts a whole list in place. The first one is news, also when it is empty.
fn replace<T: Clone + PartialEq>(
    watched: &Watched<T>,
    new: BTreeMap<Key, T>,
    is_news: fn(&T, &T) -> bool,
) -> Difference {
    let mut state = watched.state.lock().unwrap_or_else(PoisonError::into_inner);
    let before = std::mem::replace(&mut state.objects, new);
    if !std::mem::replace(&mut state.listed, true) {
        return Difference::News;
    }
    let keys = before.keys().chain(state.objects.keys());
    keys.map(|key| Difference::between(before.get(key), state.objects.get(key), is_news))
        .max()
        .unwrap_or(Difference::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_news(before: &(u8, u8), after: &(u8, u8)) -> bool {
        before.0 != after.0
    }

    fn watched() -> Watched<(u8, u8)> {
        let state = State { objects: BTreeMap::new(), listed: false, failure: None };
        Watched { name: "test", state: Arc::new(Mutex::new(state)) }
    }

    fn key(name: &str) -> Key {
        Key { namespace: String::new(), name: name.into() }
    }

    #[test]
    fn what_does_not_matter_wakes_nobody_for_news() {
        let between = |before, after| Difference::between(before, after, is_news);
        assert_eq!(between(Some(&(1, 1)), Some(&(1, 1))), Difference::None);
        assert_eq!(between(Some(&(1, 1)), Some(&(1, 2))), Difference::Other);
        assert_eq!(between(Some(&(1, 1)), Some(&(2, 1))), Difference::News);
        assert_eq!(between(None, Some(&(1, 1))), Difference::News);
        assert_eq!(between(Some(&(1, 1)), None), Difference::News);
    }

    #[test]
    fn a_list_replaces_everything_at_once() {
        let watched = watched();
        assert_eq!(replace(&watched, BTreeMap::new(), is_news), Difference::News, "the first list is news");
        let one = BTreeMap::from([(key("a"), (1, 1))]);
        assert_eq!(replace(&watched, one.clone(), is_news), Difference::News);
        assert_eq!(replace(&watched, one, is_news), Difference::None);
        assert_eq!(replace(&watched, BTreeMap::from([(key("a"), (1, 2))]), is_news), Difference::Other);
        assert_eq!(replace(&watched, BTreeMap::new(), is_news), Difference::News, "what is not listed is gone");
        assert!(watched.all().is_empty());
    }
}
