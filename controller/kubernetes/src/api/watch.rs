//! Watches one kind, and keeps only what is needed of each object.
//!
//! Objects arrive as untyped JSON and are read one by one, so a malformed one is a value like any
//! other and cannot stop the watch. A deletion needs only namespace and name.
//!
//! | module | what it is |
//! | --- | --- |
//! | `follow` | listing and watching, again and again |
//! | `state` | the known objects, and how reports of the watch and answers to writes change them |
//! | `version` | resource versions, and detecting that they went back |

mod follow;
mod state;
#[cfg(test)]
mod tests;
mod version;

pub(crate) use state::Sent;
pub(crate) use version::{Rollbacks, Version};

use crate::api::client::describe;
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
pub(crate) struct Key {
    /// The namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object.
    pub(crate) fn of(object: &DynamicObject) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// How to watch one kind.
pub(crate) struct Watch<T> {
    /// The name in logs and in `/readyz`.
    pub(crate) name: &'static str,
    /// The API of the objects.
    pub(crate) api: Api<DynamicObject>,
    /// Selects the objects.
    pub(crate) config: Config,
    /// Extracts what is kept of an object.
    pub(crate) keep: fn(DynamicObject) -> T,
    /// Returns true if a change must notify `wake`.
    pub(crate) is_news: fn(&T, &T) -> bool,
    /// Notified by changes that are news, and when objects come and go.
    pub(crate) wake: Arc<Notify>,
    /// Notified by all other changes.
    pub(crate) otherwise: Arc<Notify>,
    /// Where to report that the API server's data went back.
    pub(crate) rollbacks: Rollbacks,
}

/// The current objects of one kind.
pub(crate) struct Watched<T>(Arc<Shared<T>>);

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
    /// Starts watching, for as long as `tasks` lives.
    pub(crate) fn start(watch: Watch<T>, tasks: &mut Tasks) -> Self {
        let watched = Self(Arc::new(Shared { state: Mutex::new(State::new(&watch)), watch }));
        tasks.spawn(format!("the watch of {}", watched.name()), follow::follow(watched.clone()));
        watched
    }

    /// Like [`Self::start`], but begins only when `begin` is notified.
    pub(crate) fn start_when(begin: Arc<Notify>, watch: Watch<T>, tasks: &mut Tasks) -> Self {
        let watched = Self(Arc::new(Shared { state: Mutex::new(State::new(&watch)), watch }));
        let following = watched.clone();
        tasks.spawn(format!("the watch of {}", watched.name()), async move {
            begin.notified().await;
            follow::follow(following).await
        });
        watched
    }

    /// All objects.
    pub(crate) fn all(&self) -> BTreeMap<Key, T> {
        self.lock().all()
    }

    /// One object.
    pub(crate) fn get(&self, key: &Key) -> Option<T> {
        self.lock().get(key).cloned()
    }

    /// The keys of the objects that match.
    pub(crate) fn keys(&self, which: impl Fn(&Key, &T) -> bool) -> Vec<Key> {
        self.lock().keys(which)
    }

    /// Call before a write whose answer will be passed to [`Self::wrote`].
    pub(crate) fn sending(&self) -> Sent {
        self.lock().sending()
    }

    /// Takes the answer to a write. The intended change is not news, and neither is its echo in the
    /// watch. Other writers' changes in the answer are reported as usual. `is_meant` returns true
    /// for an object that is as the write intended.
    pub(crate) fn wrote(
        &self,
        sent: Sent,
        object: DynamicObject,
        is_meant: impl FnOnce(&T) -> bool,
    ) {
        let (key, version) = (Key::of(&object), Version::of(&object));
        let kept = (self.0.watch.keep)(object);
        let difference = self.lock().wrote(sent, key, version, kept, is_meant);
        self.notify(difference);
    }

    /// Records the deletion of the object for which `is_it` returns true.
    pub(crate) fn deleted(&self, key: &Key, is_it: impl FnOnce(&T) -> bool) {
        self.lock().deleted(key, is_it);
    }

    /// Returns true if everything has been listed, and listed again since the data last went back.
    pub(crate) fn is_listed(&self) -> bool {
        self.lock().is_listed(self.0.watch.rollbacks.count())
    }

    /// Returns true while everything is listed again because the data went back.
    pub(crate) fn is_relisting(&self) -> bool {
        self.lock().is_relisting(self.0.watch.rollbacks.count())
    }

    /// The name in logs and in `/readyz`.
    pub(crate) fn name(&self) -> &'static str {
        self.0.watch.name
    }

    /// Returns true if the API server does not have the kind, as far as it has answered.
    pub(crate) fn is_unknown_kind(&self) -> bool {
        self.lock().is_unknown_kind
    }

    /// Why the watch does not work at the moment.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, difference: Difference) {
        match difference {
            Difference::None => {}
            Difference::News => self.0.watch.wake.notify_one(),
            Difference::Other => self.0.watch.otherwise.notify_one(),
        }
    }

    fn failed(&self, cause: &kube::Error) {
        let error = describe(cause);
        let mut state = self.lock();
        state.is_unknown_kind = matches!(cause, kube::Error::Api(status) if status.code == 404);
        if state.failure.as_ref() != Some(&error) {
            tracing::warn!(
                what = self.name(),
                "the watch was interrupted, and the known objects stay in use: {error}"
            );
            state.failure = Some(error);
        }
    }

    fn works(&self) {
        let mut state = self.lock();
        state.is_unknown_kind = false;
        if state.failure.take().is_some() {
            tracing::info!(what = self.name(), "the watch works again");
        }
    }
}
