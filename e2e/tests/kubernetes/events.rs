//! Reads Events as `kubectl describe` does.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{Key, KubernetesCluster};
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;

/// The Events about one object.
pub(crate) struct Events<'a> {
    cluster: &'a KubernetesCluster,
    uid: String,
}

impl<'a> Events<'a> {
    pub(crate) async fn of(cluster: &'a KubernetesCluster, key: Key<'_>) -> Result<Self> {
        let object = cluster.objects().wait_present(key).await?;
        let uid = object["metadata"]["uid"].as_str().context("a uid")?.to_owned();
        Ok(Self { cluster, uid })
    }

    /// All Events about the object.
    pub(crate) async fn list(&self) -> Result<Vec<Value>> {
        let selector = format!("involvedObject.uid={}", self.uid);
        let arguments =
            ["get", "events", "--all-namespaces", "--output=json", "--field-selector", &selector];
        let output = self.cluster.kubectl(&arguments).await?;
        ensure!(output.status.success(), "{output:?}");
        let list: Value = serde_json::from_slice(&output.stdout)?;
        Ok(list["items"].as_array().context("a list")?.clone())
    }

    /// Waits for an Event of this type and reason whose message contains these words.
    pub(crate) async fn wait_event(&self, kind: &str, reason: &str, words: &str) -> Result<()> {
        wait::until(&format!("a {kind} Event {reason} with {words:?}"), SOON, async || {
            let events = self.list().await?;
            let matches = |event: &&Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["type"] == kind && event["reason"] == reason && message.contains(words)
            };
            ensure!(events.iter().any(|event| matches(&event)), "the Events are {events:#?}");
            Ok(Some(()))
        })
        .await
    }

    /// How often an Event whose message contains these words was reported.
    pub(crate) async fn times(&self, words: &str) -> Result<u64> {
        let events = self.list().await?;
        let matching = events.iter().filter(|event| {
            event["message"].as_str().is_some_and(|message| message.contains(words))
        });
        Ok(matching.map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum())
    }
}
