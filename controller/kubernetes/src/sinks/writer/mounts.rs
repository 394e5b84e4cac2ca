//! Gets a changed ConfigMap into the gateway's Pods at once.
//!
//! A kubelet checks a Pod's mounts about once a minute, and whenever the Pod changes. So an
//! annotation on the Pods has the hash of the ConfigMaps, and is updated with it.

use super::{Pass, RETRY, Writer};
use crate::api::client::describe;
use crate::api::fingerprint::fingerprint;
use crate::api::kind::Kind;
use crate::api::owner::FIELD_MANAGER;
use crate::api::watch::Key;
use crate::metrics::Verb;
use crate::module::MODULES;
use crate::sinks::gateway::TRUST_BUNDLE;
use crate::sources::pod::BUNDLE;
use futures_util::stream::{self, StreamExt};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

/// How many Pods are updated at once.
const AT_ONCE: usize = 8;

impl Writer {
    /// Updates the Pods whose annotation does not match the ConfigMaps.
    pub(super) async fn bring_mounts_up_to_date(&self, pass: &mut Pass) {
        let hash = self.mounted();
        let mut pods = self.pods.all();
        pods.retain(|_, pod| pod.runs() && pod.mounts.as_ref() != Some(&hash));
        let annotated = stream::iter(pods.into_keys()).map(|key| self.annotate(key, &hash));
        let failed = annotated
            .buffer_unordered(AT_ONCE)
            .filter(|failed| std::future::ready(*failed))
            .count()
            .await;
        if failed > 0 {
            // The Pods get the change anyway, within a minute or two.
            pass.again_at(Instant::now() + RETRY * 15);
        }
    }

    /// The hash of the ConfigMaps' content.
    fn mounted(&self) -> String {
        let namespace = self.settings.namespaces.gateway();
        let output = self.outputs.of(Kind::ConfigMap, namespace);
        let of = |name: &str| {
            let found = output
                .as_ref()?
                .watched
                .get(&Key { namespace: namespace.to_owned(), name: name.to_owned() })?;
            Some(found.fingerprint.to_string())
        };
        fingerprint(&json!([of(TRUST_BUNDLE), of(MODULES)])).to_string()
    }

    /// Updates one Pod; returns true if that failed.
    async fn annotate(&self, key: Key, hash: &str) -> bool {
        if !self.leadership.leads() {
            return false;
        }
        let api = Kind::Pod.within(&self.client, &key.namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { BUNDLE: hash } } }));
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.metrics.write(Kind::Pod, Verb::Apply);
        let sent = self.pods.sending();
        match api.patch(&key.name, &parameters, &patch).await {
            Ok(object) => self.pods.wrote(sent, object, |pod| pod.mounts.as_deref() == Some(hash)),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                self.metrics.failed_write(Kind::Pod);
                tracing::warn!(
                    pod = key.name,
                    "cannot annotate this Pod, so it gets changed ConfigMaps a minute later: {}",
                    describe(&error)
                );
                return true;
            }
        }
        false
    }
}
