//! The leader's task that makes the cluster be as was compiled.
//!
//! ```text
//! newest ──► gateway's objects ──► memory ──► exporter ──► statuses ──► imports ──► deletions
//! ```
//!
//! In this order a service is announced only when the gateway knows it, a version is served only when a restart would know it, and a
//! peer that is gone loses its table row and roots before its imports. A newer compilation makes the writer begin again with it: what was
//! written by then is as it should be, and is passed over. Nothing is written that is so already.

use super::apply::{self, Applied};
use super::events::{self, Events};
use super::object::Desired;
use super::outputs::Outputs;
use super::pace::{CONTESTED, Corrections};
use super::plan::{Step, Wanted, step, unwanted};
use super::statuses::{self, Kept};
use super::{gateway, imports, memory};
use crate::exporter;
use crate::in_force::InForce;
use crate::kubernetes::client::told;
use crate::kubernetes::compiled::Compiled;
use crate::kubernetes::election::Leadership;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::metrics::{Metrics, Verb};
use crate::kubernetes::settings::ControllerSettings;
use crate::kubernetes::sources::federation::FederationObject;
use crate::kubernetes::sources::memory::ClusterRecord;
use crate::kubernetes::watch::{Key, Watched};
use arc_swap::ArcSwap;
use fedgate_federation::{Finding, FindingReason};
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// How many objects are written at once.
const AT_ONCE: usize = 16;
/// How many objects are made before they are written.
const BATCH: usize = 512;
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Everything that the writer needs.
pub(crate) struct Writer {
    /// The settings.
    pub settings: Arc<ControllerSettings>,
    /// The API server.
    pub client: Client,
    /// What is there.
    pub outputs: Outputs,
    /// The objects whose status is written.
    pub federations: Watched<FederationObject>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// What was compiled last.
    pub newest: watch::Receiver<Option<Arc<Compiled>>>,
    /// Woken when an object that we write was changed.
    pub changed: Arc<Notify>,
    /// What the exporter serves.
    pub published: Arc<ArcSwap<exporter::Published>>,
    /// Where Events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
}

/// What the writer remembers from one pass to the next.
#[derive(Default)]
struct Remembered {
    corrections: Corrections,
    kept: Kept,
    told: BTreeSet<Finding>,
}

/// How a pass ended.
#[derive(Default)]
struct Pass {
    wanted: Wanted,
    findings: Vec<Finding>,
    /// When to look again though nothing changes.
    again: Option<Instant>,
}

impl Pass {
    fn again_at(&mut self, then: Instant) {
        self.again = Some(self.again.map_or(then, |again| again.min(then)));
    }
}

