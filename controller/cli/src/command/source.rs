//! Where a status comes from, for commands that ask again and again.

use super::Folder;
use super::ask::fetch;
use super::target::{Kubernetes, Platform, Target};
use anyhow::Result;
use fedgate_engine::status::Status;
use fedgate_kubernetes::inspect::snapshot::Snapshot;
use jiff::Timestamp;
use std::time::Duration;

/// A cluster that is asked for its status.
pub(super) enum Source<'a> {
    /// The running controller of a folder.
    Files(Folder),
    /// A Kubernetes cluster. The client is made at the first question.
    Kubernetes(&'a Kubernetes, Option<kube::Client>),
}

impl<'a> Source<'a> {
    /// The cluster that the flags name.
    pub(super) fn of(target: &'a Target) -> Self {
        match target.platform() {
            Platform::Files(folder) => Self::Files(folder),
            Platform::Kubernetes(cluster) => Self::Kubernetes(cluster, None),
        }
    }

    /// The status now.
    ///
    /// # Errors
    /// As for [`fetch`] and [`Snapshot::take`].
    pub(super) async fn status(&mut self) -> Result<Status> {
        match self {
            Self::Files(folder) => fetch(folder, "/status", &[]).await,
            Self::Kubernetes(cluster, client) => {
                let client = match client {
                    Some(client) => client,
                    None => client.insert(cluster.client().await?),
                };
                let snapshot = Snapshot::take(client, cluster.namespace(), Timestamp::now()).await;
                Ok(snapshot?.status())
            }
        }
    }

    /// The time between two questions. On Kubernetes each one lists all objects.
    pub(super) fn interval(&self) -> Duration {
        match self {
            Self::Files(_) => Duration::from_millis(500),
            Self::Kubernetes(..) => Duration::from_secs(2),
        }
    }

    /// How long one answer may take after the time is over.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}
