//! Failures, and how far their effects reach.

use crate::stage::Stage;
use anyhow::{Result, ensure};
use fedgate_e2e::metadata_proxy::{PRIVATE, announce};

pub(crate) async fn controller_down(stage: &mut Stage) -> Result<String> {
    stage.beta_mut().kill_controller()?;
    stage.web.call_from(stage.alpha()).await?;
    stage.beta_mut().start_gateway().await?;
    let body = stage.web.call_from(stage.alpha()).await?;
    stage.beta_mut().start_controller().await?;
    Ok(format!("\"{body}\", with the controller gone and the gateway restarted"))
}

pub(crate) async fn foreign_name(stage: &Stage) -> Result<String> {
    let foreign = stage.web.host();
    let announced = foreign.clone();
    stage.gamma_metadata.alter_json(PRIVATE, move |document| announce(document, &announced));
    let finding = stage.alpha().wait_finding("foreign_name").await?;
    ensure!(finding.message.contains(&foreign), "the message is {:?}", finding.message);
    stage.stock.call_from(stage.alpha()).await?;
    stage.web.call_from(stage.alpha()).await?;
    stage.gamma_metadata.alter(|_, reply| reply);
    Ok(format!(
        "alpha says {}: \"{}\"; gamma's stock and beta's web answer as before",
        finding.reason, finding.message
    ))
}

pub(crate) async fn broken_manifest(stage: &Stage) -> Result<String> {
    const FILE: &str = "peer-delta.yaml";
    let manifest = "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata:\n  name: delta\nspec:\n  \
                    trustDomain: delta.example\n  metadataEndpoint: http://delta.example/metadata\n";
    stage.beta().put_manifest(FILE, manifest)?;
    let finding = stage.beta().wait_finding("invalid_endpoint").await?;
    let source = finding.object["source"].as_str().unwrap_or_default();
    ensure!(source == format!("manifests/{FILE}:1"), "the file is {source:?}");
    ensure!(
        finding.field.as_deref() == Some("spec.metadataEndpoint"),
        "the field is {:?}",
        finding.field
    );
    stage.web.call_from(stage.alpha()).await?;
    stage.beta().remove_manifest(FILE)?;
    let field = finding.field.unwrap_or_default();
    Ok(format!("{source}, {field}: {}: {}. web answers as before", finding.reason, finding.message))
}
