//! The leader's task that writes the result of a compilation into the cluster.
//!
//! ```text
//! newest ──► gateway's objects ──► workloads, Pods ──► memory ──► exporter ──► statuses ──► imports ──► deletions
//! ```
//!
//! The order has three effects. A service is announced only after the gateway knows it. A version
//! is served only after it is stored for a restart. A removed peer loses its table row and its
//! roots before its imports.
//!
//! A newer compilation makes the writer start over. The writer writes only what differs, so it
//! skips what the last pass has written.

mod mounts;
mod objects;
mod statuses;

use super::addresses::Addresses;
use super::corrections::Corrections;
use super::events::{self, Events};
use super::gateway::{self, Shipping};
use super::memory;
use super::object::Desired;
use super::outputs::Outputs;
use super::plan::{Wanted, step};
use super::reserved::HostAddress;
use super::statuses::{Kept, OfGateway};
use super::table::{InObject, looks_late};
use crate::api::kind::Kind;
use crate::api::watch::{Key, Watched};
use crate::leader::election::Leadership;
use crate::loaded::Loaded;
use crate::metrics::Metrics;
use crate::module::{MODULES, Module};
use crate::replica::compiled::Compiled;
use crate::settings::ControllerSettings;
use crate::sinks::gateway::table_object;
use crate::sources::federated::FederatedObject;
use crate::sources::federation::FederationObject;
use crate::sources::mcs::McsObject;
use crate::sources::memory::{CHANGES, ClusterRecord};
use crate::sources::pod::GatewayPod;
use fedgate_engine::in_force::InForce;
use fedgate_envoy::FilterKind;
use fedgate_exchange::exporter;
use fedgate_federation::federate::{Condition, ConditionStatus};
use fedgate_federation::{Finding, FindingReason, ObjectRef, Severity};
use fedgate_process::clock::until;
use fedgate_trace::Change;
use jiff::Timestamp;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The writer.
pub(crate) struct Writer {
    /// The settings.
    pub settings: Arc<ControllerSettings>,
    /// The client of the API server.
    pub client: Client,
    /// The existing objects.
    pub outputs: Arc<Outputs>,
    /// The filter that ships with this program; `None` if the operator provides it.
    pub module: Option<Module>,
    /// The gateway's Pods.
    pub pods: Watched<GatewayPod>,
    /// Which table the Pods have.
    pub loaded: Loaded,
    /// The objects whose status is written.
    pub federations: Watched<FederationObject>,
    /// The same, for the federated names.
    pub federated_services: Watched<FederatedObject>,
    /// The same, for the exports by the Multi-Cluster Services API; `None` if they do not count.
    pub service_exports: Option<Watched<McsObject>>,
    /// The same, for our own objects of that API; `None` if they are not written.
    pub service_imports: Option<Watched<McsObject>>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// The newest compilation.
    pub newest: watch::Receiver<Option<Arc<Compiled>>>,
    /// Notified when an object that we write has changed.
    pub changed: Arc<Notify>,
    /// Notifies the replica that it has to compile again.
    pub compile: Arc<Notify>,
    /// What the exporter serves.
    pub published: watch::Sender<Arc<exporter::Published>>,
    /// The ConfigMap with what happened, once it is known.
    pub changes: watch::Receiver<Option<Arc<Desired>>>,
    /// The queue of Events.
    pub events: Events,
    /// The metrics.
    pub metrics: Metrics,
}

/// What the writer remembers from one pass to the next.
#[derive(Default)]
struct Remembered {
    addresses: Addresses,
    corrections: Corrections,
    kept: KeptStatuses,
    reported: BTreeSet<Finding>,
    /// What the exporter serves. A pass that only corrects an object need not publish all documents
    /// again.
    served: Weak<Compiled>,
    /// What has been written as a whole. Later passes only correct it, and have no trace.
    finished: Weak<Compiled>,
    /// The last table in the cluster because of which a compilation was skipped: the gateway would
    /// have taken the compiled one for older.
    outgrown: Option<InObject>,
}

/// What the API server kept of the statuses, by kind.
#[derive(Default)]
struct KeptStatuses {
    federations: Kept,
    federated_services: Kept,
    service_exports: Kept,
    service_imports: Kept,
}

