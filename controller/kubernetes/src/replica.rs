//! A replica: what it knows, and what it does with it as a leader or a follower.

pub(crate) mod as_leader;
pub(crate) mod compiled;

use crate::api::watch::Rollbacks;
use crate::identity::ClusterIdentity;
use crate::leader::election::Leadership;
use crate::presented::Presented;
use crate::replica::compiled::{Compiled, CompiledExport, Saved};
use crate::settings::ControllerSettings;
use crate::sinks::outputs::Outputs;
use crate::sinks::table::looks_late;
use crate::sources::{Observed, Sources, entries};
use fedgate_core::{PeerName, Table, TableBuilder};
use fedgate_engine::compiler::{Compiler, log_new};
use fedgate_engine::confirmations::Confirmations;
use fedgate_engine::in_force::InForce;
use fedgate_exchange::exporter;
use fedgate_exchange::importer::{Importer, ImporterSettings, PeerUpdate};
use fedgate_exchange::keyring::Keyring;
use fedgate_federation::credentials::Credentials;
use fedgate_federation::federate::Published;
use fedgate_federation::{Federation, Finding, Severity};
use fedgate_trace::{Causes, Change, Tracer};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// How long a follower waits for the leader to publish what it has compiled.
const DIFFERENCE: SignedDuration = SignedDuration::from_secs(5);

/// How often a new leader checks whether the cluster's table is known.
const LISTED: SignedDuration = SignedDuration::from_millis(200);

/// One replica's memory. One task owns it.
pub(super) struct Replica {
    settings: Arc<ControllerSettings>,
    identity: ClusterIdentity,
    keyring: Keyring,
    sources: Sources,
    outputs: Arc<Outputs>,
    leadership: Leadership,
    compiler: Compiler,
    has_table: bool,
    saved: BTreeMap<PeerName, Saved>,
    importer: Option<Importer>,
    /// The peers that have been asked since this replica leads.
    asked: BTreeSet<PeerName>,
    /// Since when this follower's compilation differs from what the leader published.
    differs_since: Option<Timestamp>,
    asking: (ImporterSettings, mpsc::Sender<PeerUpdate>),
    outcomes: Outcomes,
    certificates: Certificates,
    rollbacks: Rollbacks,
    /// How many rollbacks the published numbers have outgrown.
    outgrown: u64,
    /// What has been seen since the last compilation, for its trace.
    causes: Causes,
}

/// What is known of this cluster's own certificates.
#[derive(Clone)]
pub(super) struct Certificates {
    /// The metadata endpoint's, in this Pod.
    pub(super) endpoint: watch::Receiver<Credentials>,
    /// Those that the gateway's Pods present; `None` until they have been asked, and in a follower.
    pub(super) presented: watch::Receiver<Option<Presented>>,
}

/// Where a replica puts its results.
pub(super) struct Outcomes {
    /// For the writer.
    pub newest: watch::Sender<Option<Arc<Compiled>>>,
    /// For the exporter.
    pub published: watch::Sender<Arc<exporter::Published>>,
    /// For the Lease.
    pub confirmations: Confirmations,
}

impl Replica {
    /// A replica that knows nothing yet. `asking` says how to ask peers, and where their answers
    /// go.
    ///
    /// # Errors
    /// If an empty table cannot be built, which does not happen.
    pub(super) fn new(
        settings: Arc<ControllerSettings>,
        (identity, keyring): (ClusterIdentity, Keyring),
        (sources, outputs): (Sources, Arc<Outputs>),
        leadership: Leadership,
        asking: (ImporterSettings, mpsc::Sender<PeerUpdate>),
        outcomes: Outcomes,
        certificates: Certificates,
    ) -> anyhow::Result<Self> {
        let (cluster, _) = Observed::default().cluster(&settings, &identity);
        let table = Table::read(TableBuilder::new(settings.trust_domain.clone()).build(0)?)?;
        let times = settings.intervals().knowledge;
        let mut compiler =
            Compiler::new(cluster, times, BTreeMap::new(), Published::default(), table);
        compiler.confirmations = outcomes.confirmations.clone();
        let (has_table, saved, importer) = (false, BTreeMap::new(), None);
        Ok(Self {
            settings,
            identity,
            keyring,
            sources,
            outputs,
            leadership,
            compiler,
            has_table,
            saved,
            importer,
            asked: BTreeSet::new(),
            differs_since: None,
            asking,
            outcomes,
            certificates,
            rollbacks: Rollbacks::default(),
            outgrown: 0,
            causes: Causes::default(),
        })
    }

    /// Renumbers everything after the API server's data went back.
    pub(super) fn noticing(self, rollbacks: Rollbacks) -> Self {
        Self { rollbacks, ..self }
    }

    /// Records traces of what a leader does.
    pub(super) fn traced(self, tracer: Tracer) -> Self {
        let (settings, updates) = self.asking;
        let asking = (settings.traced(tracer.is_on()), updates);
        Self { asking, causes: Causes::new(tracer), ..self }
    }

