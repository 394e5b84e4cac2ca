//! Asks the API server for the facts, with the user's credentials.

mod ambient;
mod api;
mod denied;
mod mesh;
mod pods;
mod reviews;
mod written;

use super::facts::{Facts, Mesh, Names, Pods};
use super::permissions::{needs, needs_of_mcs};
use crate::inspect::names::{NameService, corefile};
use crate::inspect::snapshot::Snapshot;
use crate::settings::Namespaces;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a change may be on its way from an object to the gateway before it counts as an error.
const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// The pause between looks meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for everything. A failure to get something is a fact like any other.
pub(crate) async fn gather(
    client: &Client,
    namespace: &str,
    service_account: &str,
    progress: &dyn Fn(usize, usize),
) -> Facts {
    let api = api::ask(client).await;
    let ahead = api.as_ref().ok().and_then(|api| api.ahead).unwrap_or_default();
    let (snapshot, pods) = match &api {
        Ok(_) => settled(client, namespace, ahead).await,
        Err(why) => (Err(why.clone()), Err(why.clone())),
    };
    let record = snapshot.as_ref().ok().map(|snapshot| &snapshot.record);
    let namespaces =
        record.map_or_else(|| Namespaces::all_in(namespace), |record| record.namespaces.clone());
    let mut needs = needs(&namespaces);
    let of_mcs = record.map(|record| needs_of_mcs(record.mcs_exports, record.mcs_imports));
    needs.extend(of_mcs.unwrap_or_default());
    let (permissions, written, mesh, names) = match &api {
        Ok(_) => tokio::join!(
            reviews::ask(client, needs, (namespace, service_account), progress),
            written::ask(client, &namespaces),
            mesh::ask(client, &namespaces.root, &pods),
            names(client, &namespaces)
        ),
        Err(why) => {
            let mesh = Mesh {
                config: Err(why.clone()),
                istiods: Err(why.clone()),
                ambient: Err(why.clone()),
            };
            let names = Names { service: Err(why.clone()), corefile: Err(why.clone()) };
            (Err(why.clone()), Err(why.clone()), mesh, names)
        }
    };
    Facts {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        now: by_server(ahead),
        api,
        permissions,
        snapshot,
        pods,
        mesh,
        names,
        written,
    }
}

async fn names(client: &Client, namespaces: &Namespaces) -> Names {
    let (service, corefile) = tokio::join!(NameService::take(client, namespaces), corefile(client));
    Names { service: service.map_err(|error| format!("{error:#}")), corefile }
}

/// The time by the API server's clock.
fn by_server(ahead: SignedDuration) -> Timestamp {
    let now = Timestamp::now();
    now.checked_sub(ahead).unwrap_or(now)
}

/// What is in force, and what the gateway's Pods report. Asks again while a change seems to be on
/// its way.
async fn settled(
    client: &Client,
    namespace: &str,
    ahead: SignedDuration,
) -> (Result<Snapshot, String>, Pods) {
    let end = Instant::now() + ON_ITS_WAY;
    loop {
        let snapshot = Snapshot::take(client, namespace, by_server(ahead)).await;
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => return (Err(format!("{error:#}")), Err("see above".to_owned())),
        };
        let pods = pods::ask(client, &snapshot.record).await;
        if is_settled(&snapshot, &pods) || Instant::now() >= end {
            return (Ok(snapshot), pods);
        }
        sleep(PAUSE).await;
    }
}

fn is_settled(snapshot: &Snapshot, pods: &Pods) -> bool {
    let generation = snapshot.in_force.table.generation();
    let mut ready = pods.iter().flatten().filter(|(_, pod)| pod.ready);
    let behind =
        ready.any(|(_, pod)| pod.table.as_ref().is_ok_and(|table| !table.have(generation)));
    snapshot.in_force.findings.is_empty() && !behind
}
