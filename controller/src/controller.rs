//! One cluster's controller: all that changes, in one place, and what follows from a change.
//!
//! ```text
//! folder, identity files, peers ──► Controller::{reload, learned} ──► compile ──► federate ──► sinks ──► InForce
//! ```
//!
//! One task owns this value, so nothing in it is locked. Readers (exporter, admin address) see snapshots that are swapped whole.

use crate::brain::{Brain, tell_new};
use crate::cluster_identity;
use crate::envoy::WriteError;
use crate::exporter;
use crate::files::Endpoints;
use crate::importer::PeerUpdate;
use crate::in_force::InForce;
use crate::local::{self, Local};
use crate::run::reload::restart_needed;
use crate::settings::Settings;
use crate::sinks::{self, Deployment};
use crate::state::StateFolder;
use arc_swap::{ArcSwap, ArcSwapOption};
use fedgate_core::{PeerName, ServiceName, Table, TableBuilder};
use fedgate_federation::federate::Published;
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::Objects;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The controller's memory and its sinks.
pub struct Controller {
    /// The settings.
    pub settings: Settings,
    brain: Brain,
    key: SigningKey,
    /// When the cluster's UUID or key was made anew, since what was kept of it was gone.
    replaced_at: Option<Timestamp>,
    state: StateFolder,
    deployment: Deployment,
    endpoints: Endpoints,
    /// What is known of the peers, as the state folder has it.
    saved: BTreeMap<PeerName, PeerKnowledge>,
    reserved_ports: BTreeMap<ServiceName, u16>,
    in_force: Arc<ArcSwapOption<InForce>>,
    published: Arc<ArcSwap<exporter::Published>>,
}

/// What a compilation asks of its caller.
#[derive(Debug, Default)]
pub struct Next {
    /// When to compile again though nothing else changes.
    pub at: Option<Timestamp>,
    /// A sink failed: to be tried again soon.
    pub retry: bool,
}

impl Controller {
    /// Begins from what the last run left.
    ///
    /// # Errors
    /// When the last table is gone and an empty one cannot be built, which does not happen.
    pub fn new(settings: Settings, local: Local, state: StateFolder, deployment: Deployment) -> anyhow::Result<Self> {
        let previous: Published = state.load(PUBLISHED).unwrap_or_default();
        let table = last_table(&deployment, &local, previous.generation)?;
        let Local { cluster, key } = local;
        let saved = load_knowledge(&state);
        Ok(Self {
            brain: Brain::new(cluster, settings.times.knowledge, saved.clone(), previous, table),
            key,
            replaced_at: cluster_identity::replaced_at(&state),
            saved,
            reserved_ports: state.load(EGRESS_PORTS).unwrap_or_default(),
            endpoints: Endpoints::new(),
            in_force: Arc::default(),
            published: Arc::default(),
            settings,
            state,
            deployment,
        })
    }

    /// What the admin address shows.
    pub fn in_force(&self) -> Arc<ArcSwapOption<InForce>> {
        Arc::clone(&self.in_force)
    }

    /// What the exporter serves.
    pub fn published(&self) -> Arc<ArcSwap<exporter::Published>> {
        Arc::clone(&self.published)
    }

    /// What is known of the peers.
    pub fn knowledge(&self) -> &BTreeMap<PeerName, PeerKnowledge> {
        &self.brain.knowledge
    }

    /// The state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Takes the objects that the folder has now.
    pub fn reload(&mut self, objects: Objects, endpoints: Endpoints) {
        (self.brain.objects, self.endpoints) = (objects, endpoints);
    }

