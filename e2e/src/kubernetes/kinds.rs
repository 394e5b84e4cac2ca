//! Finds a kind's resource through the API server's discovery.

use crate::wait::{self, SOON};
use anyhow::{Context, Result};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, oneshot};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The resources found so far, shared by clones.
#[derive(Clone)]
pub(super) struct Kinds {
    client: kube::Client,
    found: Arc<Mutex<HashMap<GroupVersionKind, (ApiResource, bool)>>>,
}

impl Kinds {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client, found: Arc::default() }
    }

    /// The resource of a kind, and whether its objects are namespaced. Waits for a kind whose
    /// definition was just applied.
    pub(super) async fn find(&self, api_version: &str, kind: &str) -> Result<(ApiResource, bool)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        if let Some(found) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&gvk) {
            return Ok(found.clone());
        }
        let what = format!("the API server to know {api_version} {kind}");
        let look =
            async || Ok(Some(oneshot::pinned_kind(&self.client, &gvk).await.context("discovery")?));
        let (resource, capabilities) = wait::until(&what, SOON, look).await?;
        let found = (resource, capabilities.scope == Scope::Namespaced);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(gvk, found.clone());
        Ok(found)
    }
}
