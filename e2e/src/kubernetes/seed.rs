//! What every cluster has when it starts, as etcd's data. It is made once, and each cluster starts
//! from a copy: an API server needs more processor time to take in Istio's definitions than for all
//! that most tests ask of it.

use super::control_plane::{ControlPlane, Options, replace};
use super::install;
use super::objects::Objects;
use crate::programs;
use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

/// Objects that each API server has to make itself, since they depend on its addresses.
const OF_ONE_SERVER: [&str; 7] = [
    "/registry/ranges/",
    "/registry/servicecidrs/",
    "/registry/ipaddresses/",
    "/registry/services/specs/default/kubernetes",
    "/registry/services/endpoints/default/kubernetes",
    "/registry/endpointslices/default/kubernetes",
    "/registry/leases/kube-system/",
];

/// What is installed in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seed {
    /// What a mesh needs: Istio's definitions, and namespaces.
    Mesh,
    /// The same, and what an operator installs of fedgate, except for its Deployments.
    Fedgate,
}

impl Seed {
    /// The folder with the data. Makes it first if necessary.
    ///
    /// # Errors
    /// When a program does not become ready, or an object is refused.
    pub(super) async fn data(self) -> Result<&'static Path> {
        static MESH: OnceCell<PathBuf> = OnceCell::const_new();
        static FEDGATE: OnceCell<PathBuf> = OnceCell::const_new();
        let cell = match self {
            Self::Mesh => &MESH,
            Self::Fedgate => &FEDGATE,
        };
        cell.get_or_try_init(|| self.made()).await.map(PathBuf::as_path)
    }

    /// Kept by what it is made of, so that the next run finds it.
    async fn made(self) -> Result<PathBuf> {
        let folder = xtask::target().join("seeds").join(format!("{:016x}", self.hash()?));
        if !folder.is_dir() {
            let run = RunFolder::new("seed")?;
            let data = self.make(&run).await.with_context(|| {
                format!("making the data that clusters start from\n{}", run.log_tails(15))
            })?;
            std::fs::create_dir_all(xtask::target().join("seeds"))?;
            // Another process may have been faster. Its data is the same.
            if std::fs::rename(&data, &folder).is_err() && !folder.is_dir() {
                anyhow::bail!("cannot create {}", folder.display());
            }
        }
        Ok(folder)
    }

    async fn make(self, run: &RunFolder) -> Result<PathBuf> {
        let mut plane = ControlPlane::start(run, "seed", Options::default()).await?;
        let objects = Objects::new(plane.client());
        for namespace in self.namespaces() {
            objects.put_namespace(namespace).await?;
        }
        for file in self.files()? {
            objects.apply_file(&file).await?;
        }
        let data = run.path().join("data");
        plane.finish(&OF_ONE_SERVER, |etcd| replace(&data, etcd)).await?;
        Ok(data)
    }

    fn namespaces(self) -> &'static [&'static str] {
        match self {
            Self::Mesh => &install::MESH_NAMESPACES,
            Self::Fedgate => &install::NAMESPACES,
        }
    }

    fn files(self) -> Result<Vec<PathBuf>> {
        let mut files = vec![programs::istio_crds()?.to_owned()];
        if self == Self::Fedgate {
            files.extend(install::deployment()?);
        }
        Ok(files)
    }

    fn hash(self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        (self.namespaces(), OF_ONE_SERVER).hash(&mut hasher);
        // Their paths contain the hashes of their builds.
        (programs::api_server()?, programs::etcd()?).hash(&mut hasher);
        for file in self.files()? {
            std::fs::read(&file)
                .with_context(|| format!("cannot read {}", file.display()))?
                .hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}
