//! The watches of all sources.

use super::selection::{self, Selection};
use super::{
    Observed, entries, federated, federation, gateway, mcs, memory, network, passthrough, pod,
    policy, roots, service, slices,
};
use crate::api::watch::{Key, Rollbacks, Watch, Watched};
use crate::identity::stored::{self, Stored};
use crate::settings::ControllerSettings;
use fedgate_process::tasks::Tasks;
use kube::Client;
use kube::api::DynamicObject;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// What the watches notify.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    /// Notified when an input of the compiler changes.
    pub inputs: Arc<Notify>,
    /// Notified by all other changes: an object that we write has changed.
    pub outputs: Arc<Notify>,
    /// Tells all watches that the API server's data went back.
    pub rollbacks: Rollbacks,
}

/// All watches.
pub(crate) struct Sources {
    federations: Watched<federation::FederationObject>,
    policies: Watched<policy::Policy>,
    services: Watched<service::Read>,
    /// `None` if they do not count. Otherwise `services` has all Services of the cluster.
    service_exports: Option<Watched<mcs::McsObject>>,
    /// `None` if they are not written.
    service_imports: Option<Watched<mcs::McsObject>>,
    slices: Watched<slices::Slice>,
    federated_services: Watched<federated::FederatedObject>,
    local_services: Watched<federated::Local>,
    /// Starts the watch of `local_services`, which many clusters do not need.
    need_local_services: Arc<Notify>,
    gateway_services: Watched<gateway::GatewayService>,
    pods: Watched<pod::GatewayPod>,
    nodes: Watched<gateway::Node>,
    service_cidrs: Watched<network::ServiceCidr>,
    roots: Watched<roots::Roots>,
    identity: Watched<Stored>,
    /// `None` if passthrough is disabled.
    passthrough: Option<Watched<()>>,
    memory: Watched<memory::Memory>,
    entries: Watched<entries::Hosts>,
}

impl Sources {
    /// Starts watching, for as long as `tasks` lives.
    pub(crate) fn start(
        client: &Client,
        settings: &ControllerSettings,
        wakes: &Wakes,
        tasks: &mut Tasks,
    ) -> Self {
        let (namespaces, gateway) = (&settings.namespaces, &settings.gateway);
        let (need_local_services, mcs_exports) = (Arc::<Notify>::default(), settings.mcs_exports);
        Self {
            federations: Watched::start(
                Watch {
                    is_news: federation::is_news,
                    ..watch(client, selection::federations(), federation::keep, wakes)
                },
                tasks,
            ),
            policies: source(client, selection::policies(), policy::keep, wakes, tasks),
            services: source(client, selection::services(mcs_exports), service::keep, wakes, tasks),
            service_exports: mcs_exports.then(|| {
                let watch = watch(client, selection::service_exports(), mcs::keep, wakes);
                Watched::start(Watch { is_news: mcs::is_news, ..watch }, tasks)
            }),
            service_imports: settings.mcs_imports.then(|| {
                let selection = selection::service_imports(namespaces.own());
                let watch = watch(client, selection, mcs::keep, wakes);
                Watched::start(Watch { wake: Arc::clone(&wakes.outputs), ..watch }, tasks)
            }),
            slices: source(client, selection::slices(mcs_exports), slices::keep, wakes, tasks),
            federated_services: Watched::start(
                Watch {
                    is_news: federated::is_news,
                    ..watch(client, selection::federated_services(), federated::keep, wakes)
                },
                tasks,
            ),
            local_services: Watched::start_when(
                Arc::clone(&need_local_services),
                watch(client, selection::local_services(), federated::keep_local, wakes),
                tasks,
            ),
            need_local_services,
            gateway_services: source(
                client,
                selection::gateway_service(namespaces.gateway(), &gateway.service),
                gateway::keep_service,
                wakes,
                tasks,
            ),
            pods: Watched::start(
                Watch {
                    is_news: pod::is_news,
                    ..watch(
                        client,
                        selection::gateway_pods(namespaces.gateway(), &gateway.selector),
                        pod::keep,
                        wakes,
                    )
                },
                tasks,
            ),
            nodes: source(client, selection::nodes(), gateway::keep_node, wakes, tasks),
            service_cidrs: source(client, selection::service_cidrs(), network::keep, wakes, tasks),
            roots: source(
                client,
                selection::roots(namespaces.own(), &settings.metadata.roots_configmap),
                roots::keep,
                wakes,
                tasks,
            ),
            identity: source(
                client,
                selection::identity(namespaces.own()),
                stored::keep,
                wakes,
                tasks,
            ),
            passthrough: gateway.passthrough.then(|| {
                source(
                    client,
                    selection::passthrough(namespaces.own()),
                    passthrough::keep,
                    wakes,
                    tasks,
                )
            }),
            memory: source(client, selection::memory(namespaces.own()), memory::keep, wakes, tasks),
            entries: source(
                client,
                selection::entries(namespaces.own()),
                entries::keep,
                wakes,
                tasks,
            ),
        }
    }

