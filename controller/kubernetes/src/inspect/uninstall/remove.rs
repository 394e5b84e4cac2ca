//! Deletes objects, stage by stage.

use super::Step;
use super::find::Item;
use super::stage::Stage;
use crate::api::client::describe;
use futures_util::stream::{self, StreamExt};
use kube::api::{DeleteParams, DynamicObject, Preconditions};
use kube::{Api, Client, ResourceExt};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How many objects are deleted at once.
const AT_ONCE: usize = 16;
/// How long to wait for an object to disappear: a finalizer may hold it.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause between looks meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// The time for istiod to remove the port, before the objects that protect it go.
const PORT: Duration = Duration::from_secs(2);

/// Deletes objects, which must be in order. Returns how many are gone, and what is left and why. If
/// anything else is left, or if `whole` is false because not everything could be searched, the
/// object that records the namespaces stays.
pub(super) async fn in_order(
    client: &Client,
    items: Vec<Item>,
    whole: bool,
    report: &mut dyn FnMut(Step),
) -> (usize, Vec<String>) {
    let (all, mut gone, mut left) = (items.len(), 0, Vec::new());
    for stage in items.chunk_by(|a, b| a.stage == b.stage) {
        let is = |wanted| stage.first().is_some_and(|item| item.stage == wanted);
        if is(Stage::State) && !(whole && left.is_empty()) {
            break;
        }
        let done =
            stream::iter(stage).map(|item| async move { (item, remove(client, item).await) });
        let mut done = pin!(done.buffered(AT_ONCE));
        while let Some((item, done)) = done.next().await {
            match done {
                Ok(()) => {
                    gone += 1;
                    report(Step::Said(format!("deleted {item}")));
                }
                Err(why) => left.push(format!("{item}: {why}")),
            }
            report(Step::Done { done: gone + left.len(), all });
        }
        if is(Stage::Port) {
            sleep(PORT).await;
        }
    }
    (gone, left)
}

/// Deletes an object, but no other one of the same name, and waits until it is gone.
async fn remove(client: &Client, item: &Item) -> Result<(), String> {
    let api = item.kind.within(client, &item.namespace);
    let preconditions = Preconditions { uid: Some(item.uid.clone()), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&item.name, &parameters).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            return Ok(());
        }
        Err(error) => return Err(describe(&error)),
    }
    let end = Instant::now() + PATIENCE;
    while let Some(why) = is_there(&api, item).await? {
        if Instant::now() >= end {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Why an object still exists; `None` if it does not.
async fn is_there(api: &Api<DynamicObject>, item: &Item) -> Result<Option<String>, String> {
    let object = match api.get_metadata_opt(&item.name).await {
        // A user who may delete but not read has to assume so.
        Err(kube::Error::Api(status)) if status.is_forbidden() => return Ok(None),
        found => found.map_err(|error| describe(&error))?,
    };
    let same = object.filter(|object| object.uid().as_deref() == Some(&item.uid));
    Ok(same.map(|object| match object.finalizers() {
        [] => "it was deleted, but still exists".to_owned(),
        finalizers => {
            format!("it is deleted, and held by the finalizer {}", finalizers.join(", "))
        }
    }))
}
