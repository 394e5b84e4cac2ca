//! What a DKP cluster announces to be trusted. It signs nothing, so nothing but time or an operator
//! speaks for a change.

use crate::Mixed;
use crate::dataplane::{called, web, workload};
use anyhow::{Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::manifest;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::json;

/// delta replaces its root, and its web shows a certificate from the new one.
async fn replace_root(mixed: &Mixed, name: &str) -> Result<()> {
    let root = Authority::root(name)?;
    let files = workload(&mixed.delta, &root, "shop", "delta.example", &name.replace(' ', "-"))?;
    let changes = json!({ "rootCA": root.pem(), "services": [web(mixed, files)] });
    mixed.delta.change(changes).await
}

/// By default a new root counts at once, and is reported: a DKP cluster notices nothing. An operator
/// can ask to approve it; then the old one stays in force.
#[test]
fn a_new_root_counts_at_once_unless_it_must_be_approved() {
    scenario("dkp-new-root", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        called(&mixed).await?;
        replace_root(&mixed, "second root").await?;
        let finding = mixed.alpha.wait_finding("roots_changed").await?;
        ensure!(finding.object["name"] == "delta", "{finding:?}");
        called(&mixed).await?;

        let object = mixed.delta.federation(&mixed.delta.metadata_url());
        let object = manifest::annotated(&object, &[("fedgate.dev/root-change", "Approve")]);
        mixed.alpha.put_manifest(&mixed.delta.manifest_file(), &object)?;
        mixed.wait_private(crate::SUCCEEDED).await?;
        replace_root(&mixed, "third root").await?;
        mixed.alpha.wait_condition("delta", "Held", ["True", "RootsChanged"]).await?;
        let egress = mixed.alpha.wait_import(&mixed.import()).await?;
        let answer = plain_get(egress, &mixed.delta.web()).await;
        ensure!(!answer.as_ref().is_ok_and(|answer| answer.status == 200), "{answer:?}");
        Ok(())
    });
}