    /// The current state of all sources.
    pub(crate) fn observed(&self) -> Observed {
        let (federated_services, service_exports) =
            (self.federated_services.all(), self.service_exports());
        let local = federated::named(federated_services.values()).collect();
        let services = match self.service_exports {
            Some(_) => mcs::split(self.services.all(), &service_exports, &local),
            None => {
                mcs::Split { exported: self.services.all(), local: self.local_services(&local) }
            }
        };
        Observed {
            federations: self.federations.all(),
            policies: self.policies.all(),
            services: services.exported,
            service_exports,
            slices: self.slices.all(),
            slices_refused: slices::is_refused(&self.slices),
            federated_services,
            local_services: services.local,
            gateway_services: self.gateway_services.all(),
            pods: self.pods.all(),
            nodes: self.nodes.all(),
            service_cidrs: self.service_cidrs.all(),
            roots: self.roots.all(),
            passthrough: self.passthrough.as_ref().map(passthrough::prepared),
            memory: self.memory.all(),
            entries: self.entries.all(),
            presented: None,
        }
    }

    /// The `IstioFederation`s whose status is written.
    pub(crate) fn federations(&self) -> &Watched<federation::FederationObject> {
        &self.federations
    }

    /// The `FederatedService`s whose status is written.
    pub(crate) fn federated_services(&self) -> &Watched<federated::FederatedObject> {
        &self.federated_services
    }

    /// The `ServiceExport`s whose status is written; `None` if they do not count.
    pub(crate) fn watched_service_exports(&self) -> Option<&Watched<mcs::McsObject>> {
        self.service_exports.as_ref()
    }

    /// The `ServiceImport`s whose status is written; `None` if they are not written.
    pub(crate) fn service_imports(&self) -> Option<&Watched<mcs::McsObject>> {
        self.service_imports.as_ref()
    }

    fn service_exports(&self) -> BTreeMap<Key, mcs::McsObject> {
        self.service_exports.as_ref().map(Watched::all).unwrap_or_default()
    }

    /// The Services without the export label that are local members.
    fn local_services(&self, local: &BTreeSet<Key>) -> BTreeMap<Key, federated::Local> {
        let found = |key: &Key| Some((key.clone(), self.local_services.get(key)?));
        local.iter().filter_map(found).collect()
    }

    /// The present content of the Secret with this cluster's identity; `None` if unknown.
    pub(crate) fn identity(&self) -> Option<Stored> {
        let all = self.identity.is_listed().then(|| self.identity.all())?;
        Some(all.into_values().next().unwrap_or(Stored::Gone))
    }

    /// The gateway's Pods.
    pub(crate) fn pods(&self) -> &Watched<pod::GatewayPod> {
        &self.pods
    }

    /// The gateway's Service.
    pub(crate) fn gateway_services(&self) -> &Watched<gateway::GatewayService> {
        &self.gateway_services
    }

    /// What was not listed yet, with the reason if there is one. Does not wait for ServiceCIDRs,
    /// which older clusters lack, or for others' ServiceEntries and the identity, whose findings
    /// can come later. A cluster without the definition of `FederatedService`s or `ServiceExport`s
    /// has none.
    pub(crate) fn missing(&self) -> Vec<String> {
        let federated = &self.federated_services;
        let needs_local = self.service_exports.is_none()
            && federated::named(federated.all().values()).next().is_some();
        if needs_local {
            self.need_local_services.notify_one();
        }
        [
            missing(&self.federations),
            missing(&self.policies),
            missing(&self.services),
            self.service_exports
                .as_ref()
                .filter(|exports| !exports.is_unknown_kind())
                .and_then(missing),
            slices::missing(&self.slices),
            missing(federated).filter(|_| !federated.is_unknown_kind()),
            missing(&self.local_services).filter(|_| needs_local),
            missing(&self.gateway_services),
            missing(&self.pods),
            missing(&self.nodes),
            missing(&self.roots),
            missing(&self.memory),
            self.passthrough.as_ref().and_then(passthrough::missing),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Starts a watch for which every change of what is kept is news.
pub(crate) fn source<T: Clone + PartialEq + Send + 'static>(
    client: &Client,
    selection: Selection,
    keep: fn(DynamicObject) -> T,
    wakes: &Wakes,
    tasks: &mut Tasks,
) -> Watched<T> {
    Watched::start(watch(client, selection, keep, wakes), tasks)
}

/// A watch for which every change of what is kept is news.
fn watch<T>(
    client: &Client,
    selection: Selection,
    keep: fn(DynamicObject) -> T,
    wakes: &Wakes,
) -> Watch<T> {
    Watch {
        name: selection.name,
        api: selection.api(client),
        config: selection.watched(),
        keep,
        is_news: |_, _| true,
        wake: Arc::clone(&wakes.inputs),
        otherwise: Arc::clone(&wakes.outputs),
        rollbacks: wakes.rollbacks.clone(),
    }
}

/// The name of a watch that has not listed yet, with the reason if there is one.
pub(crate) fn missing<T: Clone + PartialEq + Send + 'static>(
    watched: &Watched<T>,
) -> Option<String> {
    let why = watched.failure().map(|why| format!(": {why}")).unwrap_or_default();
    (!watched.is_listed()).then(|| format!("{}{why}", watched.name()))
}
