//! The kinds of objects that are read and written, with their names in the API.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A peer (`deckhouse.io`).
    IstioFederation,
    /// A policy of the administrator (`fedgate.dev`).
    FederationPolicy,
    /// A federated name (`fedgate.dev`).
    FederatedService,
    /// A Service.
    Service,
    /// A Pod.
    Pod,
    /// Some of the endpoints of a Service.
    EndpointSlice,
    /// A Node.
    Node,
    /// A range of Services' addresses (Kubernetes 1.33 and later).
    ServiceCidr,
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// The name of an import in the mesh.
    ServiceEntry,
    /// How to call an import.
    DestinationRule,
    /// A patch of the configuration that istiod sends to Envoy.
    EnvoyFilter,
    /// A filter, by Istio's own resource.
    WasmPlugin,
    /// A port of a gateway.
    Gateway,
    /// A route.
    VirtualService,
    /// A Service that its owner exports, by the Multi-Cluster Services API.
    ServiceExport,
    /// A name of the Multi-Cluster Services API.
    ServiceImport,
}

impl Kind {
    /// The API group; empty for the core group.
    pub(crate) const fn group(self) -> &'static str {
        match self {
            Self::IstioFederation => "deckhouse.io",
            Self::FederationPolicy | Self::FederatedService => "fedgate.dev",
            Self::Service | Self::Pod | Self::Node | Self::ConfigMap | Self::Secret => "",
            Self::ServiceCidr => "networking.k8s.io",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::ServiceEntry | Self::DestinationRule => "networking.istio.io",
            Self::EnvoyFilter | Self::Gateway | Self::VirtualService => "networking.istio.io",
            Self::WasmPlugin => "extensions.istio.io",
            Self::ServiceExport | Self::ServiceImport => "multicluster.x-k8s.io",
        }
    }

    /// The version.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::IstioFederation | Self::FederationPolicy => "v1alpha1",
            Self::FederatedService | Self::WasmPlugin => "v1alpha1",
            // Newer definitions also serve v1beta1, older ones only this.
            Self::ServiceExport | Self::ServiceImport => "v1alpha1",
            Self::Service
            | Self::Pod
            | Self::EndpointSlice
            | Self::Node
            | Self::ConfigMap
            | Self::Secret
            | Self::ServiceCidr => "v1",
            Self::ServiceEntry | Self::DestinationRule | Self::Gateway | Self::VirtualService => {
                "v1"
            }
            Self::EnvoyFilter => "v1alpha3",
        }
    }

    /// The kind's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::IstioFederation => "IstioFederation",
            Self::FederationPolicy => "FederationPolicy",
            Self::FederatedService => "FederatedService",
            Self::Service => "Service",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ServiceEntry => "ServiceEntry",
            Self::DestinationRule => "DestinationRule",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::WasmPlugin => "WasmPlugin",
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::ServiceExport => "ServiceExport",
            Self::ServiceImport => "ServiceImport",
        }
    }

    /// The plural, as in paths and RBAC rules.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::IstioFederation => "istiofederations",
            Self::FederationPolicy => "federationpolicies",
            Self::FederatedService => "federatedservices",
            Self::Service => "services",
            Self::Pod => "pods",
            Self::EndpointSlice => "endpointslices",
            Self::Node => "nodes",
            Self::ServiceCidr => "servicecidrs",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::ServiceEntry => "serviceentries",
            Self::DestinationRule => "destinationrules",
            Self::EnvoyFilter => "envoyfilters",
            Self::WasmPlugin => "wasmplugins",
            Self::Gateway => "gateways",
            Self::VirtualService => "virtualservices",
            Self::ServiceExport => "serviceexports",
            Self::ServiceImport => "serviceimports",
        }
    }

    /// Plural and group, as in `kubectl`: `istiofederations.deckhouse.io`.
    pub(crate) fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// `apiVersion`, as in objects.
    pub(crate) fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The description of the kind for the client.
    pub(crate) fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group(), self.version(), self.name());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }

    /// The objects of a namespace.
    pub(crate) fn within(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource())
    }

    /// The objects of the whole cluster.
    pub(crate) fn everywhere(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }
}
