//! One cluster's controller: all that changes, in one place, and what follows from a change.
//!
//! ```text
//! folder, identity files, peers ──► Site::{reload, learned} ──► compile ──► federate ──► sinks ──► InForce
//! ```
//!
//! One task owns this value, so nothing in it is locked. Readers (exporter, admin address) see snapshots that are swapped whole.

use crate::admin::AdminAddress;
use crate::capacity::{self, Capacity, Observed, SeenEnvoys};
use crate::cluster_identity;
use crate::local::{self, Local};
use crate::manifests::Endpoints;
use crate::own;
use crate::settings::{Settings, restart_needed};
use crate::sinks::{self, Deployment};
use crate::state::{StateError, StateFolder};
use arc_swap::{ArcSwap, ArcSwapOption};
use fedgate_core::{PeerName, ServiceName, Table, TableBuilder};
use fedgate_engine::brain::{Brain, tell_new};
use fedgate_engine::in_force::InForce;
use fedgate_engine::running::Running;
use fedgate_envoy::{Allocation, EnvoyFiles, File};
use fedgate_exchange::exporter;
use fedgate_exchange::importer::PeerUpdate;
use fedgate_exchange::probe::ProbeIdentity;
use fedgate_federation::federate::Published;
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::Objects;
use fedgate_federation::{Federation, Finding, FindingReason, LocalCluster, ObjectRef};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The controller's memory and its sinks.
pub struct Site {
    /// The settings.
    pub settings: Settings,
    brain: Brain,
    key: SigningKey,
    /// When the cluster's UUID or key was made anew, since what was kept of it was gone.
    replaced_at: Option<Timestamp>,
    state: StateFolder,
    deployment: Deployment,
    endpoints: Endpoints,
    /// The table that the gateway has.
    written: Table,
    /// What is known of the peers, as the state folder has it.
    saved: BTreeMap<PeerName, PeerKnowledge>,
    /// What of it could not be written there.
    unsaved: BTreeMap<PeerName, StateError>,
    /// The versions, as the state folder has them.
    saved_versions: Published,
    /// Where the command line finds this controller, until it is written down.
    untold_address: Option<SocketAddr>,
    reserved_ports: BTreeMap<ServiceName, u16>,
    seen_envoys: SeenEnvoys,
    capacity: Option<Capacity>,
    in_force: Arc<ArcSwapOption<InForce>>,
    published: Arc<ArcSwap<exporter::Published>>,
    /// What is known of the two Envoys.
    observed: Observed,
}

/// What a compilation asks of its caller.
#[derive(Debug, Default)]
pub struct Next {
    /// When to compile again though nothing else changes.
    pub at: Option<Timestamp>,
    /// A sink failed: to be tried again soon.
    pub retry: bool,
}

