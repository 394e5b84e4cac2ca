//! Several clusters on Kubernetes, all peers of each other.

use super::KubernetesCluster;
use crate::run_folder::RunFolder;
use anyhow::Result;
use futures_util::future::try_join_all;

/// A federation of clusters.
pub struct KubernetesFederation<const N: usize> {
    /// The clusters, in the order of their names in [`KubernetesFederation::start`].
    pub clusters: [KubernetesCluster; N],
}

impl<const N: usize> KubernetesFederation<N> {
    /// Starts clusters with these names, without controllers or peers.
    ///
    /// # Errors
    /// When a program does not become ready, or an object is refused.
    pub async fn start(run: &RunFolder, names: [&str; N]) -> Result<Self> {
        let clusters = try_join_all(names.map(|name| KubernetesCluster::start(run, name))).await?;
        let Ok(clusters) = clusters.try_into() else {
            unreachable!("there are as many clusters as names")
        };
        Ok(Self { clusters })
    }

    /// Makes each cluster the peer of every other.
    ///
    /// # Errors
    /// When an API server refuses.
    pub async fn pair(&self) -> Result<()> {
        for cluster in &self.clusters {
            for peer in self.clusters.iter().filter(|peer| peer.name() != cluster.name()) {
                cluster.put_peer(peer).await?;
            }
        }
        Ok(())
    }

    /// Starts one controller in each cluster.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start_controllers(&mut self) -> Result<()> {
        try_join_all(self.clusters.iter_mut().map(KubernetesCluster::start_replica)).await.map(drop)
    }
}
