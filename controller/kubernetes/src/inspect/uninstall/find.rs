//! Finds our objects in a cluster.

use super::stage::Stage;
use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::owner::{FEDERATED_SERVICE, OWNER, PEER};
use crate::settings::Namespaces;
use crate::sinks::outputs::written;
use kube::api::{DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeSet;
use std::fmt;

/// Where to look.
pub(super) struct Find<'a> {
    pub(super) client: &'a Client,
    pub(super) namespaces: &'a Namespaces,
}

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) stage: Stage,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

impl Find<'_> {
    /// All our objects, in the order of their deletion, and what could not be searched.
    pub(super) async fn all(&self) -> (Vec<Item>, Vec<String>) {
        let (mut items, mut problems) = (BTreeSet::new(), Vec::new());
        let written = written(self.namespaces);
        for kind in written.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>() {
            let namespaces = written
                .iter()
                .filter(|(written, _)| *written == kind)
                .map(|(_, namespace)| *namespace);
            match self.of_kind(kind, namespaces).await {
                Ok(found) => items.extend(found),
                Err(why) => problems.extend(why),
            }
        }
        // They are in the namespaces of FederatedServices, and only some installations have them.
        match self.of_kind(Kind::ServiceImport, std::iter::empty()).await {
            Ok(found) => items.extend(found),
            Err(why) => problems.extend(why),
        }
        (items.into_iter().collect(), problems)
    }

    /// The objects of a kind in the whole cluster. A user who may not list there gets those in the
    /// namespaces that a controller writes to.
    async fn of_kind(
        &self,
        kind: Kind,
        namespaces: impl Iterator<Item = &str>,
    ) -> Result<Vec<Item>, Vec<String>> {
        match self.list(kind, &kind.everywhere(self.client)).await {
            Ok(items) => return Ok(items),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(error) => {
                return Err(vec![format!(
                    "{}: cannot be listed: {}",
                    kind.qualified(),
                    describe(&error)
                )]);
            }
        }
        let (mut items, mut problems) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            match self.list(kind, &kind.within(self.client, namespace)).await {
                Ok(found) => items.extend(found),
                Err(error) => {
                    problems.push(format!(
                        "{} in {namespace}: cannot be listed: {}",
                        kind.qualified(),
                        describe(&error)
                    ));
                }
            }
        }
        if problems.is_empty() { Ok(items) } else { Err(problems) }
    }

    /// A kind that the API server does not serve has no objects. Every API server serves the core
    /// group, so what says otherwise is none.
    async fn list(&self, kind: Kind, api: &Api<DynamicObject>) -> kube::Result<Vec<Item>> {
        let ours = ListParams::default().labels(&format!("{OWNER}={}", self.namespaces.own()));
        let listed = match api.list_metadata(&ours).await {
            Err(kube::Error::Api(status)) if status.code == 404 && !kind.group().is_empty() => {
                return Ok(Vec::new());
            }
            listed => listed?,
        };
        let item = |object: PartialObjectMeta<DynamicObject>| {
            let name = object.name_any();
            let is_import = [PEER, FEDERATED_SERVICE]
                .iter()
                .any(|annotation| object.annotations().contains_key(*annotation));
            let stage = Stage::of(kind, &name, is_import);
            Item {
                stage,
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name,
                uid: object.uid().unwrap_or_default(),
            }
        };
        Ok(listed.items.into_iter().map(item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;

    #[tokio::test]
    async fn what_does_not_serve_core_objects_is_no_api_server() {
        let answer = |_: Request<Body>| async {
            let body = Body::from(b"404 page not found".to_vec());
            Ok::<_, Infallible>(Response::builder().status(404).body(body).unwrap())
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let namespaces = Namespaces::all_in("fedgate-system");
        let (items, problems) = Find { client: &client, namespaces: &namespaces }.all().await;
        assert!(items.is_empty() && !problems.is_empty(), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("configmaps: ")), "{problems:?}");
    }
}
