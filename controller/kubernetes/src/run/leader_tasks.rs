//! The tasks that work only while this replica leads: they ask the gateway's Pods, keep the history
//! of changes, and write.

use crate::leader::changes::Keeper;
use crate::leader::election::Leadership;
use crate::loaded::{Loaded, TablePoller};
use crate::metrics::Metrics;
use crate::module::Module;
use crate::presented::{CertificatePoller, Presented};
use crate::replica::as_leader::AsLeader;
use crate::replica::compiled::Compiled;
use crate::settings::ControllerSettings;
use crate::sinks::object::Desired;
use crate::sinks::outputs::Outputs;
use crate::sinks::{events, writer::Writer};
use crate::sources::{Sources, Wakes};
use fedgate_exchange::exporter;
use fedgate_process::tasks::Tasks;
use kube::Client;
use std::sync::Arc;
use tokio::sync::watch;

/// What these tasks have in common.
pub(super) struct LeaderTasks<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a Arc<ControllerSettings>,
    pub(super) sources: &'a Sources,
    pub(super) wakes: &'a Wakes,
    pub(super) leadership: &'a Leadership,
    /// The newest compilation.
    pub(super) newest: &'a watch::Receiver<Option<Arc<Compiled>>>,
    pub(super) metrics: &'a Metrics,
    pub(super) tasks: &'a mut Tasks,
}

impl LeaderTasks<'_> {
    fn as_leader(&self) -> AsLeader {
        AsLeader::new(self.newest.clone(), self.leadership.clone())
    }

    /// Starts asking the gateway's Pods which certificate they present. Returns their answers.
    pub(super) fn poll_certificates(&mut self) -> watch::Receiver<Option<Presented>> {
        let (sender, presented) = watch::channel(None);
        let poller = CertificatePoller::new(self.settings, self.sources, self.as_leader());
        self.tasks.spawn("the check of the gateway's certificates", poller.run(sender));
        presented
    }

    /// Starts asking the gateway's Pods which table they have. Returns what follows from their
    /// answers.
    fn poll_tables(&mut self) -> Loaded {
        let loaded = Loaded::default();
        let poller = TablePoller {
            pods: self.sources.pods().clone(),
            as_leader: self.as_leader(),
            loaded: loaded.clone(),
            wake: Arc::clone(&self.wakes.outputs),
            metrics: self.metrics.clone(),
        };
        self.tasks.spawn("the check of the gateway's tables", poller.run());
        loaded
    }

    /// Starts keeping the history of changes. Returns the object to write it to.
    fn keep_changes(&mut self) -> watch::Receiver<Option<Arc<Desired>>> {
        let (kept, changes) = watch::channel(None);
        let keeper = Keeper {
            client: self.client.clone(),
            settings: Arc::clone(self.settings),
            as_leader: self.as_leader(),
            leadership: self.leadership.clone(),
            kept,
            wake: Arc::clone(&self.wakes.outputs),
        };
        self.tasks.spawn("the history of changes", keeper.run());
        changes
    }

    /// Starts the writer, and what it waits for.
    pub(super) fn write(
        &mut self,
        outputs: Arc<Outputs>,
        module: Option<Module>,
        published: watch::Sender<Arc<exporter::Published>>,
    ) {
        let (events, write_events) = events::start(self.client.clone(), self.settings);
        self.tasks.spawn("the writer of Events", write_events);
        let (loaded, changes) = (self.poll_tables(), self.keep_changes());
        let writer = Writer {
            settings: Arc::clone(self.settings),
            client: self.client.clone(),
            outputs,
            module,
            pods: self.sources.pods().clone(),
            loaded,
            federations: self.sources.federations().clone(),
            federated_services: self.sources.federated_services().clone(),
            service_exports: self.sources.watched_service_exports().cloned(),
            service_imports: self.sources.service_imports().cloned(),
            leadership: self.leadership.clone(),
            newest: self.newest.clone(),
            changed: Arc::clone(&self.wakes.outputs),
            compile: Arc::clone(&self.wakes.inputs),
            published,
            changes,
            events,
            metrics: self.metrics.clone(),
        };
        self.tasks.spawn("the writer", writer.run());
    }
}
