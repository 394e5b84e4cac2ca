//! Which cluster is asked: the one of a folder, or one of Kubernetes.

use super::Folder;
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::api::client;
use fedgate_kubernetes::inspect::snapshot::Snapshot;
use fedgate_kubernetes::settings::Places;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// The file that makes a folder a cluster's.
const SETTINGS: &str = "fedgate.yaml";

/// Which cluster is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct Target {
    /// A cluster's folder, which has fedgate.yaml [default: the current folder if it has that file, else Kubernetes]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    dir: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// A cluster of Kubernetes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct Kubernetes {
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace that fedgate runs in [default: fedgate-system]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// A platform, and the cluster on it.
pub(super) enum Platform<'a> {
    /// A folder, whose running controller is asked.
    Files(Folder),
    /// A cluster of Kubernetes, whose objects are read.
    Kubernetes(&'a Kubernetes),
}

impl Target {
    /// What the flags mean. `kubectl fedgate` asks a folder only when it is named.
    pub(super) fn platform(&self) -> Platform<'_> {
        let here = Path::new(".");
        match &self.dir {
            Some(dir) => Platform::Files(Folder { dir: dir.clone() }),
            None if self.kubernetes.is_named() || super::is_kubectl_plugin() || !here.join(SETTINGS).exists() => {
                Platform::Kubernetes(&self.kubernetes)
            }
            None => Platform::Files(Folder { dir: here.to_owned() }),
        }
    }
}

impl Kubernetes {
    fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.namespace.is_some()
    }

    /// The namespace that fedgate runs in.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("fedgate-system")
    }

    /// The API server, by the user's credentials.
    pub(super) async fn client(&self) -> Result<kube::Client> {
        client::of_user(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }

    /// Where a controller has written down that its objects are; without that, where the defaults say.
    pub(super) async fn places(&self, client: &kube::Client) -> Places {
        let namespace = self.namespace();
        let places = fedgate_kubernetes::inspect::snapshot::places(client, namespace).await;
        places.unwrap_or_else(|| Places::all_in(namespace))
    }

    /// The cluster as it is now.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = self.client().await?;
            Snapshot::take(&client, self.namespace(), Timestamp::now()).await
        })
    }
}
