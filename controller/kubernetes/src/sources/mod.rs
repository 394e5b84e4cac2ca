//! The sources: everything that is watched, and how it becomes the compiler's inputs.
//!
//! | module | what it reads |
//! | --- | --- |
//! | `federation` | `IstioFederation`s |
//! | `policy` | `FederationPolicy`s |
//! | `service` | Services that may be exported |
//! | `mcs` | `ServiceExport`s, which export Services as the label does; the status of `ServiceImport`s |
//! | `slices` | the Pods of exported headless Services |
//! | `federated` | `FederatedService`s, and the Services of this cluster that they name |
//! | `entries` | others' ServiceEntries |
//! | `gateway` | where peers reach the gateway: its Service, its Pods, their Nodes |
//! | `balancer` | what the gateway's Service tells its load balancer |
//! | `own` | the addresses that this cluster itself listens on |
//! | `pod` | the gateway's Pods, one by one |
//! | `network` | Pod and Service CIDRs |
//! | `roots` | this cluster's root certificates |
//! | `passthrough` | the Services with TLS passthrough |
//! | `memory` | what a replica stored for the others, and for the next start |
//! | `json` | fields of untyped objects |
//! | `selection`, `watching` | where the objects of each source are, and the watches of all sources |
//!
//! [`Observed`] is all of it at one moment. The controller gets it from watches, the command line
//! from one list of each kind. Both derive the same from it.

pub(super) mod balancer;
pub(super) mod entries;
pub(super) mod federated;
pub(super) mod federation;
pub(super) mod gateway;
mod json;
pub(super) mod mcs;
pub(super) mod memory;
pub(super) mod network;
pub(super) mod own;
pub(super) mod passthrough;
pub(super) mod pod;
pub(super) mod policy;
pub(super) mod roots;
pub(super) mod selection;
pub(super) mod service;
pub(super) mod slices;
mod watching;

pub(super) use watching::{Sources, Wakes, missing, source};

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::identity::ClusterIdentity;
use crate::presented::{self, Presented};
use crate::settings::ControllerSettings;
use crate::sources::memory::ClusterRecord;
use fedgate_core::PeerName;
use fedgate_federation::federate::{Published, Reach};
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::Objects;
use fedgate_federation::{Finding, LocalCluster};
use std::collections::BTreeMap;

/// The state of all sources at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(super) federations: BTreeMap<Key, federation::FederationObject>,
    pub(super) policies: BTreeMap<Key, policy::Policy>,
    /// The exported Services: those with the label, and those that a `ServiceExport` names.
    pub(super) services: BTreeMap<Key, service::Read>,
    pub(super) service_exports: BTreeMap<Key, mcs::McsObject>,
    pub(super) slices: BTreeMap<Key, slices::Slice>,
    /// Whether the API server refuses to list `slices`.
    pub(super) slices_refused: bool,
    pub(super) federated_services: BTreeMap<Key, federated::FederatedObject>,
    /// The Services that are local members and not exported.
    pub(super) local_services: BTreeMap<Key, federated::Local>,
    pub(super) gateway_services: BTreeMap<Key, gateway::GatewayService>,
    pub(super) pods: BTreeMap<Key, pod::GatewayPod>,
    pub(super) nodes: BTreeMap<Key, gateway::Node>,
    pub(super) service_cidrs: BTreeMap<Key, network::ServiceCidr>,
    pub(super) roots: BTreeMap<Key, roots::Roots>,
    pub(super) passthrough: passthrough::Prepared,
    pub(super) memory: BTreeMap<Key, memory::Memory>,
    pub(super) entries: BTreeMap<Key, entries::Hosts>,
    /// `None`: no Pod has been asked yet, and what the last leader wrote down holds.
    pub(super) presented: Option<Presented>,
}

