//! Objects of any kind, read and changed as kubectl does.

use super::kinds::Kinds;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, bail};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::Value;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// The field manager of objects that a test applies.
pub const MANAGER: &str = "operator";

/// Identifies an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Key<'a> {
    /// An object in a namespace.
    pub const fn namespaced(
        api_version: &'a str,
        kind: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Self { api_version, kind, namespace: Some(namespace), name }
    }

    /// A cluster-scoped object.
    pub const fn cluster_scoped(api_version: &'a str, kind: &'a str, name: &'a str) -> Self {
        Self { api_version, kind, namespace: None, name }
    }

    /// The object that a manifest describes.
    ///
    /// # Errors
    /// When it has no `apiVersion`, `kind` or `metadata.name`.
    pub fn of(manifest: &'a Value) -> Result<Self> {
        let text = |field: &str| manifest.pointer(field).and_then(Value::as_str);
        let required =
            |field| text(field).with_context(|| format!("the manifest has no {field}: {manifest}"));
        Ok(Self {
            api_version: required("/apiVersion")?,
            kind: required("/kind")?,
            namespace: text("/metadata/namespace"),
            name: required("/metadata/name")?,
        })
    }
}

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, .. } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name}"),
            None => write!(f, "{kind} {name}"),
        }
    }
}

/// The objects of one API server as one user sees them. Objects are JSON:
/// `object["spec"]["hosts"]`.
#[derive(Clone)]
pub struct Objects {
    client: kube::Client,
    kinds: Kinds,
}

impl Objects {
    /// The objects that this client may access.
    pub fn new(client: kube::Client) -> Self {
        Self { kinds: Kinds::new(client.clone()), client }
    }

    /// The client, for typed access.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Applies YAML with any number of documents, server-side. Waits until its definitions are in
    /// force.
    ///
    /// # Errors
    /// When it is not valid YAML, or the API server refuses an object; the message names the
    /// object.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let manifests: Vec<Value> =
            serde_saphyr::from_multiple(yaml).context("the manifest is no YAML")?;
        for manifest in &manifests {
            self.apply_one(manifest).await?;
        }
        for manifest in
            manifests.iter().filter(|manifest| manifest["kind"] == "CustomResourceDefinition")
        {
            let established = |object: &Value| condition(object, "Established") == Some("True");
            self.wait_for(Key::of(manifest)?, "to be established", established).await?;
        }
        Ok(())
    }

    /// Applies a file.
    ///
    /// # Errors
    /// Same as [`Objects::apply`], and when the file cannot be read.
    pub async fn apply_file(&self, file: &Path) -> Result<()> {
        let yaml = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        self.apply(&yaml).await.with_context(|| format!("applying {}", file.display()))
    }

    /// Applies one object, server-side. Returns the resulting object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply_one(&self, manifest: &Value) -> Result<Value> {
        let key = Key::of(manifest)?;
        let apply = PatchParams::apply(MANAGER).force();
        let object = self.api(key).await?.patch(key.name, &apply, &Patch::Apply(manifest)).await;
        json(object.with_context(|| format!("applying {key}"))?)
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn get(&self, key: Key<'_>) -> Result<Option<Value>> {
        let object = self
            .api(key)
            .await?
            .get_opt(key.name)
            .await
            .with_context(|| format!("reading {key}"))?;
        object.map(json).transpose()
    }

    /// All objects of a kind with these labels (`key=value,…`; empty for all), in one namespace or
    /// in all.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn list(
        &self,
        (api_version, kind): (&str, &str),
        place: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>> {
        let (resource, _) = self.kinds.find(api_version, kind).await?;
        let api: Api<DynamicObject> = match place {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        let objects = api.list(&ListParams::default().labels(labels)).await;
        objects.with_context(|| format!("listing {kind}"))?.items.into_iter().map(json).collect()
    }

    /// Changes an object with a JSON merge patch.
    ///
    /// # Errors
    /// When it does not exist, or the API server refuses.
    pub async fn patch(&self, key: Key<'_>, patch: &Value) -> Result<Value> {
        let by = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let object = self.api(key).await?.patch(key.name, &by, &Patch::Merge(patch)).await;
        json(object.with_context(|| format!("patching {key}"))?)
    }

    /// Changes an object's status with a JSON merge patch of this `status`.
    ///
    /// # Errors
    /// When it does not exist, or the API server refuses.
    pub async fn patch_status(&self, key: Key<'_>, status: &Value) -> Result<()> {
        let by = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::Merge(serde_json::json!({ "status": status }));
        let patched = self.api(key).await?.patch_status(key.name, &by, &patch).await;
        patched.map(drop).with_context(|| format!("patching the status of {key}"))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When it does not exist, or the API server refuses.
    pub async fn delete(&self, key: Key<'_>) -> Result<()> {
        let deleted = self.api(key).await?.delete(key.name, &DeleteParams::default()).await;
        deleted.map(drop).with_context(|| format!("deleting {key}"))
    }

    /// Deletes an object without a grace period, as a kubelet does with a terminated Pod.
    ///
    /// # Errors
    /// When it does not exist, or the API server refuses.
    pub async fn delete_now(&self, key: Key<'_>) -> Result<()> {
        let deleted =
            self.api(key).await?.delete(key.name, &DeleteParams::default().grace_period(0)).await;
        deleted.map(drop).with_context(|| format!("deleting {key}"))
    }

    /// Waits until an object exists for which `matches` returns true, and returns it. `what`
    /// completes the sentence 'waited for the object …'.
    ///
    /// # Errors
    /// When there is no such object in time; the message has the object as it is.
    pub async fn wait_for(
        &self,
        key: Key<'_>,
        what: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(&format!("{key} {what}"), SOON, async || match self.get(key).await? {
            Some(object) if matches(&object) => Ok(Some(object)),
            Some(object) => bail!("the object is {object:#}"),
            None => bail!("there is no such object"),
        })
        .await
    }

    /// Waits until an object exists.
    ///
    /// # Errors
    /// When it does not appear.
    pub async fn wait_present(&self, key: Key<'_>) -> Result<Value> {
        self.wait_for(key, "to be there", |_| true).await
    }

    /// Waits until an object no longer exists.
    ///
    /// # Errors
    /// When it stays.
    pub async fn wait_absent(&self, key: Key<'_>) -> Result<()> {
        wait::until_true(&format!("{key} to go"), SOON, async || Ok(self.get(key).await?.is_none()))
            .await
    }

    async fn api(&self, key: Key<'_>) -> Result<Api<DynamicObject>> {
        let (resource, namespaced) = self.kinds.find(key.api_version, key.kind).await?;
        Ok(match namespaced {
            true => {
                Api::namespaced_with(self.client(), key.namespace.unwrap_or("default"), &resource)
            }
            false => Api::all_with(self.client(), &resource),
        })
    }
}

/// The status of an object's condition: `True`, `False` or `Unknown`; `None` if it has no such
/// condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    Some(condition_with_reason(object, kind)?.0)
}

/// The status and reason of an object's condition; `None` if it has no such condition.
pub fn condition_with_reason<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((condition["status"].as_str()?, condition["reason"].as_str()?))
}

fn json(object: DynamicObject) -> Result<Value> {
    Ok(serde_json::to_value(object)?)
}
