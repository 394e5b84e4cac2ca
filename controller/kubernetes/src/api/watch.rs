//! Watching one kind, and keeping of each object what is needed and no more.
//!
//! Objects come as untyped JSON and are read one by one, so a malformed one is a value like any other and cannot stop the watch. A
//! deletion needs nothing but namespace and name.
//!
//! | module | what it is |
//! | --- | --- |
//! | `follow` | listing and watching, again and again |
//! | `state` | what is known, and what a report of the watch or the answer to a write changes in it |
//! | `version` | resource versions, and noticing that they went back |

mod follow;
mod state;
#[cfg(test)]
mod tests;
mod version;

pub use state::Sent;
pub use version::{Rollbacks, Version};

use crate::api::client::told;
use fedgate_process::tasks::Tasks;
use kube::api::DynamicObject;
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};
use state::{Difference, State};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

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
pub struct Watch<T> {
    /// What it is called in logs and in `/readyz`.
    pub(crate) name: &'static str,
    /// Where the objects are.
    pub(crate) api: Api<DynamicObject>,
    /// Which of them.
    pub(crate) config: Config,
    /// What is kept of an object.
    pub(crate) keep: fn(DynamicObject) -> T,
    /// Whether the difference between two is one that `wake` is for.
    pub(crate) is_news: fn(&T, &T) -> bool,
    /// Woken by news, and by objects that come and go.
    pub(crate) wake: Arc<Notify>,
    /// Woken by any other difference.
    pub(crate) otherwise: Arc<Notify>,
    /// Where it is noticed that the API server's data went back.
    pub(crate) rollbacks: Rollbacks,
}

/// The objects of one kind, as they are now.
pub struct Watched<T>(Arc<Shared<T>>);

struct Shared<T> {
    watch: Watch<T>,
    state: Mutex<State<T>>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    /// Begins to watch, for as long as `tasks` lives.
    pub fn start(watch: Watch<T>, tasks: &mut Tasks) -> Self {
        let watched = Self(Arc::new(Shared { state: Mutex::new(State::new(&watch)), watch }));
        tasks.spawn(format!("the watch of {}", watched.name()), follow::follow(watched.clone()));
        watched
    }

    /// All objects.
    pub fn all(&self) -> BTreeMap<Key, T> {
        self.lock().all()
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<T> {
        self.lock().get(key).cloned()
    }

    /// The keys for which `which` says yes.
    pub fn keys(&self, which: impl Fn(&Key, &T) -> bool) -> Vec<Key> {
        self.lock().keys(which)
    }

    /// To be asked for before a write whose answer is to be taken.
    pub fn sending(&self) -> Sent {
        self.lock().sending()
    }

    /// Takes what a write gave back. What it was meant to bring about is no news, and its echo in the watch is none either; what else it
    /// brings of others' changes is told like any other. `is_meant`: whether an object is as the write was to make it.
    pub fn wrote(&self, sent: Sent, object: DynamicObject, is_meant: impl FnOnce(&T) -> bool) {
        let (key, version) = (Key::of(&object), Version::of(&object));
        let kept = (self.0.watch.keep)(object);
        let difference = self.lock().wrote(sent, key, version, kept, is_meant);
        self.tell(difference);
    }

    /// Takes that the object for which `is_it` says yes was deleted, and is gone.
    pub fn deleted(&self, key: &Key, is_it: impl FnOnce(&T) -> bool) {
        self.lock().deleted(key, is_it);
    }

    /// Whether everything was listed, since the data last went back if they ever did.
    pub fn is_listed(&self) -> bool {
        self.lock().is_listed(self.0.watch.rollbacks.count())
    }

    /// Whether it is listed again, as the data went back.
    pub fn is_relisting(&self) -> bool {
        self.lock().is_relisting(self.0.watch.rollbacks.count())
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.0.watch.name
    }

    /// Why the watch does not run at the moment.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, difference: Difference) {
        match difference {
            Difference::None => {}
            Difference::News => self.0.watch.wake.notify_one(),
            Difference::Other => self.0.watch.otherwise.notify_one(),
        }
    }

    fn failed(&self, error: &kube::Error) {
        let said = told(error);
        let mut state = self.lock();
        if state.failure.as_ref() != Some(&said) {
            tracing::warn!(what = self.name(), "the watch is interrupted, and goes on with what is known: {said}");
            state.failure = Some(said);
        }
    }

    fn works(&self) {
        if self.lock().failure.take().is_some() {
            tracing::info!(what = self.name(), "the watch works again");
        }
    }
}
