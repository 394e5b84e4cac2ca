//! The table in the gateway's object, as `fedgate table FILE` reads it.

use crate::fixture::TABLE;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::KubernetesCluster;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;

/// A cluster's table.
pub(crate) struct TableObject<'a> {
    pub(crate) run: &'a RunFolder,
    pub(crate) cluster: &'a KubernetesCluster,
}

impl TableObject<'_> {
    /// Reads the table as JSON.
    pub(crate) async fn read(&self) -> Result<Value> {
        let object = self.cluster.objects().get(TABLE).await?.context("there is no table")?;
        let file = self.run.path().join(format!("{}-table.json", self.cluster.name()));
        std::fs::write(&file, object.to_string())?;
        let file = file.to_str().context("the folder's name is text")?;
        let output = self.cluster.fedgate(&["table", file, "--output", "json"]).await?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The names of the peers in the table.
    pub(crate) async fn peers(&self) -> Result<Vec<String>> {
        let table = self.read().await?;
        let rows = table["peers"].as_array().context("peers")?;
        Ok(rows.iter().filter_map(|row| row["name"].as_str()).map(str::to_owned).collect())
    }

    /// Waits until a Service's first port is granted to exactly these peers; `None` means that it
    /// has no row.
    pub(crate) async fn wait_granted(
        &self,
        service: &Service,
        expected: Option<&[&str]>,
    ) -> Result<()> {
        let sni = service.sni(&self.cluster.trust_domain());
        wait::until(&format!("the table to grant {sni} to {expected:?}"), SOON, async || {
            let table = self.read().await?;
            let row = table["exports"]
                .as_array()
                .context("exports")?
                .iter()
                .find(|row| row["sni"] == sni.as_str());
            let granted: Option<Vec<_>> = row.map(|row| {
                row["grants"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
            });
            ensure!(granted.as_deref() == expected, "it is granted to {granted:?}");
            Ok(Some(()))
        })
        .await
    }
}
