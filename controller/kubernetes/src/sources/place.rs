//! Where each source has its objects: the controller watches there, and the command line lists there.

use super::{memory, passthrough, service};
use crate::api::kind::Kind;
use crate::api::owner::OWNER;
use crate::identity::SECRET;
use crate::settings::Selector;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client};

/// Objects of one kind, all of them or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// What the objects are called in logs, messages and `/readyz`.
    pub name: &'static str,
    /// Their kind.
    pub kind: Kind,
    /// Their namespace; `None`: the whole cluster.
    pub namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
}

impl Place {
    const fn everywhere(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, namespace: None, labels: None, fields: None }
    }

    fn within(name: &'static str, kind: Kind, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::everywhere(name, kind) }
    }

    fn labelled(self, labels: &str) -> Self {
        Self { labels: Some(labels.to_owned()), ..self }
    }

    fn named(self, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..self }
    }

    /// How they are reached.
    pub(crate) fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => self.kind.within(client, namespace),
            None => self.kind.everywhere(client),
        }
    }

    /// How they are watched.
    pub(crate) fn watched(&self) -> Config {
        Config { label_selector: self.labels.clone(), field_selector: self.fields.clone(), ..Config::default() }
    }

    /// How they are listed.
    pub(crate) fn listed(&self) -> ListParams {
        ListParams { label_selector: self.labels.clone(), field_selector: self.fields.clone(), ..ListParams::default() }
    }
}

/// The peers.
pub(crate) fn federations() -> Place {
    Place::everywhere("IstioFederations", Kind::IstioFederation)
}

/// What the administrator allows.
pub(crate) fn policies() -> Place {
    Place::everywhere("FederationPolicies", Kind::FederationPolicy)
}

/// The Services that their owners export.
pub(crate) fn services() -> Place {
    Place::everywhere("exported Services", Kind::Service).labelled(service::SELECTOR)
}

/// The gateway's Service.
pub(crate) fn gateway_service(namespace: &str, name: &str) -> Place {
    Place::within("the gateway's Service", Kind::Service, namespace).named(name)
}

/// The gateway's Pods.
pub(crate) fn gateway_pods(namespace: &str, selector: &Selector) -> Place {
    Place::within("the gateway's Pods", Kind::Pod, namespace).labelled(&selector.to_string())
}

/// The nodes that Pods run on.
pub(crate) fn nodes() -> Place {
    Place::everywhere("Nodes", Kind::Node)
}

/// Where Services' addresses come from.
pub(crate) fn service_cidrs() -> Place {
    Place::everywhere("ServiceCIDRs", Kind::ServiceCidr)
}

/// This cluster's roots.
pub(crate) fn roots(namespace: &str, name: &str) -> Place {
    Place::within("this cluster's roots", Kind::ConfigMap, namespace).named(name)
}

/// What peers know this cluster by.
pub(crate) fn identity(namespace: &str) -> Place {
    Place::within("this cluster's identity", Kind::Secret, namespace).named(SECRET)
}

/// What tells workloads that TLS is passed through to, to believe the peers' roots.
pub(crate) fn passthrough(namespace: &str) -> Place {
    let labels = format!("{OWNER}={namespace},{}", passthrough::LABEL);
    Place::everywhere("EnvoyFilters for passthrough", Kind::EnvoyFilter).labelled(&labels)
}

/// Others' ServiceEntries.
pub(crate) fn entries(owner: &str) -> Place {
    Place::everywhere("others' ServiceEntries", Kind::ServiceEntry).labelled(&format!("{OWNER}!={owner}"))
}

/// What fedgate keeps in its namespace.
pub(crate) fn memory(namespace: &str) -> Place {
    Place::within("fedgate's memory", Kind::ConfigMap, namespace).labelled(memory::LABEL)
}