impl Writer {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut remembered = Remembered::default();
        let mut again = None;
        loop {
            tokio::select! {
                changed = self.newest.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
                () = self.leadership.changed() => {}
                () = until(again) => {}
            }
            again = None;
            let newest = self.newest.borrow_and_update().clone();
            let Some(compiled) = newest else { continue };
            if !self.leadership.leads() {
                // The leader tells; should this replica lead next, it does not tell all of it again.
                remembered.told = compiled.in_force.federation.findings.iter().cloned().collect();
                continue;
            }
            if !compiled.as_leader {
                continue;
            }
            if !self.outputs.missing().is_empty() {
                again = Some(Instant::now() + RETRY);
                continue;
            }
            again = self.pass(&compiled, &mut remembered).await;
        }
    }

    /// One pass; when the next one is due though nothing changes.
    #[tracing::instrument(name = "reconcile", skip_all, fields(generation = compiled.in_force.table.generation()))]
    async fn pass(&self, compiled: &Compiled, remembered: &mut Remembered) -> Option<Instant> {
        let _timer = self.metrics.pass();
        let mut pass = Pass::default();
        let whole = self.write_all(compiled, remembered, &mut pass).await;
        for finding in pass.findings.iter().filter(|finding| !remembered.told.contains(finding)) {
            tracing::error!(reason = finding.reason.word(), "{finding}");
        }
        if whole {
            self.metrics.show_findings(&pass.findings);
            let findings = news(compiled).chain(&pass.findings);
            let happened = events::of_findings(findings, &mut remembered.told, &self.settings, &compiled.uids);
            happened.into_iter().for_each(|happened| self.events.tell(happened));
        }
        pass.again
    }

    /// Whether it got to the end: a newer compilation or a failure that the rest depends on stops it.
    async fn write_all(&self, compiled: &Compiled, remembered: &mut Remembered, pass: &mut Pass) -> bool {
        let InForce { local, federation, table, .. } = &compiled.in_force;
        let table = compiled.has_table.then_some(table);
        let (objects, too_large) = gateway::objects(&self.settings, local, &federation.bundles, table);
        pass.findings.extend(too_large.clone());
        for desired in &objects {
            if compiled.awaits_first_answer() && desired.name == gateway::TRUST_BUNDLE && self.is_there(desired) {
                // Roots of a peer that nobody has asked yet are not to be taken from the gateway.
                pass.wanted.add(desired);
                continue;
            }
            self.write_one(desired, remembered, pass).await;
        }
        for desired in self.memory(compiled) {
            self.write_one(&desired, remembered, pass).await;
        }
        if pass.findings.iter().any(|finding| finding.reason == FindingReason::NotWritten) {
            return false;
        }
        self.published.store(Arc::new(exporter::Published::of(federation)));
        self.write_statuses(compiled, too_large.as_ref(), remembered, pass).await;
        if !self.write_imports(compiled, remembered, pass).await {
            return false;
        }
        self.delete(compiled, pass).await;
        true
    }

    fn is_there(&self, desired: &Desired) -> bool {
        let output = self.outputs.of(desired.kind, &desired.namespace);
        output.is_some_and(|output| output.watched.get(&key(desired)).is_some())
    }

    fn memory(&self, compiled: &Compiled) -> Vec<Desired> {
        let places = &self.settings.places;
        let record = ClusterRecord::of(&compiled.in_force.local, &self.settings, &compiled.missing);
        let peers = compiled.saved.iter().map(|(peer, saved)| memory::peer(places, peer, &saved.packed));
        peers.chain([memory::state(places, &compiled.in_force.federation.published, &record)]).collect()
    }

    async fn write_one(&self, desired: &Desired, remembered: &mut Remembered, pass: &mut Pass) {
        pass.wanted.add(desired);
        if let Some(todo) = self.todo(desired, remembered, pass) {
            let done = self.carry_out(desired, todo).await;
            self.done(desired, done, remembered, pass);
        }
    }

    /// Whether everything was written; a newer compilation stops it. The objects are made batch by batch: all of them together may be
    /// hundreds of megabytes.
    async fn write_imports(&self, compiled: &Compiled, remembered: &mut Remembered, pass: &mut Pass) -> bool {
        let federation = &compiled.in_force.federation;
        let mut objects = imports::objects(&self.settings, &federation.imports, &federation.bundles);
        loop {
            let batch = self.next_batch(&mut objects, remembered, pass);
            if batch.is_empty() {
                return true;
            }
            if self.newest.has_changed().unwrap_or(true) {
                return false;
            }
            let writes = stream::iter(batch).map(|(desired, todo)| async {
                let done = self.carry_out(&desired, todo).await;
                (desired, done)
            });
            let done: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
            for (desired, done) in done {
                self.done(&desired, done, remembered, pass);
            }
        }
    }

    /// The next objects that something is to be done about; those before them are as they should be.
    fn next_batch(
        &self,
        objects: &mut impl Iterator<Item = Desired>,
        remembered: &Remembered,
        pass: &mut Pass,
    ) -> Vec<(Desired, Step)> {
        let todo = objects.filter_map(|desired| {
            pass.wanted.add(&desired);
            let todo = self.todo(&desired, remembered, pass)?;
            Some((desired, todo))
        });
        todo.take(BATCH).collect()
    }

    /// What is to be done about an object now.
    fn todo(&self, desired: &Desired, remembered: &Remembered, pass: &mut Pass) -> Option<Step> {
        let key = key(desired);
        let output = self.outputs.of(desired.kind, &desired.namespace)?;
        match step(desired, output.watched.get(&key), &self.settings.places.namespace)? {
            Step::Foreign => {
                pass.findings.push(apply::conflict(desired, "an object of this name is there without fedgate's label"));
                None
            }
            Step::Update(found) => match remembered.corrections.not_before(desired.kind, &key, desired.fingerprint) {
                None => Some(Step::Update(found)),
                Some(then) => {
                    pass.again_at(then);
                    None
                }
            },
            Step::Create => Some(Step::Create),
        }
    }

    async fn carry_out(&self, desired: &Desired, todo: Step) -> kube::Result<Option<(Applied, bool)>> {
        let Some(output) = self.outputs.of(desired.kind, &desired.namespace) else { return Ok(None) };
        if !self.leadership.leads() {
            return Ok(None);
        }
        match todo {
            Step::Create => {
                self.metrics.write(desired.kind, Verb::Create);
                apply::create(output, desired).await.map(|applied| Some((applied, false)))
            }
            Step::Update(found) => {
                self.metrics.write(desired.kind, Verb::Apply);
                apply::update(output, desired, &found).await?;
                Ok(Some((Applied::Written, true)))
            }
            Step::Foreign => Ok(None),
        }
    }

    fn done(
        &self,
        desired: &Desired,
        done: kube::Result<Option<(Applied, bool)>>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        match done {
            Ok(None) => {}
            Ok(Some((Applied::Conflict(finding), _))) => {
                pass.findings.push(finding);
                pass.again_at(Instant::now() + RETRY * 15);
            }
            Ok(Some((Applied::Written, corrected))) => {
                tracing::debug!(
                    kind = desired.kind.name(),
                    namespace = desired.namespace,
                    name = desired.name,
                    "written"
                );
                if corrected {
                    let count = remembered.corrections.corrected(desired.kind, &key(desired), desired.fingerprint);
                    if count >= CONTESTED {
                        pass.findings.push(contested(desired));
                    }
                }
            }
            Err(error) => {
                self.metrics.failed_write(desired.kind);
                pass.findings.push(apply::failed(&apply::object_ref(desired), &error));
                pass.again_at(Instant::now() + RETRY);
            }
        }
    }

    async fn write_statuses(
        &self,
        compiled: &Compiled,
        too_large: Option<&Finding>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let api = Kind::IstioFederation.everywhere(&self.client);
        for (key, wanted) in
            statuses::to_write(compiled, too_large, &self.federations.all(), &remembered.kept, Timestamp::now())
        {
            if !self.leadership.leads() {
                return;
            }
            self.metrics.write(Kind::IstioFederation, Verb::Apply);
            if let Err(error) = self.write_status(&api, &key, &wanted, &mut remembered.kept).await {
                self.metrics.failed_write(Kind::IstioFederation);
                tracing::warn!(peer = key.name, "the status cannot be written, and is tried again: {}", told(&error));
                pass.again_at(Instant::now() + RETRY);
            }
        }
    }

    async fn write_status(
        &self,
        api: &kube::Api<DynamicObject>,
        key: &Key,
        wanted: &crate::kubernetes::status::DesiredStatus,
        kept: &mut Kept,
    ) -> kube::Result<()> {
        let Some(object) = statuses::write(api, key, wanted, kept).await? else { return Ok(()) };
        for transition in &wanted.transitions {
            if let Some(happened) = events::of_transition(&key.name, &object.uid, transition) {
                self.events.tell(happened);
            }
        }
        self.federations.wrote(key.clone(), Some(object));
        Ok(())
    }

    async fn delete(&self, compiled: &Compiled, pass: &mut Pass) {
        let gone = unwanted(&self.outputs, &pass.wanted, &self.settings.places, &compiled.unheard());
        let deletions = stream::iter(gone).map(|(kind, key, found)| async move {
            let output = self.outputs.of(kind, &key.namespace).filter(|_| self.leadership.leads())?;
            self.metrics.write(kind, Verb::Delete);
            tracing::debug!(
                kind = kind.name(),
                namespace = key.namespace,
                name = key.name,
                "deleting what nobody wants any more"
            );
            apply::delete(output, &key, &found).await.err().map(|error| (kind, key, error))
        });
        let failed: Vec<_> = deletions.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        for (kind, key, error) in failed {
            self.metrics.failed_write(kind);
            let (kind, Key { namespace, name }) = (kind.name(), key);
            tracing::warn!("{kind} {namespace}/{name} cannot be deleted, and is tried again: {}", told(&error));
            pass.again_at(Instant::now() + RETRY);
        }
    }
}

/// The findings that are told by Events: not those about what is only known from before.
fn news(compiled: &Compiled) -> impl Iterator<Item = &Finding> {
    let pending = |finding: &Finding| {
        finding.object.kind == Kind::IstioFederation.name() && compiled.is_pending(&finding.object.name)
    };
    compiled.in_force.federation.findings.iter().filter(move |finding| !pending(finding))
}

fn contested(desired: &Desired) -> Finding {
    let message = "somebody else changes it again and again; it is put right less and less often. Find out who with \
                   `kubectl get --show-managed-fields`";
    Finding::warning(FindingReason::Contested, apply::object_ref(desired), "", message)
}

fn key(desired: &Desired) -> Key {
    Key { namespace: desired.namespace.clone(), name: desired.name.clone() }
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