    /// Reads the files that the settings name again. On failure what was read before stays in force.
    pub fn reload_identity(&mut self) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let unreadable = |field: &str, error: anyhow::Error| {
            let message = format!("{error:#}; what was read before stays in force");
            Finding::error(FindingReason::Unreadable, cluster.clone(), field, message)
        };
        let Local { cluster: mut new, key } = match local::read(&self.settings, &self.state) {
            Ok(local) => local,
            Err(error) => return vec![unreadable("", error)],
        };
        let mut findings = Vec::new();
        // Envoy keeps the last good pair, so peers must go on expecting what that one says.
        match sinks::identity(&self.settings) {
            Ok(identity) => self.deployment.identity = identity,
            Err(error) => {
                new.gateway_identities.clone_from(&self.brain.cluster.gateway_identities);
                findings.push(unreadable("identity", error));
            }
        }
        // Requests are signed with the key from the start, so that one is what peers must know.
        if key.public() != self.key.public() {
            new.authn_key = self.key.public();
            findings.push(restart_needed(cluster, "keyFile"));
        }
        self.brain.cluster = new;
        findings
    }

    /// Takes what a round with a peer gave; whether something follows from it.
    pub fn learned(&mut self, update: PeerUpdate) -> bool {
        let peer = update.peer.clone();
        let changed = self.brain.learned(update);
        self.save(&peer);
        changed
    }

    /// Keeps what is known of a peer over a restart. When that fails it is tried again after the next round with the peer.
    fn save(&mut self, peer: &PeerName) {
        let Some(knowledge) = self.brain.knowledge.get(peer) else { return };
        if !knowledge.worth_saving(self.saved.get(peer), &self.brain.times()) {
            return;
        }
        match self.state.save(&knowledge_file(peer), knowledge) {
            Ok(()) => drop(self.saved.insert(peer.clone(), knowledge.clone())),
            Err(error) => tracing::error!(%peer, "what was learned is not kept over a restart: {error}"),
        }
    }

    /// Works out what is in force, and hands it to the sinks: the gateway first, so that a service is announced when the gateway
    /// knows it.
    pub fn compile(&mut self, now: Timestamp) -> Next {
        let federation = self.brain.compile(now);
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let mut findings: Vec<_> = cluster_identity::replaced(self.replaced_at, cluster, now).into_iter().collect();
        let egress = self.allocate_ports(&federation, &mut findings);
        let retry = self.write(&federation, &egress, &mut findings);
        if !retry {
            self.publish(&federation);
        }
        for gone in self.brain.forget_the_others() {
            self.state.remove(&knowledge_file(&gone));
            self.saved.remove(&gone);
        }
        let next = Next { at: federation.next_change, retry };
        self.swap(federation, egress, findings);
        next
    }

    fn allocate_ports(&mut self, federation: &Federation, findings: &mut Vec<Finding>) -> BTreeMap<ServiceName, u16> {
        let allocation = sinks::egress_ports(&self.settings, federation, &self.reserved_ports);
        if allocation.reserved != self.reserved_ports {
            if let Err(error) = self.state.save(EGRESS_PORTS, &allocation.reserved) {
                tracing::error!("the egress ports are not kept over a restart: {error}");
            }
            self.reserved_ports = allocation.reserved;
        }
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        findings.extend(allocation.without_port.iter().map(|service| {
            let message = format!("no free port is left for {service}: widen the range");
            Finding::error(FindingReason::NoEgressPort, cluster.clone(), "egress.ports", message)
        }));
        allocation.ports
    }

    /// Writes Envoy's files; whether that failed.
    fn write(&self, federation: &Federation, ports: &BTreeMap<ServiceName, u16>, findings: &mut Vec<Finding>) -> bool {
        let (settings, local) = (&self.settings, &self.brain.cluster);
        let gateway = self.deployment.gateway(settings, local, federation, &self.brain.table, &self.endpoints);
        let egress = self.deployment.egress(settings, federation, ports);
        let mut failed = false;
        for files in [gateway, egress] {
            match self.deployment.files.write(&files) {
                Ok(written) if written.changed.is_empty() => {}
                Ok(written) => tracing::debug!(files = ?written.changed, "wrote Envoy's files"),
                Err(error) => {
                    findings.push(self.not_written(&error));
                    failed = true;
                }
            }
        }
        failed
    }

    fn not_written(&self, error: &WriteError) -> Finding {
        tracing::error!("Envoy's files are not as they should be, and are tried again: {error}");
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        Finding::error(FindingReason::NotWritten, cluster, "envoy/", error.to_string())
    }

    /// Hands the documents to the exporter. Their versions are kept first: a version that was seen must never come back.
    fn publish(&mut self, federation: &Federation) {
        if federation.published != self.brain.previous {
            if let Err(error) = self.state.save(PUBLISHED, &federation.published) {
                tracing::error!("the versions of what is published are not kept over a restart: {error}");
            }
            self.brain.previous = federation.published.clone();
        }
        self.published.store(Arc::new(exporter::Published::of(federation)));
    }

    fn swap(&self, federation: Federation, ports: BTreeMap<ServiceName, u16>, findings: Vec<Finding>) {
        let before = self.in_force.load();
        tell_new(&federation.findings, before.as_ref().map(|before| &before.federation));
        let listen = self.settings.egress.listen;
        let egress = ports.into_iter().map(|(service, port)| (service, SocketAddr::new(listen, port)));
        let (local, table) = (self.brain.cluster.clone(), self.brain.table.clone());
        let egress = Some(egress.collect());
        self.in_force.store(Some(Arc::new(InForce { local, federation, table, egress, findings })));
    }
}

const PUBLISHED: &str = "published.json";
const EGRESS_PORTS: &str = "egress-ports.json";
const PEERS: &str = "peers";

fn knowledge_file(peer: &PeerName) -> String {
    format!("{PEERS}/{peer}.json")
}

fn load_knowledge(state: &StateFolder) -> BTreeMap<PeerName, PeerKnowledge> {
    let load = |name: String| Some((PeerName::parse(&name).ok()?, state.load(&format!("{PEERS}/{name}.json"))?));
    state.names(PEERS).into_iter().filter_map(load).collect()
}

/// The table that the gateway has, so that one which can no longer be built does not take it away.
fn last_table(deployment: &Deployment, local: &Local, generation: u64) -> anyhow::Result<Table> {
    let file = deployment.files.path("gateway/filter/filter.json");
    let ours = |table: &Table| table.trust_domain() == local.cluster.trust_domain.as_str();
    match crate::command::table_of(file.as_ref()).ok().filter(ours) {
        Some(table) => Ok(table),
        None => Ok(Table::read(TableBuilder::new(local.cluster.trust_domain.clone()).build(generation)?)?),
    }
}
