//! `target/demo/demo.json`: addresses and files of the demo, for readers who want to attack it with
//! their own tools.

use crate::stage::Stage;
use anyhow::Result;
use fedgate_e2e::authority::Identity;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The written file. Dropping it removes the file, as the clusters that it describes are gone then.
pub(crate) struct Kept(PathBuf);

impl Kept {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Another demo may have written its own file since.
        let ours = format!("\"process\": {}", std::process::id());
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text.contains(&ours)) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Writes the file.
pub(crate) async fn write(stage: &Stage) -> Result<Kept> {
    let mut clusters = Map::new();
    for (cluster, workload) in stage.federation.clusters.iter().zip(&stage.workloads) {
        clusters.insert(cluster.name().to_owned(), describe(stage, cluster, workload).await?);
    }
    let folder = xtask::target().join("demo");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("demo.json");
    let text = serde_json::to_string_pretty(
        &json!({ "process": std::process::id(), "clusters": clusters }),
    )?;
    std::fs::write(&file, text + "\n")?;
    Ok(Kept(file))
}

async fn describe(stage: &Stage, cluster: &Cluster, workload: &Identity) -> Result<Value> {
    let root = cluster.folder().join("identity/roots.pem");
    let leaf = workload.write(&cluster.folder().join("identity"), "workload")?;
    let authority = cluster.authority().write(&cluster.folder().join("identity"), "root")?;
    let metadata_root = cluster.folder().join("identity/metadata-root.pem");
    std::fs::write(&metadata_root, cluster.metadata_authority().pem())?;
    let status = cluster.status().await?;
    Ok(json!({
        "trustDomain": cluster.trust_domain(),
        "folder": cluster.folder(),
        "gateway": { "address": cluster.gateway_address(), "admin": cluster.gateway()?.admin() },
        "egress": { "admin": cluster.egress()?.admin() },
        "metadata": { "url": cluster.metadata_url(), "ca": metadata_root },
        "ca": { "certificate": root, "key": authority.key },
        "workload": { "spiffeId": cluster.spiffe_id("cart"), "certificate": leaf.certificate, "key": leaf.key },
        "exports": exports(stage, cluster),
        "imports": status.0["imports"],
    }))
}

fn exports(stage: &Stage, cluster: &Cluster) -> Vec<Value> {
    let of_beta = [&stage.web, &stage.mail, &stage.catalog];
    let staged: &[_] = match cluster.name() {
        "beta" => &of_beta,
        "gamma" => &[&stage.stock],
        _ => &[],
    };
    let export = |service: &&Deployed| json!({ "service": service.name(), "sni": service.sni(), "backend": service.backend.address() });
    staged.iter().map(export).collect()
}
