//! A ConfigMap mounted as a folder, the way a kubelet does it: each change creates a new folder and
//! swaps a link, so all files change at once.

use crate::kubernetes::Objects;
use crate::wait;
use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the ConfigMap is read. A real kubelet takes up to a minute, or less if an annotation
/// of the Pod changes.
const PACE: Duration = Duration::from_millis(100);

/// How long a Pod may wait for its ConfigMap.
const START: Duration = Duration::from_secs(60);

/// A mounted ConfigMap. It is kept up to date until dropped.
pub struct ConfigMapVolume {
    task: JoinHandle<()>,
}

impl ConfigMapVolume {
    /// Waits for the ConfigMap, as a Pod that mounts it does, and mounts it at `folder`.
    ///
    /// # Errors
    /// When the ConfigMap does not appear.
    pub async fn mount(
        objects: &Objects,
        namespace: &str,
        name: &str,
        folder: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let api: Api<ConfigMap> = Api::namespaced(objects.client(), namespace);
        let what = format!("the ConfigMap {namespace}/{name}, which a Pod mounts");
        let first = wait::until(&what, START, async || Ok(api.get_opt(name).await?)).await?;
        let mut mounted = first.metadata.resource_version.clone();
        swap(&folder, &files(first))?;
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PACE).await;
                // If the ConfigMap is deleted or the API server does not answer, the files stay.
                let Ok(Some(version)) = api.get_metadata_opt(&name).await else { continue };
                if version.metadata.resource_version == mounted {
                    continue;
                }
                let Ok(Some(object)) = api.get_opt(&name).await else { continue };
                let version = object.metadata.resource_version.clone();
                if swap(&folder, &files(object)).is_ok() {
                    mounted = version;
                }
            }
        });
        Ok(Self { task })
    }
}

impl Drop for ConfigMapVolume {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn files(object: ConfigMap) -> Files {
    let text =
        object.data.unwrap_or_default().into_iter().map(|(name, text)| (name, text.into_bytes()));
    let bytes =
        object.binary_data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, bytes.0));
    text.chain(bytes).collect()
}

/// Makes `..data` link to the folder with the files. Each file is a link through it.
fn swap(folder: &Path, files: &Files) -> Result<()> {
    let data = folder.join("..data");
    let before = std::fs::read_link(&data).ok();
    let version = format!("..{}", uuid::Uuid::new_v4());
    std::fs::create_dir(folder.join(&version))?;
    for (name, bytes) in files {
        std::fs::write(folder.join(&version).join(name), bytes)?;
    }
    let link = folder.join("..data_tmp");
    std::os::unix::fs::symlink(&version, &link)?;
    std::fs::rename(&link, &data)?;
    for name in files.keys().filter(|name| folder.join(name).symlink_metadata().is_err()) {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.join(name))?;
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !files.contains_key(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(before) = before {
        std::fs::remove_dir_all(folder.join(before))?;
    }
    Ok(())
}
