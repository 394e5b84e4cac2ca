//! One cluster's controller: everything that changes, in one place, and what follows from a change.
//!
//! ```text
//! folder, identity files, peers ──► Site::{reload, learned} ──► compile ──► federate ──► sinks ──► InForce
//! ```
//!
//! One task owns this value, so nothing in it is locked. Readers (exporter, admin address) see
//! snapshots that are swapped whole.

mod memory;
pub(crate) mod names;
mod outputs;

use crate::cluster_identity;
use crate::envoys::{self, Capacity, KnownEnvoys, Observed};
use crate::local::{self, Local};
use crate::manifests::Endpoints;
use crate::own;
use crate::settings::{Settings, restart_needed};
use crate::sinks::{self, Deployment};
use crate::state::StateFolder;
use arc_swap::ArcSwapOption;
use fedgate_core::{Hostname, PeerName, ServiceName, Table, TableBuilder};
use fedgate_engine::compiler::Compiler;
use fedgate_engine::federated::{MemberHealth, dead};
use fedgate_engine::in_force::InForce;
use fedgate_engine::running::Running;
use fedgate_envoy::EnvoyFiles;
use fedgate_exchange::exporter;
use fedgate_exchange::importer::PeerUpdate;
use fedgate_exchange::keyring::Keyring;
use fedgate_exchange::probe::ProbeIdentity;
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::federate::Published;
use fedgate_federation::key::SigningKeys;
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::Objects;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use fedgate_process::words;
use fedgate_trace::Causes;
use jiff::Timestamp;
use memory::{EGRESS_ADDRESSES, EGRESS_PORTS, PUBLISHED, Unsaved, load_knowledge};
use outputs::table_of_gateway;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// The controller's memory and its sinks.
pub(crate) struct Site {
    pub(crate) settings: Settings,
    compiler: Compiler,
    keys: SigningKeys,
    keyring: Keyring,
    /// When the UUID or key was created again because the old one was lost.
    replaced_at: Option<Timestamp>,
    state: StateFolder,
    deployment: Deployment,
    endpoints: Endpoints,
    /// The table that the gateway has.
    written: Table,
    /// What the state folder has about the peers.
    saved: BTreeMap<PeerName, PeerKnowledge>,
    unsaved: Unsaved,
    /// The versions as the state folder has them.
    saved_versions: Published,
    /// Where the command line finds this controller, until it is written to the state folder.
    unsaved_address: Option<SocketAddr>,
    reserved_ports: BTreeMap<ServiceName, u16>,
    reserved_addresses: BTreeMap<Hostname, IpAddr>,
    known_envoys: KnownEnvoys,
    capacity: Option<Capacity>,
    in_force: Arc<ArcSwapOption<InForce>>,
    published: watch::Sender<Arc<exporter::Published>>,
    /// What is known of the two Envoys.
    observed: Observed,
    /// Which members of federated names the egress finds alive.
    member_health: MemberHealth,
    /// What has been seen since the last compilation, for its trace.
    pub(crate) causes: Causes,
}

/// When to compile again.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// When to compile again even if nothing else changes.
    pub(crate) at: Option<Timestamp>,
    /// A sink failed, so try again soon.
    pub(crate) retry: bool,
}

impl Site {
    /// Continues from what the last run left.
    ///
    /// # Errors
    /// When no last table exists and an empty one cannot be built, which does not happen.
    pub(crate) fn new(
        settings: Settings,
        local: Local,
        state: StateFolder,
        deployment: Deployment,
    ) -> anyhow::Result<Self> {
        let saved_versions: Published = state.load(PUBLISHED).unwrap_or_default();
        let Local { cluster, keys, other_key: _ } = local;
        let on_disk = table_of_gateway(&deployment, &cluster);
        let previous = saved_versions.clone().resumed(on_disk.as_ref());
        let written = match on_disk {
            Some(table) => table,
            None => Table::read(TableBuilder::new(cluster.trust_domain.clone()).build(0)?)?,
        };
        let saved = load_knowledge(&state);
        Ok(Self {
            compiler: Compiler::new(
                cluster,
                settings.times.knowledge,
                saved.clone(),
                previous,
                written.clone(),
            ),
            keyring: Keyring::new(keys.clone()),
            keys,
            replaced_at: cluster_identity::replaced_at(&state),
            written,
            saved,
            unsaved: Unsaved::default(),
            saved_versions,
            unsaved_address: None,
            reserved_ports: state.load(EGRESS_PORTS).unwrap_or_default(),
            reserved_addresses: state.load(EGRESS_ADDRESSES).unwrap_or_default(),
            known_envoys: state.load(envoys::known::FILE).unwrap_or_default(),
            capacity: None,
            endpoints: Endpoints::new(),
            in_force: Arc::default(),
            published: watch::Sender::default(),
            observed: Observed::default(),
            member_health: MemberHealth::new(),
            causes: Causes::default(),
            settings,
            state,
            deployment,
        })
    }