impl Remembered {
    /// The trace of what is written, until all of it has been written once.
    fn change_of(&self, compiled: &Arc<Compiled>) -> Change {
        match self.finished.ptr_eq(&Arc::downgrade(compiled)) {
            true => Change::default(),
            false => compiled.change.clone(),
        }
    }
}

/// The results of a pass.
#[derive(Default)]
struct Pass {
    wanted: Wanted,
    findings: Vec<Finding>,
    /// When to run again, even without a change.
    again: Option<Instant>,
}

impl Pass {
    /// Returns true if an object could not be written.
    fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.reason == FindingReason::NotWritten)
    }

    fn again_at(&mut self, then: Instant) {
        self.again = Some(self.again.map_or(then, |again| again.min(then)));
    }
}

/// The gateway has a newer table, so a new compilation has to come first.
struct Overtaken;

impl Writer {
    /// Runs until the sender of compilations is gone.
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
                remembered.addresses = Addresses::default();
                // The leader reports the findings. If this replica leads next, it does not report
                // them again.
                remembered.served = Weak::new();
                remembered.reported =
                    compiled.in_force.federation.findings.iter().cloned().collect();
                continue;
            }
            if !compiled.as_leader {
                continue;
            }
            if !self.outputs.missing().is_empty() {
                again = Some(Instant::now() + RETRY);
                continue;
            }
            let leadership = self.leadership.clone();
            again = tokio::select! {
                again = self.pass(&compiled, &mut remembered) => again,
                () = leadership.ended() => {
                    tracing::warn!("this replica no longer leads: the next leader finishes what it was writing");
                    None
                }
            };
        }
    }

    /// Runs one pass; returns when the next one is due, even without a change.
    #[tracing::instrument(name = "reconcile", skip_all, fields(generation = compiled.in_force.table.generation()))]
    async fn pass(&self, compiled: &Arc<Compiled>, remembered: &mut Remembered) -> Option<Instant> {
        let _timer = self.metrics.pass();
        let mut pass = Pass::default();
        let whole = self.write_all(compiled, remembered, &mut pass).await;
        for finding in pass.findings.iter().filter(|finding| !remembered.reported.contains(finding))
        {
            match finding.severity {
                Severity::Info => tracing::info!(reason = finding.reason.word(), "{finding}"),
                Severity::Warning => tracing::warn!(reason = finding.reason.word(), "{finding}"),
                Severity::Error => tracing::error!(reason = finding.reason.word(), "{finding}"),
            }
        }
        if whole {
            self.metrics.show_findings(&pass.findings);
            let findings = news(compiled).chain(&pass.findings);
            let new = events::of_findings(
                findings,
                &mut remembered.reported,
                &self.settings,
                &compiled.uids,
            );
            new.into_iter().for_each(|event| self.events.queue(event));
        }
        pass.again
    }

    /// Returns true if it got to the end. A newer compilation, or a failure on which the rest
    /// depends, stops it.
    async fn write_all(
        &self,
        compiled: &Arc<Compiled>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> bool {
        let change = remembered.change_of(compiled);
        let step = change.step("write gateway");
        let Ok(too_large) = self.write_gateway(compiled, remembered, pass).await else {
            return false;
        };
        drop(step);
        let step = change.step("store");
        let unprepared = self.prepare_passthrough(compiled, remembered, pass).await;
        let unreachable = self.write_pods(compiled, remembered, pass).await;
        let state = self.remember(compiled, remembered, pass).await;
        drop(step);
        if pass.has_failed() || !self.leadership.leads() {
            return false;
        }
        let step = change.step("publish");
        self.serve(compiled, &state, remembered);
        let unkept = self.write_changes(remembered, pass).await;
        drop(step);
        let step = change.step("write statuses");
        let of_gateway =
            OfGateway { too_large: too_large.as_ref(), loaded: self.loaded.condition() };
        pass.findings.extend(
            of_gateway.loaded.as_ref().and_then(|loaded| not_loaded(loaded, &self.settings)),
        );
        self.write_statuses(compiled, &of_gateway, remembered, pass).await;
        drop(step);
        let step = change.step("write imports");
        if !self.write_imports(compiled, remembered, pass).await {
            return false;
        }
        self.write_federated_statuses(compiled, remembered, pass).await;
        self.write_service_imports(compiled, remembered, pass).await;
        self.write_export_statuses(compiled, too_large.as_ref(), remembered, pass).await;
        pass.findings.extend(unprepared);
        pass.findings.extend(unreachable);
        pass.findings.extend(unkept);
        self.delete(compiled, pass, |_| true).await;
        drop(step);
        remembered.finished = Arc::downgrade(compiled);
        change.end();
        true
    }

    /// Writes what the gateway needs: the filter, its table, the roots and the listener. Returns
    /// the finding about a table that is too large.
    async fn write_gateway(
        &self,
        compiled: &Arc<Compiled>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> Result<Option<Finding>, Overtaken> {
        let InForce { local, federation, table, .. } = &compiled.in_force;
        let table = compiled.has_table.then_some(table);
        let shipping = self.shipping(pass);
        let (objects, too_large) =
            gateway::objects(&self.settings, local, federation, table, &shipping);
        pass.findings.extend(too_large.clone());
        let awaits_first_answer = compiled.awaits_first_answer();
        for desired in &objects {
            if awaits_first_answer
                && desired.name == gateway::TRUST_BUNDLE
                && self.is_there(desired)
            {
                // The roots of a peer that has not been asked yet must stay in the gateway.
                pass.wanted.add(desired);
                continue;
            }
            if self.is_overtaken(desired, compiled, remembered) {
                self.compile.notify_one();
                return Err(Overtaken);
            }
            if desired.name == MODULES && shipping.drops && pass.has_failed() {
                // The existing table may name the module that is to be dropped.
                pass.wanted.add(desired);
                continue;
            }
            self.write_one(desired, remembered, pass).await;
        }
        if !pass.has_failed() {
            self.bring_mounts_up_to_date(pass).await;
        }
        Ok(too_large)
    }

    /// Decides what to do about the filter's module.
    fn shipping(&self, pass: &mut Pass) -> Shipping {
        let (settings, now) = (&self.settings, Timestamp::now());
        let Some(own) = &self.module else {
            return Shipping::by_operator(
                settings.gateway.filter_module.as_deref().unwrap_or_default(),
            );
        };
        let key =
            Key { namespace: settings.namespaces.gateway().to_owned(), name: MODULES.to_owned() };
        let output = self.outputs.of(Kind::ConfigMap, settings.namespaces.gateway());
        let shipped =
            output.and_then(|output| output.watched.get(&key)?.shipped).unwrap_or_default();
        let mut shipping = Shipping::of(
            own,
            (&settings.gateway, &settings.namespaces),
            &shipped,
            &self.pods.all(),
            now,
        );
        if settings.namespaces.delivery.filter() == FilterKind::Native {
            shipping = shipping.beside_native(settings.gateway.native_filter_url());
        }
        pass.findings.extend(shipping.held_back.clone());
        if let Some(then) = shipping.again {
            pass.again_at(
                Instant::now() + Duration::try_from(then.duration_since(now)).unwrap_or(RETRY),
            );
        }
        shipping
    }

    fn is_there(&self, desired: &Desired) -> bool {
        let output = self.outputs.of(desired.kind, &desired.namespace);
        output.is_some_and(|output| output.watched.get(&key(desired)).is_some())
    }

    /// Stores what a restart begins from. Returns the object with the versions of what is
    /// published.
    async fn remember(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> Desired {
        let namespaces = &self.settings.namespaces;
        let removed = self.assign_addresses(compiled, remembered);
        let none = HostAddress::new();
        let peers = compiled.saved.iter().map(|(peer, saved)| {
            let removed = removed.get(saved.knowledge.trust_domain.as_str()).unwrap_or(&none);
            memory::peer(namespaces, peer, &saved.packed, removed)
        });
        self.write_all_of(peers, remembered, pass).await;
        let record = ClusterRecord::of(&compiled.in_force.local, &self.settings, &compiled.missing);
        let state = memory::state(namespaces, &compiled.in_force.federation.published, &record);
        self.write_one(&state, remembered, pass).await;
        state
    }

    /// Assigns the addresses of imports, before ServiceEntries that remember them are deleted.
    /// Returns those of removed hosts, by their owner's trust domain.
    fn assign_addresses(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
    ) -> BTreeMap<String, HostAddress> {
        let namespaces = &self.settings.namespaces;
        let mut stored = Vec::new();
        if self.settings.import_addresses.is_some() {
            stored = self.outputs.addresses(namespaces);
            stored.extend(self.outputs.reserved(namespaces));
        }
        let federation = &compiled.in_force.federation;
        remembered.addresses.assign(&self.settings, federation, stored);
        remembered.addresses.of_removed()
    }

    /// Stores what happened. Nothing depends on it, so a failed write does not stop the pass; the
    /// caller reports the returned findings at the end.
    async fn write_changes(&self, remembered: &mut Remembered, pass: &mut Pass) -> Vec<Finding> {
        pass.wanted.add_name(Kind::ConfigMap, self.settings.namespaces.own(), CHANGES);
        let changes = self.changes.borrow().clone();
        let Some(changes) = changes else { return Vec::new() };
        let others = std::mem::take(&mut pass.findings);
        self.write_one(&changes, remembered, pass).await;
        std::mem::replace(&mut pass.findings, others)
    }

    /// Serves what was compiled, unless it is served already.
    ///
    /// Its versions must be the stored ones. Otherwise a replica that starts from an older object
    /// would serve a peer an earlier version, which the peer takes for a replay. The stored object
    /// may differ even if no write has failed: it may be someone else's, or its correction may be
    /// delayed.
    fn serve(&self, compiled: &Arc<Compiled>, state: &Desired, remembered: &mut Remembered) {
        if remembered.served.ptr_eq(&Arc::downgrade(compiled)) || !self.is_as(state) {
            return;
        }
        let (federation, before) = (&compiled.in_force.federation, self.published.borrow().clone());
        let published = exporter::Published::of_change(federation, &compiled.change, &before);
        self.published.send_replace(Arc::new(published));
        remembered.served = Arc::downgrade(compiled);
    }

    /// Returns true if the gateway would take the table for older than the one it has: another
    /// leader may have written one meanwhile, or an operator restored one.
    ///
    /// A new compilation then gives the table a higher generation. If that is impossible, the table
    /// is written anyway.
    fn is_overtaken(
        &self,
        desired: &Desired,
        compiled: &Compiled,
        remembered: &mut Remembered,
    ) -> bool {
        let has_table = (desired.kind, desired.name.as_str())
            == table_object(self.settings.namespaces.delivery);
        let there =
            self.outputs.table(&self.settings.namespaces).filter(|_| has_table).map(InObject);
        let there = there.filter(|there| looks_late(&compiled.in_force.table, &there.0));
        if there.is_none() || there == remembered.outgrown {
            return false;
        }
        remembered.outgrown = there;
        true
    }

    /// Returns true if the object exists and is as wanted.
    fn is_as(&self, desired: &Desired) -> bool {
        let output = self.outputs.of(desired.kind, &desired.namespace);
        let found = output.and_then(|output| output.watched.get(&key(desired)));
        step(desired, found, self.settings.namespaces.own()).is_none()
    }
}

/// The findings for Events, without those that rest on stored knowledge alone.
fn news(compiled: &Compiled) -> impl Iterator<Item = &Finding> {
    let pending = |finding: &Finding| {
        finding.object.kind == Kind::IstioFederation.name()
            && compiled.is_pending(&finding.object.name)
    };
    compiled.in_force.federation.findings.iter().filter(move |finding| !pending(finding))
}

/// The finding about a gateway that does not have the table. It is reported once, while the
/// condition appears on each peer.
pub(crate) fn not_loaded(loaded: &Condition, settings: &ControllerSettings) -> Option<Finding> {
    let (kind, name) = table_object(settings.namespaces.delivery);
    let namespace = Some(settings.namespaces.gateway().to_owned());
    let about = ObjectRef { namespace, ..ObjectRef::new(kind.name(), name) };
    let message = format!(
        "not every Pod of the gateway uses this table: {}; see the logs of that Pod and of istiod",
        loaded.message
    );
    (loaded.status == ConditionStatus::False)
        .then(|| Finding::warning(FindingReason::TableNotLoaded, about, "", message))
}

fn key(desired: &Desired) -> Key {
    Key { namespace: desired.namespace.clone(), name: desired.name.clone() }
}
