//! Several clusters, all peers of each other.

use crate::cluster::Cluster;
use crate::run_folder::RunFolder;
use anyhow::Result;

/// A federation of clusters.
pub struct Federation<const N: usize> {
    /// The clusters, in the order of their names in [`Federation::new`].
    pub clusters: [Cluster; N],
}

impl<const N: usize> Federation<N> {
    /// Creates the folders of clusters with these names, each with an `IstioFederation` for every
    /// other. Starts nothing.
    ///
    /// # Errors
    /// When a folder cannot be written.
    pub fn new(run: &RunFolder, names: [&str; N]) -> Result<Self> {
        let clusters: Vec<Cluster> =
            names.iter().map(|name| Cluster::new(run, name)).collect::<Result<_>>()?;
        for cluster in &clusters {
            for peer in clusters.iter().filter(|peer| peer.name() != cluster.name()) {
                cluster.put_peer(peer, &peer.metadata_url())?;
            }
        }
        let Ok(clusters) = clusters.try_into() else {
            unreachable!("there are as many clusters as names")
        };
        Ok(Self { clusters })
    }

    /// The first cluster, by the name that tests give it.
    pub fn alpha(&self) -> &Cluster {
        &self.clusters[0]
    }

    /// The second cluster.
    pub fn beta(&self) -> &Cluster {
        &self.clusters[1]
    }

    /// Starts all controllers.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start_controllers(&mut self) -> Result<()> {
        for cluster in &mut self.clusters {
            cluster.start_controller().await?;
        }
        Ok(())
    }

    /// Starts all clusters.
    ///
    /// # Errors
    /// When a process does not become ready.
    pub async fn start(&mut self) -> Result<()> {
        self.start_controllers().await?;
        for cluster in &mut self.clusters {
            cluster.start_envoys().await?;
        }
        Ok(())
    }
}

impl Federation<3> {
    /// The third cluster.
    pub fn gamma(&self) -> &Cluster {
        &self.clusters[2]
    }
}