    /// What the admin address shows.
    pub(crate) fn in_force(&self) -> Arc<ArcSwapOption<InForce>> {
        Arc::clone(&self.in_force)
    }

    /// The UUID that peers know this cluster by.
    pub(crate) fn cluster_uuid(&self) -> ClusterUuid {
        self.compiler.cluster.cluster_uuid.clone()
    }

    /// The keys that importer and exporter sign with.
    pub(crate) fn keyring(&self) -> Keyring {
        self.keyring.clone()
    }

    /// What the exporter serves.
    pub(crate) fn published(&self) -> watch::Sender<Arc<exporter::Published>> {
        self.published.clone()
    }

    /// What is known of the peers.
    pub(crate) fn knowledge(&self) -> &BTreeMap<PeerName, PeerKnowledge> {
        &self.compiler.knowledge
    }

    /// Where Envoy's files are.
    pub(crate) fn envoy_files(&self) -> &EnvoyFiles {
        &self.deployment.files
    }

    /// Gives the probes the identity of our Envoys.
    pub(crate) fn show_identity(&self, probes: &ProbeIdentity) {
        let identity = &self.deployment.identity;
        probes.show(identity.chain_pem(), identity.key_pem());
    }

    /// Takes what was observed of the two Envoys.
    pub(crate) fn observed(&mut self, observed: Observed) {
        self.observed = observed;
    }

    /// Takes which members of federated names the egress finds alive.
    pub(crate) fn found(&mut self, health: MemberHealth) {
        self.member_health = health;
    }

    /// Notes where the command line finds this controller. The next compilation writes it down, and
    /// later ones retry: a full disk does not keep the controller from starting.
    pub(crate) fn set_admin_address(&mut self, address: SocketAddr) {
        self.unsaved_address = Some(address);
    }

    /// Takes the objects that the folder has now.
    pub(crate) fn reload(&mut self, objects: Objects, endpoints: Endpoints) {
        (self.compiler.objects, self.endpoints) = (objects, endpoints);
    }

