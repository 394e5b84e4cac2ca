//! `fedgate uninstall`: removes everything that a controller has written to a cluster, and nothing
//! else.
//!
//! A running controller would write it again. So the Lease is taken from the controller first, and
//! stays held at the end. For ten more seconds there is no leader, and in this time the controller
//! can be stopped.

mod find;
mod remove;
mod stage;

use crate::identity::SECRET;
use crate::leader::election::{DURATION, Election, LEASE};
use crate::settings::Namespaces;
use anyhow::Result;
use fedgate_engine::confirmations::Confirmations;
use find::Find;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::sleep;

/// The prefix of an uninstallation's identity as the Lease's holder.
const HOLDER: &str = "fedgate-uninstall";
/// A holder that has renewed the Lease within this time may be alive, even if clocks differ.
const ALIVE: SignedDuration = SignedDuration::from_secs(60);
/// How often to search again, in case a late request of the former leader has written something.
const ROUNDS: usize = 3;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Also delete the Secret with the cluster's UUID and key.
    pub identity: bool,
    /// Delete nothing; only report.
    pub dry_run: bool,
}

/// The result.
#[derive(Debug, Default)]
pub struct Uninstalled {
    /// How many objects are deleted, or would be.
    pub deleted: usize,
    /// What is left, and why.
    pub left: Vec<String>,
}

/// What happens meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A line for the user.
    Said(String),
    /// How far the deletion is.
    Done {
        /// How many objects were tried.
        done: usize,
        /// How many were found.
        all: usize,
    },
}

/// Removes everything that the fedgate in these namespaces wrote. Passes each step to `report`.
///
/// # Errors
/// If the Lease cannot be taken. Objects that cannot be deleted are part of the outcome.
pub async fn uninstall(
    client: &Client,
    namespaces: &Namespaces,
    options: Options,
    report: &mut dyn FnMut(Step),
) -> Result<Uninstalled> {
    let find = Find { client, namespaces };
    let (items, mut left) = find.all().await;
    if options.dry_run {
        items.iter().for_each(|item| report(Step::Said(format!("would delete {item}"))));
        return Ok(Uninstalled { deleted: items.len(), left });
    }
    let lease = Api::<Lease>::namespaced(client.clone(), namespaces.own()).get_opt(LEASE).await?;
    let mut deleted = 0;
    if !items.is_empty() || is_led(lease.as_ref()) {
        let mut election = take_the_lease(client, namespaces, lease.as_ref(), report).await?;
        (deleted, left) = tokio::select! {
            outcome = remove_all(&find, report) => outcome,
            never = election.hold() => match never {},
        };
        // From now on, the user has the whole duration of the Lease to stop the controller.
        election.renew().await?;
    }
    if options.identity {
        match delete_identity(client, namespaces).await {
            Ok(true) => {
                report(Step::Said(format!("deleted Secret {}/{SECRET}", namespaces.own())));
                deleted += 1;
            }
            Ok(false) => {}
            Err(error) => left.push(format!(
                "Secret {}/{SECRET}: {}",
                namespaces.own(),
                crate::api::client::describe(&error)
            )),
        }
    }
    Ok(Uninstalled { deleted, left })
}

/// Returns true if a controller leads.
fn is_led(lease: Option<&Lease>) -> bool {
    let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else { return false };
    let is_controller = spec
        .holder_identity
        .as_deref()
        .is_some_and(|holder| !holder.is_empty() && !holder.starts_with(HOLDER));
    let renewed =
        spec.renew_time.as_ref().map(|renewed| Timestamp::now().duration_since(renewed.0));
    is_controller && renewed.is_some_and(|ago| ago.abs() < ALIVE)
}

/// Takes the Lease, and waits until no controller writes.
async fn take_the_lease(
    client: &Client,
    namespaces: &Namespaces,
    before: Option<&Lease>,
    report: &mut dyn FnMut(Step),
) -> Result<Election> {
    let name = format!("{HOLDER}_{}", uuid::Uuid::new_v4());
    let (mut election, _) = Election::new(client, namespaces.own(), name, Confirmations::default());
    election.seize().await?;
    if is_led(before) {
        report(Step::Said(format!(
            "a controller runs: waiting {} s until it has stopped writing",
            DURATION.as_secs()
        )));
        let end = tokio::time::Instant::now() + DURATION;
        while tokio::time::Instant::now() < end {
            sleep(Duration::from_secs(2)).await;
            election.renew().await?;
        }
    }
    Ok(election)
}

async fn remove_all(find: &Find<'_>, report: &mut dyn FnMut(Step)) -> (usize, Vec<String>) {
    let (mut deleted, mut left) = (0, Vec::new());
    for _ in 0..ROUNDS {
        let (items, problems) = find.all().await;
        if items.is_empty() {
            left = problems;
            break;
        }
        let (gone, failed) =
            remove::in_order(find.client, items, problems.is_empty(), report).await;
        deleted += gone;
        left = [problems, failed].concat();
        if !left.is_empty() {
            break;
        }
    }
    (deleted, left)
}

async fn delete_identity(client: &Client, namespaces: &Namespaces) -> kube::Result<bool> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespaces.own());
    match secrets.delete(SECRET, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
