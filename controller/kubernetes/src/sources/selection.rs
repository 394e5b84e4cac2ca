//! Where the objects of each source are: the controller watches them there, and the command line
//! lists them.

use super::{federated, memory, passthrough, service, slices};
use crate::api::kind::Kind;
use crate::api::owner::OWNER;
use crate::identity::SECRET;
use crate::settings::Selector;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client};

/// All objects of one kind, or a selection of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Their name in logs, messages and `/readyz`.
    pub name: &'static str,
    /// Their kind.
    pub kind: Kind,
    /// Their namespace; `None` for the whole cluster.
    pub namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
}

impl Selection {
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

    /// The API to reach them.
    pub(crate) fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => self.kind.within(client, namespace),
            None => self.kind.everywhere(client),
        }
    }

    /// The selection for a watch.
    pub(crate) fn watched(&self) -> Config {
        Config {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..Config::default()
        }
    }

    /// The selection for a list.
    pub(crate) fn listed(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        }
    }
}

/// The peers.
pub(crate) fn federations() -> Selection {
    Selection::everywhere("IstioFederations", Kind::IstioFederation)
}

/// The administrator's policies.
pub(crate) fn policies() -> Selection {
    Selection::everywhere("FederationPolicies", Kind::FederationPolicy)
}

/// The Services among which the exported ones are: those with the export label. A `ServiceExport`
/// can name any Service.
pub(crate) fn services(mcs_exports: bool) -> Selection {
    match mcs_exports {
        true => Selection::everywhere("Services", Kind::Service),
        false => {
            Selection::everywhere("exported Services", Kind::Service).labelled(service::SELECTOR)
        }
    }
}

/// The EndpointSlices of the headless ones among these Services.
pub(crate) fn slices(mcs_exports: bool) -> Selection {
    let name = match mcs_exports {
        true => "EndpointSlices of headless Services",
        false => "EndpointSlices of exported Services",
    };
    Selection::everywhere(name, Kind::EndpointSlice).labelled(&slices::selector(mcs_exports))
}

/// The Services that their owners export by the Multi-Cluster Services API.
pub(crate) fn service_exports() -> Selection {
    Selection::everywhere("ServiceExports", Kind::ServiceExport)
}

/// A federated name.
pub(crate) fn federated_services() -> Selection {
    Selection::everywhere("FederatedServices", Kind::FederatedService)
}

/// The Services without the export label, which may be local members.
pub(crate) fn local_services() -> Selection {
    Selection::everywhere("Services without the export label", Kind::Service)
        .labelled(federated::NOT_EXPORTED)
}

/// Our ServiceImports.
pub(crate) fn service_imports(owner: &str) -> Selection {
    Selection::everywhere("ServiceImports", Kind::ServiceImport)
        .labelled(&format!("{OWNER}={owner}"))
}

/// The gateway's Service.
pub(crate) fn gateway_service(namespace: &str, name: &str) -> Selection {
    Selection::within("the gateway's Service", Kind::Service, namespace).named(name)
}

/// The gateway's Pods.
pub(crate) fn gateway_pods(namespace: &str, selector: &Selector) -> Selection {
    Selection::within("the gateway's Pods", Kind::Pod, namespace).labelled(&selector.to_string())
}

/// The nodes that Pods run on.
pub(crate) fn nodes() -> Selection {
    Selection::everywhere("Nodes", Kind::Node)
}

/// The address ranges of Services.
pub(crate) fn service_cidrs() -> Selection {
    Selection::everywhere("ServiceCIDRs", Kind::ServiceCidr)
}

/// This cluster's roots.
pub(crate) fn roots(namespace: &str, name: &str) -> Selection {
    Selection::within("this cluster's roots", Kind::ConfigMap, namespace).named(name)
}

/// This cluster's identity.
pub(crate) fn identity(namespace: &str) -> Selection {
    Selection::within("this cluster's identity", Kind::Secret, namespace).named(SECRET)
}

/// The EnvoyFilters for workloads of Services with TLS passthrough.
pub(crate) fn passthrough(namespace: &str) -> Selection {
    let labels = format!("{OWNER}={namespace},{}", passthrough::LABEL);
    Selection::everywhere("EnvoyFilters for passthrough", Kind::EnvoyFilter).labelled(&labels)
}

/// Our ServiceEntries for imports.
pub(crate) fn imports(namespace: &str, owner: &str) -> Selection {
    Selection::within("the imports' ServiceEntries", Kind::ServiceEntry, namespace)
        .labelled(&format!("{OWNER}={owner}"))
}

/// Others' ServiceEntries.
pub(crate) fn entries(owner: &str) -> Selection {
    Selection::everywhere("others' ServiceEntries", Kind::ServiceEntry)
        .labelled(&format!("{OWNER}!={owner}"))
}

/// What fedgate stores in its namespace.
pub(crate) fn memory(namespace: &str) -> Selection {
    Selection::within("fedgate's memory", Kind::ConfigMap, namespace).labelled(memory::LABEL)
}