    /// Reads the files named by the settings again. On failure the last content stays in force.
    pub(crate) fn reload_identity(&mut self) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let unreadable = |field: &str, error: anyhow::Error| {
            let message = format!("{}; {STAYS}", words::chain(&error));
            Finding::error(FindingReason::Unreadable, cluster.clone(), field, message)
        };
        let Local { cluster: mut new, keys, other_key } =
            match local::read(&self.settings, &self.state) {
                Ok(local) => local,
                Err(error) => return vec![unreadable("", error)],
            };
        let mut findings = Vec::new();
        // Envoy keeps the last good pair, so peers must go on expecting the identity in it.
        match sinks::identity(&self.settings) {
            Ok(identity) => self.deployment.identity = identity,
            Err(error) => {
                new.gateway_identities.clone_from(&self.compiler.cluster.gateway_identities);
                if !local::add_to_faults(&mut new.credentials, &PAIR, STAYS) {
                    findings.push(unreadable("identity", error));
                }
            }
        }
        findings.extend(self.take_keys(keys, other_key));
        let keys = self.keys.public();
        (new.authn_key, new.other_key) = (keys.current, keys.other);
        self.compiler.cluster = new;
        findings
    }

    /// Signs with other keys, if peers that know the former ones will believe them. A key that merely
    /// appears in the place of another may be a mistake, and peers would hold it.
    fn take_keys(&mut self, keys: SigningKeys, other_key: Option<Finding>) -> Option<Finding> {
        if let Some(mut finding) = other_key {
            finding.message = format!("{}; {STAYS}", finding.message);
            return Some(finding);
        }
        if keys == self.keys {
            return None;
        }
        if !keys.continue_from(&self.keys) {
            let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
            return Some(restart_needed(cluster, "keyFile"));
        }
        let public = keys.public();
        let other = public.other.map(|key| key.fingerprint().to_string());
        tracing::info!(
            current = %public.current.fingerprint(),
            other = other.as_deref().unwrap_or("none"),
            "the keys of this cluster have changed"
        );
        self.keyring.use_keys(keys.clone());
        self.keys = keys;
        None
    }

    /// Appends a remark to the errors about the files that these settings name. Returns true if
    /// there are any.
    pub(crate) fn add_to_faults(&mut self, fields: &[&str], remark: &str) -> bool {
        local::add_to_faults(&mut self.compiler.cluster.credentials, fields, remark)
    }

    /// What an operator has to do about the kernel's limits.
    pub(crate) fn inotify(&self) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        envoys::inotify_findings(&self.deployment.files, &cluster)
    }

    /// Takes the result of a round with a peer. Returns true if a new compilation is needed.
    pub(crate) fn learned(&mut self, update: PeerUpdate) -> bool {
        let (peer, received) = (update.peer.clone(), update.received.clone());
        let changed = self.compiler.learned(update);
        if let Some(received) = received.filter(|_| changed) {
            self.causes.answer(peer.as_str(), received);
        }
        self.note_unsaved(&peer);
        changed
    }

    /// Compiles what is in force and hands it to the sinks. The gateway comes first, so that it
    /// knows a service before peers do.
    ///
    /// What depends on the state folder is published only once it is saved there: documents need
    /// their versions, new imports need their ports. The table does not wait: its own file keeps
    /// its generation ([`Published::resumed`]), and revoking a grant must depend on little.
    pub(crate) fn compile(&mut self, now: Timestamp) -> Next {
        // This machine may have a new address by now.
        self.compiler.cluster.own_addresses = own::addresses(&self.settings);
        let (federation, change) = self.compiler.compile_traced(now, &mut self.causes);
        self.compiler.previous = federation.published.clone();
        let (capacity, mut findings) = self.capacity();
        findings.extend(self.unsaved_knowledge());
        findings.extend(self.write_address());
        let egress = self.put_in_force(&federation, &capacity, &change, &mut findings);
        findings.extend(self.findings_of_site(&federation, now));
        self.forget_removed_peers();
        let retry = findings.iter().any(|finding| finding.reason == FindingReason::NotWritten);
        let next = Next { at: federation.next_change, retry };
        self.swap(federation, egress, findings);
        change.end();
        next
    }

    /// Findings about this site that come neither from objects nor from sinks.
    fn findings_of_site(&self, federation: &Federation, now: Timestamp) -> Vec<Finding> {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        // Before the first answer, assume that both run.
        let running = self.observed.running.unwrap_or(Running { gateway: true, egress: true });
        let mut findings = Vec::new();
        findings.extend(cluster_identity::replaced(self.replaced_at, cluster.clone(), now));
        findings.extend(envoys::outdated::findings(
            self.observed.processes,
            &self.deployment.files,
            &cluster,
        ));
        findings.extend(running.findings(&cluster));
        findings.extend(envoys::access_log::finding(&self.settings));
        if running.egress {
            findings.extend(dead(&federation.federated_services, &self.member_health));
        }
        findings
    }

    /// The capacity of the two Envoys, and what an operator has to do about it.
    fn capacity(&mut self) -> (Capacity, Vec<Finding>) {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        let mut known = self.known_envoys;
        known.update(&self.observed);
        if known != self.known_envoys {
            if let Err(error) = self.state.save(envoys::known::FILE, &known) {
                tracing::error!("what was seen of the Envoys is not kept over a restart: {error}");
            }
            self.known_envoys = known;
        }
        let capacity = Capacity::of(&self.settings, &known);
        if self.capacity != Some(capacity) {
            capacity.lines().iter().for_each(|line| tracing::info!("{line}"));
            self.capacity = Some(capacity);
        }
        let findings = capacity.findings(&cluster);
        (capacity, findings)
    }
}

/// The settings that name the certificate and key of both Envoys.
const PAIR: [&str; 2] = ["identity.certificateChain", "identity.privateKey"];
/// What is in force in place of an unusable file.
const STAYS: &str = "the previous version stays in force";
