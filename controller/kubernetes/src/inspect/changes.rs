//! What happened in a cluster: the history that the leader keeps, fedgate's Events, and the changes
//! of the peers' trust. Read with the user's kubeconfig.

use super::snapshot::{Snapshot, refused};
use crate::api::kind::Kind;
use crate::api::owner::is_ours;
use crate::sources::memory::{CHANGES, ChangesError, read_changes};
use fedgate_engine::history::{Change, ChangeKind, History, MOST_CHANGES};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use std::cmp::Reverse;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many Events are read.
const MOST_EVENTS: u32 = 500;
/// How far apart an Event and a change may be that report the same.
const SAME: SignedDuration = SignedDuration::from_mins(1);

/// What happened in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// What happened, newest first.
    pub changes: Vec<Change>,
    /// Why the history that the leader keeps is not part of it.
    pub trouble: Option<String>,
}

/// What happened, as far as the user may read it. Events that may not be read are left out.
pub async fn happened(client: &Client, snapshot: &Snapshot) -> Happened {
    let own = snapshot.record.namespaces.own();
    // Events about objects without a namespace are in the namespace `default`.
    let (kept, first, second) =
        tokio::join!(kept(client, own), events(client, "default"), events(client, own));
    let events: Vec<_> = first.into_iter().chain(second).collect();
    let (history, trouble) = match kept {
        Ok(history) => (history, None),
        Err(why) => (History::default(), Some(why)),
    };
    let mut changes: Vec<_> =
        history.changes().iter().filter(|change| !is_reported(change, &events)).cloned().collect();
    changes.extend(events);
    changes.extend(notices(snapshot));
    changes.sort_by_key(|change| Reverse(change.at));
    changes.truncate(MOST_CHANGES);
    Happened { changes, trouble }
}

/// What the leader keeps. It is listed by name, so a user who may read the rest may read this too.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub async fn kept(client: &Client, namespace: &str) -> Result<History, String> {
    let named = ListParams::default().fields(&format!("metadata.name={CHANGES}"));
    let listed = timeout(PATIENCE, Kind::ConfigMap.within(client, namespace).list(&named)).await;
    let listed = match listed {
        Ok(Ok(listed)) => listed,
        Ok(Err(error)) => {
            return Err(format!("{:#}", refused(&error, "list", "configmaps", Some(namespace))));
        }
        Err(_) => return Err(format!("the API server has not answered within {PATIENCE:?}")),
    };
    let ours = listed.items.into_iter().find(|object| is_ours(object, namespace));
    let Some(object) = ours else {
        return Err(format!(
            "there is no ConfigMap {namespace}/{CHANGES}; the leader writes it within seconds of its start"
        ));
    };
    read_changes(&object).map_err(|ChangesError(why)| {
        format!("ConfigMap {namespace}/{CHANGES} is damaged ({why}); the controller replaces it")
    })
}

/// Returns true if an Event reports the same condition, with a message.
fn is_reported(change: &Change, events: &[Change]) -> bool {
    let Some((condition, _)) = change.text.split_once(' ') else { return false };
    let is_same = |event: &Change| {
        event.about == change.about
            && event.text.strip_prefix(condition).is_some_and(|rest| rest.starts_with(" is "))
            && event.at.duration_since(change.at).abs() <= SAME
    };
    change.kind == ChangeKind::Condition && events.iter().any(is_same)
}

async fn events(client: &Client, namespace: &str) -> Vec<Change> {
    let parameters = ListParams::default().fields("reportingComponent=fedgate").limit(MOST_EVENTS);
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let listed = timeout(PATIENCE, api.list(&parameters)).await;
    let Ok(Ok(listed)) = listed else { return Vec::new() };
    listed.items.into_iter().filter_map(of_event).collect()
}

fn of_event(event: Event) -> Option<Change> {
    let series = event.series.and_then(|series| series.last_observed_time).map(|time| time.0);
    let at =
        series.or(event.event_time.map(|time| time.0)).or(event.last_timestamp.map(|time| time.0));
    let at = at.or(event.metadata.creation_timestamp.map(|time| time.0))?;
    let object = event.involved_object;
    let text = event.message.or(event.reason)?;
    let kind = match object.kind.as_deref() {
        Some("IstioFederation") => of_peer(&text),
        Some("Service" | "FederationPolicy") => ChangeKind::Export,
        _ => ChangeKind::Leader,
    };
    Some(Change::new(at, kind, &object.name.unwrap_or_default(), &text))
}

/// The kind of what is reported about a peer.
fn of_peer(text: &str) -> ChangeKind {
    match text {
        _ if text.starts_with("roots_changed") => ChangeKind::Roots,
        _ if text.starts_with("key_changed") || text.starts_with("uuid_changed") => ChangeKind::Key,
        _ => ChangeKind::Condition,
    }
}

/// The changes of the peers' roots, keys and UUIDs, which are kept with what is known of them.
fn notices(snapshot: &Snapshot) -> impl Iterator<Item = Change> {
    let peers = snapshot.in_force.federation.peers.iter();
    peers.flat_map(|report| {
        report.notices.iter().map(|notice| {
            let text = format!("{}: {}", notice.reason.word(), notice.message);
            let at = notice.last.unwrap_or(notice.since);
            Change::new(at, of_peer(&text), report.peer.name.as_str(), &text)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn change(second: i64, about: &str, text: &str) -> Change {
        let at = Timestamp::from_second(second).unwrap();
        Change::new(at, ChangeKind::Condition, about, text)
    }

    #[test]
    fn a_condition_that_an_event_reports_is_not_told_twice() {
        let events = [change(1_000, "beta", "Ready is False, was True: it does not answer")];
        let reported = |second, about, text| is_reported(&change(second, about, text), &events);
        let text = "Ready True Reached became False NoAnswer";
        assert!(reported(990, "beta", text) && reported(1_060, "beta", text));
        assert!(!reported(900, "beta", text) && !reported(990, "gamma", text));
        assert!(!reported(990, "beta", "Accepted True Valid became False Invalid"));
    }
}
