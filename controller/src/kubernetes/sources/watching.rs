//! The watches of all sources.

use super::{Seen, federation, gateway, memory, network, policy, roots, service};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::settings::ControllerSettings;
use crate::kubernetes::watch::{Watch, Watched};
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::watcher::Config;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Who is woken.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    /// By anything that the brain works from.
    pub inputs: Arc<Notify>,
    /// By anything else: an object that we write was changed.
    pub outputs: Arc<Notify>,
}

/// All watches.
pub(crate) struct Sources {
    federations: Watched<federation::FederationObject>,
    policies: Watched<policy::Policy>,
    services: Watched<service::Labelled>,
    gateway_services: Watched<gateway::GatewayService>,
    pods: Watched<gateway::GatewayPod>,
    nodes: Watched<gateway::Node>,
    service_cidrs: Watched<network::ServiceCidr>,
    roots: Watched<roots::Roots>,
    memory: Watched<memory::Memory>,
}

impl Sources {
    /// Begins to watch, for as long as `tasks` lives.
    pub(crate) fn start(
        client: &Client,
        settings: &ControllerSettings,
        wakes: &Wakes,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (places, all) = (&settings.places, Config::default);
        let named = |name: &str| all().fields(&format!("metadata.name={name}"));
        Self {
            federations: Watched::start(
                Watch {
                    name: "IstioFederations",
                    api: Kind::IstioFederation.everywhere(client),
                    config: all(),
                    keep: federation::keep,
                    is_news: federation::is_news,
                    wake: Arc::clone(&wakes.inputs),
                    otherwise: Arc::clone(&wakes.outputs),
                },
                tasks,
            ),
            policies: source(
                "FederationPolicies",
                Kind::FederationPolicy.everywhere(client),
                all(),
                policy::keep,
                wakes,
                tasks,
            ),
            services: source(
                "exported Services",
                Kind::Service.everywhere(client),
                all().labels(service::SELECTOR),
                service::keep,
                wakes,
                tasks,
            ),
            gateway_services: source(
                "the gateway's Service",
                Kind::Service.within(client, places.gateway()),
                named(&settings.gateway.service),
                gateway::keep_service,
                wakes,
                tasks,
            ),
            pods: source(
                "the gateway's Pods",
                Kind::Pod.within(client, places.gateway()),
                all().labels(&settings.gateway.selector.to_string()),
                gateway::keep_pod,
                wakes,
                tasks,
            ),
            nodes: source("Nodes", Kind::Node.everywhere(client), all(), gateway::keep_node, wakes, tasks),
            service_cidrs: source(
                "ServiceCIDRs",
                Kind::ServiceCidr.everywhere(client),
                all(),
                network::keep,
                wakes,
                tasks,
            ),
            roots: source(
                "this cluster's roots",
                Kind::ConfigMap.within(client, &places.namespace),
                named(&settings.metadata.roots_configmap),
                roots::keep,
                wakes,
                tasks,
            ),
            memory: source(
                "fedgate's memory",
                Kind::ConfigMap.within(client, &places.namespace),
                all().labels(memory::LABEL),
                memory::keep,
                wakes,
                tasks,
            ),
        }
    }

    /// Everything, as it is now.
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
            memory: self.memory.all(),
        }
    }

    /// The `IstioFederation`s, whose status is written.
    pub(crate) fn federations(&self) -> &Watched<federation::FederationObject> {
        &self.federations
    }

    /// What was not listed yet, with the reason if there is one. ServiceCIDRs are not waited for: older clusters have none.
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
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn source<T: Clone + PartialEq + Send + 'static>(
    name: &'static str,
    api: kube::Api<DynamicObject>,
    config: Config,
    keep: fn(DynamicObject) -> T,
    wakes: &Wakes,
    tasks: &mut JoinSet<()>,
) -> Watched<T> {
    let (wake, otherwise) = (Arc::clone(&wakes.inputs), Arc::clone(&wakes.outputs));
    // Every difference of what is kept is news.
    Watched::start(Watch { name, api, config, keep, is_news: |_, _| true, wake, otherwise }, tasks)
}

/// What a watch waits for.
pub(crate) fn missing<T: Clone + PartialEq + Send + 'static>(watched: &Watched<T>) -> Option<String> {
    let why = watched.failure().map(|why| format!(": {why}")).unwrap_or_default();
    (!watched.is_listed()).then(|| format!("{}{why}", watched.name()))
}
