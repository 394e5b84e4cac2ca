//! Writes the statuses of the objects that operators and owners of Services have written.

use super::{Pass, RETRY, Remembered, Writer};
use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::watch::{Key, Watched};
use crate::metrics::Verb;
use crate::replica::compiled::Compiled;
use crate::sinks::statuses::{self, Kept, OfGateway};
use crate::sinks::{events, service_exports, service_imports};
use crate::status::DesiredStatus;
use fedgate_federation::Finding;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use tokio::time::Instant;

impl Writer {
    pub(super) async fn write_statuses(
        &self,
        compiled: &Compiled,
        of_gateway: &OfGateway<'_>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let api = Kind::IstioFederation.everywhere(&self.client);
        let kept = &mut remembered.kept.federations;
        let objects = self.federations.all();
        let todo = statuses::to_write(compiled, of_gateway, &objects, kept, Timestamp::now());
        for (key, wanted) in todo {
            if !self.leadership.leads() {
                return;
            }
            self.metrics.write(Kind::IstioFederation, Verb::Apply);
            if let Err(error) = self.write_status(&api, &key, &wanted, kept).await {
                self.metrics.failed_write(Kind::IstioFederation);
                tracing::warn!(
                    peer = key.name,
                    "the status cannot be written, trying again: {}",
                    describe(&error)
                );
                pass.again_at(Instant::now() + RETRY);
            }
        }
    }

    async fn write_status(
        &self,
        api: &kube::Api<DynamicObject>,
        key: &Key,
        wanted: &DesiredStatus,
        kept: &mut Kept,
    ) -> kube::Result<()> {
        let sent = self.federations.sending();
        let Some(object) = statuses::write(api, key, wanted, kept).await? else { return Ok(()) };
        let uid = object.uid().unwrap_or_default();
        for transition in &wanted.transitions {
            if let Some(event) = events::of_transition(&key.name, &uid, transition) {
                self.events.queue(event);
            }
        }
        // The whole status is ours; any other difference comes from someone else.
        self.federations.wrote(sent, object, |_| true);
        Ok(())
    }

    pub(super) async fn write_federated_statuses(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let (watched, kept) = (&self.federated_services, &mut remembered.kept.federated_services);
        let todo = statuses::federated_to_write(compiled, &watched.all(), kept, Timestamp::now());
        for (key, wanted) in todo {
            if !self.leadership.leads() {
                return;
            }
            self.write_namespaced((Kind::FederatedService, watched), &key, &wanted, kept, pass)
                .await;
        }
    }

    /// Anyone may have many of these objects, so a newer compilation does not wait for all of them.
    pub(super) async fn write_export_statuses(
        &self,
        compiled: &Compiled,
        too_large: Option<&Finding>,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let Some(watched) = &self.service_exports else { return };
        let kept = &mut remembered.kept.service_exports;
        let objects = watched.all();
        let todo = service_exports::to_write(compiled, too_large, &objects, kept, Timestamp::now());
        for (key, wanted) in todo {
            if !self.leadership.leads() {
                return;
            }
            self.write_namespaced((Kind::ServiceExport, watched), &key, &wanted, kept, pass).await;
            if self.is_superseded() {
                return;
            }
        }
    }

    pub(super) async fn write_import_statuses(
        &self,
        compiled: &Compiled,
        remembered: &mut Remembered,
        pass: &mut Pass,
    ) {
        let Some(watched) = &self.service_imports else { return };
        let kept = &mut remembered.kept.service_imports;
        let federation = &compiled.in_force.federation;
        let todo = service_imports::to_write(federation, &watched.all(), kept, Timestamp::now());
        for (key, wanted) in todo {
            if !self.leadership.leads() {
                return;
            }
            self.write_namespaced((Kind::ServiceImport, watched), &key, &wanted, kept, pass).await;
        }
    }

    async fn write_namespaced<T: Clone + PartialEq + Send + 'static>(
        &self,
        (kind, watched): (Kind, &Watched<T>),
        key: &Key,
        wanted: &DesiredStatus,
        kept: &mut Kept,
        pass: &mut Pass,
    ) {
        self.metrics.write(kind, Verb::Apply);
        let api = kind.within(&self.client, &key.namespace);
        let sent = watched.sending();
        match statuses::write(&api, key, wanted, kept).await {
            Ok(None) => {}
            Ok(Some(object)) => watched.wrote(sent, object, |_| true),
            Err(error) => {
                self.metrics.failed_write(kind);
                tracing::warn!(
                    namespace = key.namespace,
                    name = key.name,
                    "the status of a {} cannot be written, trying again: {}",
                    kind.name(),
                    describe(&error)
                );
                pass.again_at(Instant::now() + RETRY);
            }
        }
    }
}
