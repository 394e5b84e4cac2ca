//! Writes objects one by one: decides what to do about each, does it, and records the result.

use super::{Pass, RETRY, Remembered, Writer, key};
use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::metrics::Verb;
use crate::replica::compiled::Compiled;
use crate::sinks::apply::{self, Applied};
use crate::sinks::corrections::CONTESTED;
use crate::sinks::object::Desired;
use crate::sinks::plan::{Step, step, unwanted};
use crate::sinks::{addresses, bindings, federated, imports, passthrough, pods, service_imports};
use crate::sources::passthrough::CURE;
use fedgate_engine::in_force::InForce;
use fedgate_envoy::NamedHosts;
use fedgate_federation::{Finding, FindingReason};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How many objects are written at once.
const AT_ONCE: usize = 16;
/// How many objects are created in memory before they are written.
const BATCH: usize = 512;
/// A batch that takes longer makes way for a newer compilation.
const LONG: Duration = Duration::from_secs(5);

impl Writer {
    pub(super) async fn write_one(
        &self,
        desired: &Desired,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        pass.wanted.add(desired);
        if let Some(todo) = self.todo(desired, remembered, pass) {
            let done = self.carry_out(desired, todo).await;
            self.done(desired, done, remembered, pass);
        }
    }

    /// Makes the workloads of Services with TLS passthrough trust the peers' roots.
    ///
    /// A failed write affects only its own Service, which is not announced before it succeeds. So
    /// it does not stop the pass; the caller reports the returned findings at the end.
    pub(super) async fn prepare_passthrough(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> Vec<Finding> {
        let InForce { local, federation, .. } = &compiled.in_force;
        let others = std::mem::take(&mut pass.findings);
        for desired in passthrough::objects(&self.settings, local, federation) {
            self.write_one(&desired, remembered, pass).await;
        }
        let own = std::mem::replace(&mut pass.findings, others);
        own.into_iter().map(with_cure).collect()
    }

    /// Gives the gateway a cluster for each Pod that is exported by name, before peers hear of it.
    ///
    /// As with passthrough, a failed write affects only its own Pod. The caller reports the returned
    /// findings at the end.
    pub(super) async fn write_pods(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> Vec<Finding> {
        let others = std::mem::take(&mut pass.findings);
        let objects = pods::objects(&self.settings, &compiled.in_force.federation, &compiled.pods);
        self.write_all_of(objects, remembered, pass).await;
        std::mem::replace(&mut pass.findings, others)
    }

    /// Returns true if everything was written; a newer compilation stops it. Removed names and
    /// routes are deleted first, and new names are written last. So at no moment does a host exist
    /// without a binding to its owner's roots, or a federated name without its members.
    pub(super) async fn write_imports(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> bool {
        let federation = &compiled.in_force.federation;
        let (settings, imports, bundles) =
            (&self.settings, &federation.imports, &federation.bundles);
        for import in imports.iter().filter(|import| bundles.contains_key(&import.trust_domain)) {
            pass.wanted.add_name(
                Kind::ServiceEntry,
                settings.namespaces.imports(),
                import.service.host.as_str(),
            );
        }
        let services = federation.federated_services.as_slice();
        for named in federated::names(settings, services, &BTreeMap::new()) {
            pass.wanted.add(&named);
        }
        let first = |kind| matches!(kind, Kind::ServiceEntry | Kind::VirtualService);
        self.delete(compiled, pass, first).await;
        let found = remembered.addresses.assigned();
        pass.findings.extend(addresses::missing(settings, NamedHosts::of(federation), &found));
        self.write_each(bindings::objects(settings, imports, bundles), remembered, pass).await
            && self
                .write_each(imports::objects(settings, imports, bundles, &found), remembered, pass)
                .await
            && self.write_each(federated::filters(settings, services), remembered, pass).await
            && self
                .write_in_turn(federated::names(settings, services, &found), remembered, pass)
                .await
    }

    /// Writes the ServiceImports and their status, once the cluster has their definition.
    pub(super) async fn write_service_imports(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        if self.outputs.has_service_imports() {
            let objects = service_imports::objects(&self.settings, &compiled.in_force.federation);
            self.write_all_of(objects, remembered, pass).await;
            self.write_import_statuses(compiled, remembered, pass).await;
        }
    }

    /// Writes objects one after another, because each may depend on the one before. Returns true if
    /// all were written; a newer compilation stops it.
    async fn write_in_turn(
        &self,
        objects: impl Iterator<Item = Desired>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> bool {
        for desired in objects {
            if self.is_superseded() || !self.leadership.leads() {
                return false;
            }
            self.write_one(&desired, remembered, pass).await;
        }
        true
    }

    /// Returns true if all objects were written; a newer compilation stops it. Creates them in
    /// batches, because all of them together may take hundreds of megabytes.
    async fn write_each(
        &self,
        mut objects: impl Iterator<Item = Desired>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) -> bool {
        loop {
            let batch = self.next_batch(&mut objects, remembered, pass);
            if batch.is_empty() {
                return true;
            }
            if self.is_superseded() || !self.leadership.leads() {
                return false;
            }
            self.write_batch(batch, remembered, pass).await;
        }
    }

    /// Writes objects that do not depend on each other. Writes all of them, even after a newer
    /// compilation.
    pub(super) async fn write_all_of(
        &self,
        mut objects: impl Iterator<Item = Desired>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        loop {
            let batch = self.next_batch(&mut objects, remembered, pass);
            if batch.is_empty() {
                return;
            }
            self.write_batch(batch, remembered, pass).await;
        }
    }

    /// Writes a batch. Once it takes long and a newer compilation exists, no further writes begin.
    async fn write_batch(
        &self,
        batch: Vec<(Desired, Step)>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let began = Instant::now();
        let writes = stream::iter(batch).map(|(desired, todo)| async move {
            if began.elapsed() > LONG && self.is_superseded() {
                return (desired, Ok(None));
            }
            let done = self.carry_out(&desired, todo).await;
            (desired, done)
        });
        let done: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
        for (desired, done) in done {
            self.done(&desired, done, remembered, pass);
        }
    }

    /// Returns true if there is a newer compilation.
    pub(super) fn is_superseded(&self) -> bool {
        self.newest.has_changed().unwrap_or(true)
    }

    /// The next objects that need a write; skips those that are as wanted.
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

    /// What to do about an object now.
    fn todo(&self, desired: &Desired, remembered: &Remembered, pass: &mut Pass) -> Option<Step> {
        let key = key(desired);
        let output = self.outputs.of(desired.kind, &desired.namespace)?;
        match step(desired, output.watched.get(&key), self.settings.namespaces.own())? {
            Step::Foreign => {
                pass.findings.push(apply::conflict(
                    desired,
                    "an object with this name exists without fedgate's label",
                ));
                None
            }
            Step::Update(found) => {
                match remembered.corrections.not_before(desired.kind, &key, desired.fingerprint) {
                    None => Some(Step::Update(found)),
                    Some(then) => {
                        pass.again_at(then);
                        None
                    }
                }
            }
            Step::Create => Some(Step::Create),
        }
    }

    async fn carry_out(&self, desired: &Desired, todo: Step) -> kube::Result<Option<Applied>> {
        let Some(output) = self.outputs.of(desired.kind, &desired.namespace) else {
            return Ok(None);
        };
        if !self.leadership.leads() {
            return Ok(None);
        }
        match todo {
            Step::Create => {
                self.metrics.write(desired.kind, Verb::Create);
                apply::create(&output, desired, self.settings.namespaces.own()).await.map(Some)
            }
            Step::Update(found) => {
                self.metrics.write(desired.kind, Verb::Apply);
                apply::update(&output, desired, &found.uid).await.map(Some)
            }
            Step::Foreign => Ok(None),
        }
    }

    fn done(
        &self,
        desired: &Desired,
        done: kube::Result<Option<Applied>>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        match done {
            Ok(None) => {}
            Ok(Some(Applied::Conflict(finding))) => {
                pass.findings.push(finding);
                pass.again_at(Instant::now() + RETRY * 15);
            }
            Ok(Some(applied)) => {
                tracing::debug!(
                    kind = desired.kind.name(),
                    namespace = desired.namespace,
                    name = desired.name,
                    "written"
                );
                if matches!(applied, Applied::Corrected) {
                    let count = remembered.corrections.corrected(
                        desired.kind,
                        &key(desired),
                        desired.fingerprint,
                    );
                    if count >= CONTESTED {
                        pass.findings.push(apply::contested(desired));
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

    /// Deletes objects of these kinds that are no longer wanted.
    pub(super) async fn delete(
        &self,
        compiled: &Compiled,
        pass: &mut Pass,
        kinds: impl Fn(Kind) -> bool,
    ) {
        let mut gone =
            unwanted(&self.outputs, &pass.wanted, &self.settings.namespaces, &compiled.unheard());
        gone.retain(|(kind, ..)| kinds(*kind));
        let deletions = stream::iter(gone).map(|(kind, key, found)| async move {
            let output =
                self.outputs.of(kind, &key.namespace).filter(|_| self.leadership.leads())?;
            self.metrics.write(kind, Verb::Delete);
            tracing::debug!(
                kind = kind.name(),
                namespace = key.namespace,
                name = key.name,
                "deleting an object that is no longer wanted"
            );
            apply::delete(&output, &key, &found).await.err().map(|error| (kind, key, error))
        });
        let failed: Vec<_> =
            deletions.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        for (kind, key, error) in failed {
            self.metrics.failed_write(kind);
            let (kind, Key { namespace, name }) = (kind.name(), key);
            tracing::warn!(
                "{kind} {namespace}/{name} cannot be deleted, trying again: {}",
                describe(&error)
            );
            pass.again_at(Instant::now() + RETRY);
        }
    }
}

fn with_cure(finding: Finding) -> Finding {
    match finding.reason {
        FindingReason::NotWritten => {
            Finding { message: format!("{}; {CURE}", finding.message), ..finding }
        }
        _ => finding,
    }
}