    /// Notes that an object has changed.
    pub(super) fn noticed(&mut self) {
        self.causes.own("watch", self.causes.now());
    }

    /// What is missing before anything can be compiled.
    pub(super) fn missing(&self) -> Vec<String> {
        self.sources.missing()
    }

    /// Returns true if peers get an answer.
    pub(super) fn answers_peers(&self) -> bool {
        self.outcomes.published.borrow().public.is_some()
    }

    /// Takes the result of a round with a peer; returns true if it changes anything.
    pub(super) fn learned(&mut self, update: PeerUpdate) -> bool {
        let (peer, received) = (update.peer.clone(), update.received.clone());
        let changed = self.importer.is_some() && self.compiler.learned(update);
        if let Some(received) = received.filter(|_| changed) {
            self.causes.answer(peer.as_str(), received);
        }
        // The stored knowledge is older than what the last leader knew, so the first answer is
        // always news.
        let first = self.importer.is_some() && self.asked.insert(peer.clone());
        let saves = self.importer.is_some() && self.save(&peer);
        changed || first || saves
    }

    /// Stores what is known of a peer for a restart; returns true if that differs from what was
    /// stored.
    fn save(&mut self, peer: &PeerName) -> bool {
        let Some(knowledge) = self.compiler.knowledge.get(peer) else { return false };
        let saved = self.saved.get(peer).map(|saved| saved.knowledge.as_ref());
        let worth = knowledge.needs_saving(saved, &self.compiler.times());
        if worth {
            self.saved.insert(peer.clone(), Saved::new(knowledge));
        }
        worth
    }

    /// Compiles the inputs, and hands on the result. Returns when the result will change without
    /// any new input.
    #[tracing::instrument(name = "compile", skip_all)]
    pub(super) fn compile(&mut self, now: Timestamp) -> Option<Timestamp> {
        let presented = self.certificates.presented.borrow().clone();
        let observed = Observed { presented, ..self.sources.observed() };
        let stored = observed.published();
        let knows_table = self.outputs.knows_table(&self.settings.namespaces);
        let there = self.outputs.table(&self.settings.namespaces);
        match (self.leadership.leads(), self.importer.is_some()) {
            (true, false) if knows_table => {
                self.begin_to_lead(&observed, stored.clone(), there.as_deref())
            }
            (true, true) => self.outgrow(there.as_deref()),
            _ => self.follow(&observed, stored.clone()),
        }
        self.outgrow_rollbacks();
        let secret = self.sources.identity();
        if self.identity.follow(secret.as_ref()) {
            tracing::info!("the keys of this cluster have changed");
            self.keyring.use_keys(self.identity.keys.clone());
        }
        let (mut cluster, mut findings) = observed.cluster(&self.settings, &self.identity);
        cluster.credentials.add(self.certificates.endpoint.borrow().clone());
        findings.extend(self.identity.replaced(&self.settings, now));
        findings.extend(self.identity.lost(secret.as_ref(), &self.settings));
        self.compiler.cluster = cluster;
        self.compiler.objects = observed.objects();
        self.compiler.objects.findings.extend(findings.iter().cloned());
        if self.importer.is_none() {
            // What a follower compiles has no effects.
            self.causes.clear();
        }
        let (mut federation, change) = self.compiler.compile_traced(now, &mut self.causes);
        if let Some(there) =
            there.filter(|there| self.importer.is_some() && looks_late(&self.compiler.table, there))
        {
            // No table could be built, so the one that another leader built last stays.
            self.compiler.table = there.as_ref().clone();
        }
        let taken = entries::taken(&observed.entries, &federation);
        // Findings are ordered by severity, errors first.
        let errors =
            federation.findings.partition_point(|finding| finding.severity <= Severity::Warning);
        federation.findings.splice(errors..errors, taken.iter().cloned());
        let findings = [findings, taken].concat();
        self.has_table |= federation.table.is_ok();
        let next = self.hand_on(&observed, (federation, change), findings, stored.as_ref(), now);
        // A leader that does not know the cluster's table yet begins as soon as it does.
        let waits = self.leadership.leads() && self.importer.is_none();
        next.into_iter().chain(now.checked_add(LISTED).ok().filter(|_| waits)).min()
    }

    /// Continues from what the last leader stored, and from the table that it left in the cluster.
    /// The table is written first, so its stored version may be older, or lost.
    fn begin_to_lead(
        &mut self,
        observed: &Observed,
        stored: Option<Published>,
        table: Option<&Table>,
    ) {
        self.follow(observed, stored);
        self.compiler.previous = std::mem::take(&mut self.compiler.previous).resumed(table);
        if self.leadership.began_after_gap() {
            self.renumber();
        }
        self.saved = self
            .compiler
            .knowledge
            .iter()
            .map(|(peer, knowledge)| (peer.clone(), Saved::new(knowledge)))
            .collect();
        self.asked.clear();
        let (settings, updates) = self.asking.clone();
        self.importer = Some(Importer::new(settings, updates));
    }