impl Observed {
    /// The operators' objects, and what is wrong with them.
    pub(super) fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        for federation in self.federations.values() {
            objects.findings.extend(federation.unknown.iter().cloned());
            match &federation.spec {
                Ok(named) => objects.federations.push(named.clone()),
                Err(finding) => objects.findings.push(finding.as_ref().clone()),
            }
        }
        for policy in self.policies.values() {
            objects.policies.push(policy.policy.clone());
            objects.findings.extend(policy.finding.clone());
        }
        let pods = self.pods_by_name();
        for service in self.services.values() {
            match &service.service {
                Ok(service) => {
                    let mut service = service.clone();
                    pods.name_in(&mut service);
                    objects.services.push(service);
                }
                Err(finding) => objects.findings.push(finding.as_ref().clone()),
            }
        }
        objects.services.extend(self.local_services.values().flatten().cloned());
        for federated in self.federated_services.values() {
            match &federated.object {
                Ok(object) => objects.federated_services.push(object.clone()),
                Err(finding) => objects.findings.push(finding.as_ref().clone()),
            }
        }
        objects
    }

    /// The Pods of exported headless Services.
    pub(super) fn pods_by_name(&self) -> slices::Pods {
        slices::pods(&self.slices, self.slices_refused)
    }

    /// The `metadata.uid` of each object that an operator wrote, for Events.
    pub(super) fn uids(&self) -> BTreeMap<(Kind, Key), String> {
        let federations =
            self.federations.iter().map(|(key, object)| (Kind::IstioFederation, key, &object.uid));
        let policies =
            self.policies.iter().map(|(key, object)| (Kind::FederationPolicy, key, &object.uid));
        let services = self.services.iter().map(|(key, object)| (Kind::Service, key, &object.uid));
        let federated = self
            .federated_services
            .iter()
            .map(|(key, object)| (Kind::FederatedService, key, &object.uid));
        let all = federations.chain(policies).chain(services).chain(federated);
        all.map(|(kind, key, uid)| ((kind, key.clone()), uid.clone())).collect()
    }

    /// This cluster, and what is wrong with it.
    pub(super) fn cluster(
        &self,
        settings: &ControllerSettings,
        identity: &ClusterIdentity,
    ) -> (LocalCluster, Vec<Finding>) {
        let mut findings = Vec::new();
        let config_map = (settings.namespaces.own(), settings.metadata.roots_configmap.as_str());
        let roots = roots::roots(&self.roots, config_map, &mut findings);
        let (gateways, localities) =
            Reach::split(&gateway::addresses(settings, self, &mut findings));
        let network = network::network(settings.network(), &self.nodes, &self.service_cidrs);
        let pods = presented::chains(self.presented.as_ref(), settings.namespaces.gateway());
        let mut credentials = roots::credentials(&roots, config_map, &pods, &settings.trust_domain);
        if self.presented.is_none() {
            credentials
                .add(memory::record(&self.memory).map(ClusterRecord::of_pods).unwrap_or_default());
        }
        let keys = identity.keys.public();
        let cluster = LocalCluster {
            trust_domain: settings.trust_domain.clone(),
            cluster_uuid: identity.cluster_uuid.clone(),
            authn_key: keys.current,
            other_key: keys.other,
            roots,
            credentials,
            own_addresses: own::addresses(settings, self, &network),
            federated_suffix: settings.federated.suffix.clone(),
            network,
            gateways,
            reach: Reach { localities, for_peers: settings.gateway.for_peers() },
            gateway_identities: settings.gateway_identity().into_iter().collect(),
            health_name: settings.gateway.health_name,
            passthrough: passthrough::passthrough(&self.passthrough),
        };
        (cluster, findings)
    }

    /// What is known of the peers, as the leader stored it.
    pub(super) fn knowledge(&self) -> BTreeMap<PeerName, PeerKnowledge> {
        memory::knowledge(&self.memory)
    }

    /// The versions of what was published, as the leader stored them.
    pub(super) fn published(&self) -> Option<Published> {
        memory::published(&self.memory)
    }
}
