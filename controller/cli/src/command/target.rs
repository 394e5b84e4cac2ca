//! Which cluster a command works on: that of a folder, or one on Kubernetes.

use super::Folder;
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::api::client;
use fedgate_kubernetes::inspect::snapshot::Snapshot;
use fedgate_kubernetes::settings::Namespaces;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// A folder with this file is a cluster's folder.
const SETTINGS: &str = "fedgate.yaml";

/// Which cluster a command works on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct Target {
    /// Folder with fedgate.yaml [default: the current folder if it has that file, else Kubernetes]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    dir: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// A Kubernetes cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct Kubernetes {
    /// Kubeconfig [default: KUBECONFIG, else ~/.kube/config, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig [default: the current context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of fedgate [default: fedgate-system]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
}

/// Reads a namespace, which becomes a part of URLs.
fn namespace(text: &str) -> Result<String, &'static str> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !text.is_empty() && text.len() <= 63 && text.bytes().all(is_letter) {
        true => Ok(text.to_owned()),
        false => Err("expected the name of a namespace: lower-case letters, digits and '-'"),
    }
}

/// A platform, and the cluster on it.
pub(super) enum Platform<'a> {
    /// A folder, whose running controller answers.
    Files(Folder),
    /// A Kubernetes cluster, whose objects are read.
    Kubernetes(&'a Kubernetes),
}

impl Target {
    /// A folder, for tests.
    #[cfg(test)]
    pub(super) fn of_folder(dir: &Path) -> Self {
        let kubernetes = Kubernetes { kubeconfig: None, context: None, namespace: None };
        Self { dir: Some(dir.to_owned()), kubernetes }
    }

    /// Returns true if a flag names a folder.
    pub(super) fn names_folder(&self) -> bool {
        self.dir.is_some()
    }

    /// The Kubernetes cluster, for what only that has.
    pub(super) fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The cluster that the flags name. `kubectl fedgate` uses a folder only with `--dir`.
    pub(super) fn platform(&self) -> Platform<'_> {
        let here = Path::new(".");
        match &self.dir {
            Some(dir) => Platform::Files(Folder { dir: dir.clone() }),
            None if self.kubernetes.is_named()
                || super::is_kubectl_plugin()
                || !here.join(SETTINGS).exists() =>
            {
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

    /// The namespace of fedgate.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("fedgate-system")
    }

    /// A client of the API server with the user's credentials.
    pub(super) async fn client(&self) -> Result<kube::Client> {
        client::of_user(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }

    /// Where the controller's objects are: as the controller wrote it down, else the defaults.
    pub(super) async fn namespaces(&self, client: &kube::Client) -> Namespaces {
        let namespace = self.namespace();
        let namespaces = fedgate_kubernetes::inspect::snapshot::namespaces(client, namespace).await;
        namespaces.unwrap_or_else(|| Namespaces::all_in(namespace))
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