    /// Another leader may have written a table meanwhile, such as a deposed leader's last write:
    /// the next one must be newer.
    fn outgrow(&mut self, table: Option<&Table>) {
        if table.is_some() {
            self.compiler.previous = std::mem::take(&mut self.compiler.previous).resumed(table);
        }
    }

    /// Gateways and peers have seen the data that is lost now, and would take the same numbers for
    /// a replay.
    fn outgrow_rollbacks(&mut self) {
        let rollbacks = self.rollbacks.count();
        if self.importer.is_some() && std::mem::replace(&mut self.outgrown, rollbacks) != rollbacks
        {
            self.renumber();
        }
    }

    fn renumber(&mut self) {
        self.compiler.previous = std::mem::take(&mut self.compiler.previous).renumbered();
    }

    fn follow(&mut self, observed: &Observed, stored: Option<Published>) {
        if self.importer.take().is_some() {
            // From now on, this replica may differ from the next leader.
            self.differs_since = None;
        }
        self.outcomes.confirmations.clear();
        self.compiler.knowledge = observed.knowledge();
        self.compiler.previous = stored.unwrap_or_default();
    }

    /// What a follower serves: its own compilation, once the leader has published the same. If they
    /// differ for long, the two replicas have different settings, as in the middle of an upgrade.
    /// The follower then serves its own documents under the leader's versions: with a version of
    /// its own, the leader's would look like a replay. Returns when to look again.
    fn serve(
        &mut self,
        federation: &Federation,
        stored: Option<&Published>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if stored == Some(&federation.published) {
            self.differs_since = None;
            self.outcomes.published.send_replace(Arc::new(exporter::Published::of(federation)));
            return None;
        }
        let stored = stored?;
        let since = *self.differs_since.get_or_insert(now);
        if now.duration_since(since) < DIFFERENCE {
            return since.checked_add(DIFFERENCE).ok();
        }
        tracing::warn!(
            "this replica publishes something other than the leader does; give all replicas the same flags"
        );
        self.outcomes.published.send_replace(Arc::new(exporter::Published::of(
            &under_versions_of(federation, stored),
        )));
        None
    }

    fn hand_on(
        &mut self,
        observed: &Observed,
        (federation, change): (Federation, Change),
        missing: Vec<Finding>,
        stored: Option<&Published>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut next = federation.next_change;
        if let Some(importer) = &mut self.importer {
            for gone in self.compiler.forget_removed_peers() {
                self.saved.remove(&gone);
            }
            self.differs_since = None;
            self.compiler.previous = federation.published.clone();
            importer.follow(&federation, &self.compiler.knowledge);
        } else {
            next = self.serve(&federation, stored, now).into_iter().chain(next).min();
        }
        let before = self.outcomes.newest.borrow().clone();
        let reported = before.as_ref().map(|before| before.in_force.federation.findings.as_slice());
        log_new(&federation.findings, reported);
        let generations = observed
            .federations
            .iter()
            .map(|(key, object)| (key.name.clone(), object.generation))
            .collect();
        let federated_generations = observed
            .federated_services
            .iter()
            .map(|(key, object)| (key.clone(), object.generation))
            .collect();
        let service_exports = observed.service_exports.iter().map(|(key, object)| {
            let has_service = observed.services.contains_key(key);
            (key.clone(), CompiledExport { generation: object.generation, has_service })
        });
        let in_force = InForce {
            local: self.compiler.cluster.clone(),
            federation,
            table: self.compiler.table.clone(),
            egress: None,
            named: BTreeMap::new(),
            running: None,
            member_health: Default::default(),
            findings: Vec::new(),
            confirmations: self.outcomes.confirmations.clone(),
        };
        self.outcomes.newest.send_replace(Some(Arc::new(Compiled {
            in_force,
            as_leader: self.importer.is_some(),
            missing,
            has_table: self.has_table,
            generations,
            pods: observed.pods_by_name(),
            federated_generations,
            service_exports: service_exports.collect(),
            uids: observed.uids(),
            knowledge: self.compiler.knowledge.clone(),
            saved: self.saved.clone(),
            asked: self.asked.clone(),
            change,
        })));
        next
    }
}

/// The same documents under the sequences that the leader gave them.
fn under_versions_of(federation: &Federation, stored: &Published) -> Federation {
    let mut federation = federation.clone();
    for (peer, document) in &mut federation.private_documents {
        let extension = Arc::make_mut(document).extension.as_mut();
        if let (Some(extension), Some(version)) = (extension, stored.documents.get(peer)) {
            extension.sequence = version.sequence;
        }
    }
    if let Some(version) = &stored.bundle {
        federation.spiffe_bundle.sequence = version.sequence;
    }
    if let Some(version) = &stored.public {
        federation.published.public = Some(version.clone());
    }
    federation
}
