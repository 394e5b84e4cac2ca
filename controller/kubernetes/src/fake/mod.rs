//! For tests: a fake API server with an etcd, in this process, behind kube's client and on tokio's
//! clock.
//!
//! It implements what the controller relies on: resource versions that grow across all kinds,
//! conflicts, server-side apply with field managers, JSON and merge patches, the status
//! subresource, preconditions and finalizers. Lists come in pages. Watches send bookmarks, resume,
//! expire, and wait for a version of the future. The data can be restored from a snapshot, and
//! requests fail on demand: [`Fault`].
//!
//! It does not check objects against a schema, convert versions, default, prune, authorize or
//! admit. It does not know the keys of lists (a list has one owner), does not collect garbage, and
//! encodes only JSON. The tests on real API servers cover these.
//!
//! | module | what it is |
//! | --- | --- |
//! | `request` | requests: verb, object, selectors |
//! | `store` | objects, versions and their history |
//! | `merge` | what patches make of an object |
//! | `serve` | requests to answers |

mod merge;
mod request;
mod serve;
mod store;
#[cfg(test)]
mod tests;

pub(super) use request::{Call, Verb};

use crate::api::client::over;
use crate::api::kind::Kind;
use kube::Client;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Store, Written};
use tokio::sync::watch;

/// How a request fails.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It is carried out after this time.
    Late(Duration),
    /// It is carried out at once, and answered after this time.
    LateAnswer(Duration),
    /// It is carried out, but the connection breaks before the answer.
    LostAnswer,
    /// It is carried out, but never answered.
    NoAnswer,
    /// It is lost without an error.
    Swallowed,
    /// It is refused with this code and message.
    Refused(u16, &'static str),
    /// The caller panics.
    Panic,
}

type Matches = Box<dyn Fn(&Call) -> bool + Send>;

/// The server; clones are the same server.
#[derive(Clone)]
pub(super) struct FakeApi(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Notifies open watches.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    store: Store,
    faults: Vec<(Matches, Fault, usize)>,
    calls: Vec<Call>,
    /// How often all watches were ended.
    cuts: u64,
    /// Whether watches are silent.
    silent: bool,
    /// How many connections to the server were opened.
    connections: usize,
}

/// The data of etcd at one moment.
pub(super) struct Snapshot(Store);

impl FakeApi {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::default() }))
    }

    /// A client of the server, with the usual limits.
    pub(super) fn client(&self) -> Client {
        self.client_of("test")
    }

    /// A client whose calls carry the name `who`.
    pub(super) fn client_of(&self, who: &'static str) -> Client {
        let server = self.clone();
        over(self.connection(who), None, move || Some(server.connection(who)))
    }

    fn connection(&self, who: &'static str) -> Client {
        self.lock().connections += 1;
        Client::new(serve::Connection(self.clone(), who), "default")
    }

    /// How many connections to the server were opened.
    pub(super) fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Makes the next `times` matching calls fail in this way. The first matching fault applies.
    pub(super) fn fail(
        &self,
        times: usize,
        fault: Fault,
        matches: impl Fn(&Call) -> bool + Send + 'static,
    ) {
        self.lock().faults.push((Box::new(matches), fault, times));
    }

    /// Removes all faults.
    pub(super) fn mend(&self) {
        self.lock().faults.clear();
    }

    /// The number of matching calls.
    pub(super) fn calls(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.lock().calls.iter().filter(|call| which(call)).count()
    }

    /// Writes an object as another user's `kubectl replace` would: creates it, or replaces
    /// everything except its status.
    pub(super) fn put(&self, kind: Kind, object: Value) -> Value {
        self.write(|store| store.put(&key_of(kind, &object), object, "kubectl"))
    }

    /// Changes an object by a merge patch, including its status.
    pub(super) fn patch(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Value {
        let key = store::ObjectKey::new(kind, namespace, name);
        self.write(|store| store.merge(&key, patch, "kubectl"))
    }

    /// Deletes an object.
    pub(super) fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        let key = store::ObjectKey::new(kind, namespace, name);
        self.write(|store| store.delete(&key, &Value::Null));
    }

    /// An object, if it exists.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.lock().store.get(&store::ObjectKey::new(kind, namespace, name)).cloned()
    }

    /// The last version that was written.
    pub(super) fn revision(&self) -> u64 {
        self.lock().store.revision()
    }

    /// Forgets the history: a watch from an older version gets a 410.
    pub(super) fn compact(&self) {
        self.lock().store.compact();
    }

    /// Ends all watches politely, as a restarting server does.
    pub(super) fn end_watches(&self) {
        self.lock().cuts += 1;
        self.wake();
    }

    /// Makes all watches, present and future, silent or talkative again.
    pub(super) fn silence(&self, silent: bool) {
        self.lock().silent = silent;
        self.wake();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().store.clone())
    }

    /// Restores a snapshot, including versions. Watches stay open.
    pub(super) fn restore(&self, snapshot: &Snapshot) {
        self.lock().store = snapshot.0.clone();
        self.wake();
    }

    fn write(&self, write: impl FnOnce(&mut Store) -> Written) -> Value {
        let written = write(&mut self.lock().store);
        self.wake();
        written.unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    fn wake(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(kind: Kind, object: &Value) -> store::ObjectKey {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    store::ObjectKey::new(kind, text("namespace"), text("name"))
}