impl Site {
    /// Begins from what the last run left.
    ///
    /// # Errors
    /// When the last table is gone and an empty one cannot be built, which does not happen.
    pub fn new(settings: Settings, local: Local, state: StateFolder, deployment: Deployment) -> anyhow::Result<Self> {
        let saved_versions: Published = state.load(PUBLISHED).unwrap_or_default();
        let Local { cluster, key } = local;
        let on_disk = table_of_gateway(&deployment, &cluster);
        let previous = saved_versions.clone().resumed(on_disk.as_ref());
        let written = match on_disk {
            Some(table) => table,
            None => Table::read(TableBuilder::new(cluster.trust_domain.clone()).build(0)?)?,
        };
        let saved = load_knowledge(&state);
        Ok(Self {
            brain: Brain::new(cluster, settings.times.knowledge, saved.clone(), previous, written.clone()),
            key,
            replaced_at: cluster_identity::replaced_at(&state),
            written,
            saved,
            unsaved: BTreeMap::new(),
            saved_versions,
            untold_address: None,
            reserved_ports: state.load(EGRESS_PORTS).unwrap_or_default(),
            seen_envoys: state.load(capacity::FILE).unwrap_or_default(),
            capacity: None,
            endpoints: Endpoints::new(),
            in_force: Arc::default(),
            published: Arc::default(),
            observed: Observed::default(),
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

    /// Where Envoy's files are.
    pub fn envoy_files(&self) -> &EnvoyFiles {
        &self.deployment.files
    }

    /// What our Envoys show, our probes show.
    pub fn show_identity(&self, probes: &ProbeIdentity) {
        let identity = &self.deployment.identity;
        probes.show(identity.chain_pem(), identity.key_pem());
    }

    /// Takes what is known of the two Envoys.
    pub fn observed(&mut self, observed: Observed) {
        self.observed = observed;
    }

    /// Writes down where the command line finds this controller. A full disk does not keep it from starting: it is tried again
    /// with each compilation.
    pub fn tell_address(&mut self, address: SocketAddr) {
        self.untold_address = Some(address);
    }

    /// Takes the objects that the folder has now.
    pub fn reload(&mut self, objects: Objects, endpoints: Endpoints) {
        (self.brain.objects, self.endpoints) = (objects, endpoints);
    }

    /// Reads the files that the settings name again. On failure what was read before stays in force.
    pub fn reload_identity(&mut self) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let unreadable = |field: &str, error: anyhow::Error| {
            let message = format!("{error:#}; {STAYS}");
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
                if !local::add_to_faults(&mut new.credentials, &PAIR, STAYS) {
                    findings.push(unreadable("identity", error));
                }
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

    /// Adds a remark to what is wrong with the files that some settings name; whether something is.
    pub(crate) fn add_to_faults(&mut self, fields: &[&str], remark: &str) -> bool {
        local::add_to_faults(&mut self.brain.cluster.credentials, fields, remark)
    }

    /// What an operator has to do about the kernel's limits.
    pub fn inotify(&self) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        capacity::inotify_findings(&self.deployment.files, &cluster)
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
            Ok(()) => {
                self.unsaved.remove(peer);
                self.saved.insert(peer.clone(), knowledge.clone());
            }
            Err(error) => drop(self.unsaved.insert(peer.clone(), error)),
        }
    }

    /// Works out what is in force, and hands it to the sinks: the gateway first, so that a service is announced when the gateway
    /// knows it.
    ///
    /// What depends on the state folder waits until it is kept there: documents wait for their versions, new imports for their
    /// ports. The table does not wait, since its own file keeps its version ([`Published::resumed`]), and to take a grant back must
    /// need as little as possible.
    pub fn compile(&mut self, now: Timestamp) -> Next {
        // An address may have come to this machine since.
        self.brain.cluster.own = own::addresses(&self.settings);
        let federation = self.brain.compile(now);
        self.brain.previous = federation.published.clone();
        let (capacity, mut findings) = self.capacity();
        findings.extend(self.unsaved_knowledge());
        findings.extend(self.write_address());
        let egress = self.put_in_force(&federation, &capacity, &mut findings);
        findings.extend(self.findings_of_site(now));
        self.forget_the_others();
        let retry = findings.iter().any(|finding| finding.reason == FindingReason::NotWritten);
        let next = Next { at: federation.next_change, retry };
        self.swap(federation, egress, findings);
        next
    }

    /// Hands everything to the sinks, in their order; the local ports of the imports that are in force.
    fn put_in_force(
        &mut self,
        federation: &Federation,
        capacity: &Capacity,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<ServiceName, u16> {
        let egress = self.allocate_ports(federation, capacity, findings);
        let is_written = self.write(federation, &egress, capacity, findings);
        let is_kept = self.keep_versions(federation, findings);
        if is_written && is_kept {
            self.published.store(Arc::new(exporter::Published::of(federation)));
        }
        egress
    }

    /// What there is to say of this site that follows neither from objects nor from sinks.
    fn findings_of_site(&self, now: Timestamp) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        // Before the first answer nothing is said.
        let running = self.observed.running.unwrap_or(Running { gateway: true, egress: true });
        let mut findings = Vec::new();
        findings.extend(cluster_identity::replaced(self.replaced_at, cluster.clone(), now));
        findings.extend(self.observed.processes.outdated(&self.deployment.files, &cluster));
        findings.extend(running.findings(&cluster));
        findings
    }

    /// What was known of peers whose objects are gone goes too.
    fn forget_the_others(&mut self) {
        for gone in self.brain.forget_the_others() {
            self.state.remove(&knowledge_file(&gone));
            self.saved.remove(&gone);
            self.unsaved.remove(&gone);
        }
    }

    /// What the two Envoys may take, and what an operator has to do about it.
    fn capacity(&mut self) -> (Capacity, Vec<Finding>) {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let mut seen = self.seen_envoys;
        seen.take(&self.observed);
        if seen != self.seen_envoys {
            if let Err(error) = self.state.save(capacity::FILE, &seen) {
                tracing::error!("what was seen of the Envoys is not kept over a restart: {error}");
            }
            self.seen_envoys = seen;
        }
        let capacity = Capacity::of(&self.settings, &seen);
        if self.capacity != Some(capacity) {
            capacity.lines().iter().for_each(|line| tracing::info!("{line}"));
            self.capacity = Some(capacity);
        }
        let findings = capacity.findings(&cluster);
        (capacity, findings)
    }

    fn write_address(&mut self) -> Option<Finding> {
        let address = self.untold_address.take()?;
        let error = self.state.save_anyhow("admin.json", &AdminAddress { address }).err()?;
        self.untold_address = Some(address);
        Some(self.not_written("state/", &error))
    }

    /// Tries again to keep what could not be kept of the peers.
    fn unsaved_knowledge(&mut self) -> Vec<Finding> {
        for peer in self.unsaved.keys().cloned().collect::<Vec<_>>() {
            self.save(&peer);
        }
        self.unsaved.values().map(|error| self.not_written("state/peers/", error)).collect()
    }

    /// An import that has no port in the state folder has none at all: after a restart another import could have it.
    fn allocate_ports(
        &mut self,
        federation: &Federation,
        capacity: &Capacity,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<ServiceName, u16> {
        let allocation = sinks::egress_ports(&self.settings, federation, &self.reserved_ports, capacity);
        findings.extend(sinks::missing_ports(&self.settings, &allocation, capacity.egress_ports()));
        let Allocation { mut ports, reserved, .. } = allocation;
        if reserved != self.reserved_ports {
            match self.state.save(EGRESS_PORTS, &reserved) {
                Ok(()) => self.reserved_ports = reserved,
                Err(error) => {
                    ports.retain(|service, port| self.reserved_ports.get(service) == Some(port));
                    findings.push(self.not_written("state/", &error));
                }
            }
        }
        ports
    }

    /// Writes Envoy's files; whether all of them are as they should be.
    fn write(
        &mut self,
        federation: &Federation,
        ports: &BTreeMap<ServiceName, u16>,
        capacity: &Capacity,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let (settings, local, table) = (&self.settings, &self.brain.cluster, &self.brain.table);
        let gateway = self.deployment.gateway(settings, local, federation, table, &self.endpoints, capacity);
        let egress = self.deployment.egress(settings, federation, ports, capacity);
        let gateway = self.write_files(&gateway, findings);
        // Some of the files may have been written, and the table's may be one of them.
        self.written = match gateway {
            true => self.brain.table.clone(),
            false => table_of_gateway(&self.deployment, &self.brain.cluster).unwrap_or_else(|| self.written.clone()),
        };
        let egress = self.write_files(&egress, findings);
        gateway && egress
    }

    fn write_files(&self, files: &[File], findings: &mut Vec<Finding>) -> bool {
        match self.deployment.files.write(files) {
            Ok(written) if written.changed.is_empty() => {}
            Ok(written) => tracing::debug!(files = ?written.changed, "wrote Envoy's files"),
            Err(error) => {
                findings.push(self.not_written("envoy/", &error));
                return false;
            }
        }
        true
    }

    /// A file that could not be written. It is tried again.
    fn not_written(&self, folder: &str, error: &dyn std::fmt::Display) -> Finding {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        Finding::error(FindingReason::NotWritten, cluster, folder, error.to_string())
    }

    /// Keeps the versions of the documents, which come before those: a version that was seen must never come back.
    fn keep_versions(&mut self, federation: &Federation, findings: &mut Vec<Finding>) -> bool {
        if federation.published == self.saved_versions {
            return true;
        }
        match self.state.save(PUBLISHED, &federation.published) {
            Ok(()) => self.saved_versions = federation.published.clone(),
            Err(error) => {
                findings.push(self.not_written("state/", &error));
                return false;
            }
        }
        true
    }

    fn swap(&self, federation: Federation, ports: BTreeMap<ServiceName, u16>, findings: Vec<Finding>) {
        let before = self.in_force.load();
        tell_new(&federation.findings, before.as_ref().map(|before| before.federation.findings.as_slice()));
        tell_new(&findings, before.as_ref().map(|before| before.findings.as_slice()));
        let listen = self.settings.egress.listen;
        let egress = ports.into_iter().map(|(service, port)| (service, SocketAddr::new(listen, port)));
        let (local, table) = (self.brain.cluster.clone(), self.written.clone());
        let egress = Some(egress.collect());
        let running = self.observed.running;
        self.in_force.store(Some(Arc::new(InForce { local, federation, table, egress, running, findings })));
    }
}

/// The settings of what both Envoys show.
const PAIR: [&str; 2] = ["identity.certificateChain", "identity.privateKey"];
/// What becomes of files that cannot be used.
const STAYS: &str = "what was read before stays in force";

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

/// The table in the file that the gateway's Envoy reads; `None` when there is none of this cluster.
fn table_of_gateway(deployment: &Deployment, cluster: &LocalCluster) -> Option<Table> {
    let file = deployment.files.path("gateway/filter/filter.json");
    let table = fedgate_envoy::plugin::table_of(file.as_ref()).ok()?;
    (table.trust_domain() == cluster.trust_domain.as_str()).then_some(table)
}
