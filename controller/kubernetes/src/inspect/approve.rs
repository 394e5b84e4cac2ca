//! Approves a change of a peer's roots, key or UUID.

use super::snapshot::refused;
use crate::api::kind::Kind;
use anyhow::Result;
use fedgate_federation::document::TrustId;
use fedgate_federation::object::APPROVE_ANNOTATION;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Who the API server records as the author of the annotation: a person, not the controller.
const MANAGER: &str = "fedgate-cli";

/// Annotates the peer's `IstioFederation`. The controller then takes exactly the change with this
/// ID.
///
/// # Errors
/// If the API server refuses it; the message names the missing permission.
pub async fn approve(client: &Client, peer: &str, id: TrustId) -> Result<()> {
    let kind = Kind::IstioFederation;
    let annotation =
        json!({ "metadata": { "annotations": { APPROVE_ANNOTATION: id.to_string() } } });
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
    let patched = kind.everywhere(client).patch(peer, &parameters, &Patch::Merge(annotation)).await;
    patched.map(drop).map_err(|error| refused(&error, "patch", &kind.qualified(), None))
}
