//! The watches of all sources.

use super::place::{self, Place};
use super::{
    Seen, entries, federation, gateway, memory, network, passthrough, pod, policy, roots, service,
};
use crate::api::watch::{Rollbacks, Watch, Watched};
use crate::identity::stored::{self, Stored};
use crate::settings::ControllerSettings;
use fedgate_process::tasks::Tasks;
use kube::Client;
use kube::api::DynamicObject;
use std::sync::Arc;
use tokio::sync::Notify;

/// Whom the watches notify.
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
    services: Watched<service::Labelled>,
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
        let (places, gateway) = (&settings.places, &settings.gateway);
        Self {
            federations: Watched::start(
                Watch {
                    is_news: federation::is_news,
                    ..watch(client, place::federations(), federation::keep, wakes)
                },
                tasks,
            ),
            policies: source(client, place::policies(), policy::keep, wakes, tasks),
            services: source(client, place::services(), service::keep, wakes, tasks),
            gateway_services: source(
                client,
                place::gateway_service(places.gateway(), &gateway.service),
                gateway::keep_service,
                wakes,
                tasks,
            ),
            pods: Watched::start(
                Watch {
                    is_news: pod::is_news,
                    ..watch(
                        client,
                        place::gateway_pods(places.gateway(), &gateway.selector),
                        pod::keep,
                        wakes,
                    )
                },
                tasks,
            ),
            nodes: source(client, place::nodes(), gateway::keep_node, wakes, tasks),
            service_cidrs: source(client, place::service_cidrs(), network::keep, wakes, tasks),
            roots: source(
                client,
                place::roots(&places.namespace, &settings.metadata.roots_configmap),
                roots::keep,
                wakes,
                tasks,
            ),
            identity: source(
                client,
                place::identity(&places.namespace),
                stored::keep,
                wakes,
                tasks,
            ),
            passthrough: gateway.passthrough.then(|| {
                source(
                    client,
                    place::passthrough(&places.namespace),
                    passthrough::keep,
                    wakes,
                    tasks,
                )
            }),
            memory: source(client, place::memory(&places.namespace), memory::keep, wakes, tasks),
            entries: source(client, place::entries(&places.namespace), entries::keep, wakes, tasks),
        }
    }

    /// The current state of all sources.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            federations: self.federations.all(),
            policies: self.policies.all(),
            services: self.services.all(),
            gateway_services: self.gateway_services.all(),
            pods: self.pods.all(),
            nodes: self.nodes.all(),
            service_cidrs: self.service_cidrs.all(),
            roots: self.roots.all(),
            passthrough: self.passthrough.as_ref().map(passthrough::seen),
            memory: self.memory.all(),
            entries: self.entries.all(),
            presented: None,
        }
    }

    /// The `IstioFederation`s whose status is written.
    pub(crate) fn federations(&self) -> &Watched<federation::FederationObject> {
        &self.federations
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

    /// What was not listed yet, with the reason if there is one. ServiceCIDRs are not waited for:
    /// older clusters have none. Nor are others' ServiceEntries and the identity: what they are for
    /// can be told later.
    pub(crate) fn missing(&self) -> Vec<String> {
        [
            missing(&self.federations),
            missing(&self.policies),
            missing(&self.services),
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

fn source<T: Clone + PartialEq + Send + 'static>(
    client: &Client,
    place: Place,
    keep: fn(DynamicObject) -> T,
    wakes: &Wakes,
    tasks: &mut Tasks,
) -> Watched<T> {
    Watched::start(watch(client, place, keep, wakes), tasks)
}

/// A watch for which every change of what is kept is news.
fn watch<T>(
    client: &Client,
    place: Place,
    keep: fn(DynamicObject) -> T,
    wakes: &Wakes,
) -> Watch<T> {
    Watch {
        name: place.name,
        api: place.api(client),
        config: place.watched(),
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
