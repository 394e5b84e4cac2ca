//! An API server with the definitions and admission policies of `deploy/kubernetes`, and attempts
//! to create objects on it.

use anyhow::{Context, Result, bail, ensure};
use axum::http::{Method, Request};
use fedgate_e2e::kubernetes::{ControlPlane, Objects, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

/// How long a policy must be in force without interruption.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(700);

/// The path where objects of a kind are created.
pub(super) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(super) const FEDERATIONS: &str = "/apis/deckhouse.io/v1alpha1/istiofederations";
pub(super) const FEDERATED_SERVICES: &str =
    "/apis/fedgate.dev/v1alpha1/namespaces/default/federatedservices";
pub(super) const POLICIES: &str = "/apis/fedgate.dev/v1alpha1/federationpolicies";

pub(super) const EXPORTED: &str = "federation.istio.deckhouse.io/public-service";

/// What an API server does with unknown fields.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unknown {
    /// kubectl's default.
    Refuse,
    /// The default for API clients.
    Warn,
}

/// An API server without a controller.
pub(super) struct Server {
    pub(super) objects: Objects,
    // Stops when dropped.
    _plane: ControlPlane,
}

impl Server {
    /// Starts one with the definitions.
    pub(super) async fn with_definitions(run: &RunFolder) -> Result<Self> {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        for plural in ["federatedservices", "federationpolicies", "istiofederations"] {
            objects.apply_file(&manifest(&format!("crds/{plural}.yaml"))).await?;
        }
        Ok(Self { objects, _plane: plane })
    }

    /// Starts one with the definitions and the admission policies, and waits until these are in
    /// force.
    pub(super) async fn with_admission(run: &RunFolder) -> Result<Self> {
        let server = Self::with_definitions(run).await?;
        server.admit().await?;
        Ok(server)
    }

    /// Applies the admission policies and waits until each is in force, with an object that only
    /// that policy refuses.
    pub(super) async fn admit(&self) -> Result<()> {
        self.objects.apply_file(&manifest("admission.yaml")).await?;
        for (place, object, policy) in [
            (
                SERVICES,
                service(&json!({ EXPORTED: "" }), &json!({ "ports": [{ "port": 80 }] })),
                "exports.fedgate.dev",
            ),
            (
                FEDERATIONS,
                federation(
                    &json!({ "trustDomain": "cluster.local", "metadataEndpoint": "https://b" }),
                ),
                "peers.fedgate.dev",
            ),
            (POLICIES, policy(&json!({ "typo": 1 })), "policies.fedgate.dev"),
            (
                FEDERATED_SERVICES,
                federated_service(&json!({ "typo": 1 })),
                "federatedservices.fedgate.dev",
            ),
        ] {
            let refused = async || {
                Ok(self
                    .attempt(place, &object, Unknown::Warn)
                    .await
                    .is_err_and(|message| message.contains(policy)))
            };
            // The API server activates policies one by one, and each time reloads all of them.
            let settled = async || Ok(wait::stays("it is refused", SETTLED, refused).await.is_ok());
            wait::until_true(&format!("{policy} to be in force"), SOON, settled).await?;
        }
        Ok(())
    }

    /// Tries to create an object in a dry run. Returns the result, or the API server's message if
    /// it refuses.
    pub(super) async fn attempt(
        &self,
        place: &str,
        object: &Value,
        unknown: Unknown,
    ) -> Result<Value, String> {
        self.send(Method::POST, &format!("{place}?dryRun=All&fieldValidation={unknown}"), object)
            .await
    }

    /// Creates an object.
    pub(super) async fn create(&self, place: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, place, object)
            .await
            .map_err(anyhow::Error::msg)
            .context("creating it")
    }

    async fn send(&self, method: Method, uri: &str, body: &Value) -> Result<Value, String> {
        let request =
            Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let request =
            request.body(body.to_string().into_bytes()).map_err(|error| error.to_string())?;
        match self.objects.client().request(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => Err(format!("no answer of the API server: {error}")),
        }
    }

    /// Checks that each object is accepted.
    pub(super) async fn takes(
        &self,
        place: &str,
        objects: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        for object in objects {
            if let Err(message) = self.attempt(place, &object, Unknown::Refuse).await {
                bail!("expected to be taken: {object}\nfound: {message}");
            }
        }
        Ok(())
    }

    /// Checks that each object is refused with a message that contains these words.
    pub(super) async fn refuses(
        &self,
        place: &str,
        objects: impl IntoIterator<Item = (Value, &str)>,
    ) -> Result<()> {
        for (object, words) in objects {
            match self.attempt(place, &object, Unknown::Warn).await {
                Ok(_) => bail!("expected to be refused with {words:?}: {object}"),
                Err(message) => ensure!(
                    message.contains(words),
                    "{object}\nexpected: {words}\nfound: {message}"
                ),
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refuse => "Strict",
            Self::Warn => "Warn",
        })
    }
}

fn manifest(file: &str) -> std::path::PathBuf {
    xtask::root().join("deploy/kubernetes").join(file)
}

pub(super) fn service(labels: &Value, spec: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "labels": labels }, "spec": spec })
}

pub(super) fn federation(spec: &Value) -> Value {
    json!({ "apiVersion": "deckhouse.io/v1alpha1", "kind": "IstioFederation", "metadata": { "name": "beta" }, "spec": spec })
}

/// One with this cluster's `web` as its member, but for these fields of the spec.
pub(super) fn federated_service(changed: &Value) -> Value {
    let mut spec =
        json!({ "ports": [{ "name": "http", "port": 80 }], "members": [{ "local": {} }] });
    for (field, value) in changed.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({ "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService", "metadata": { "name": "web" }, "spec": spec })
}

pub(super) fn policy(spec: &Value) -> Value {
    json!({ "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": { "name": "shop" }, "spec": spec })
}
