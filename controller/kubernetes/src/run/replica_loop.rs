//! The loop of a replica, with the tasks that work for it: watches in, compilations out.

use super::leader_tasks::LeaderTasks;
use super::{LEARNED, importer_settings};
use crate::identity::ClusterIdentity;
use crate::leader::election::{Election, Leadership};
use crate::metrics::Metrics as OwnMetrics;
use crate::module::Module;
use crate::probes::{BEAT, Health};
use crate::replica::compiled::Compiled;
use crate::replica::{Certificates, Outcomes, Replica};
use crate::settings::ControllerSettings;
use crate::sinks::outputs::Outputs;
use crate::sources::{Sources, Wakes};
use anyhow::Result;
use fedgate_engine::confirmations::Confirmations;
use fedgate_engine::metrics::Metrics;
use fedgate_exchange::exporter;
use fedgate_exchange::importer::PeerUpdate;
use fedgate_exchange::keyring::Keyring;
use fedgate_federation::credentials::Credentials;
use fedgate_process::schedule::CompileSchedule;
use fedgate_process::tasks::Tasks;
use fedgate_trace::Tracer;
use jiff::Timestamp;
use kube::Client;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

/// What a replica consists of.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) settings: Arc<ControllerSettings>,
    pub(crate) identity: ClusterIdentity,
    /// The keys that importer and exporter sign with.
    pub(crate) keyring: Keyring,
    /// What is known of the metadata endpoint's certificate in this Pod.
    pub(crate) endpoint: watch::Receiver<Credentials>,
    /// The filter that ships with this program; `None` if the operator provides it.
    pub(crate) module: Option<Module>,
    /// What the exporter serves.
    pub(crate) published: watch::Sender<Arc<exporter::Published>>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) own_metrics: OwnMetrics,
    pub(crate) tracer: Tracer,
}

/// A running replica. Dropping it stops its tasks at once.
pub(crate) struct ReplicaLoop {
    settings: Arc<ControllerSettings>,
    replica: Replica,
    outputs: Arc<Outputs>,
    tasks: Tasks,
    leadership: Leadership,
    certificates: Certificates,
    wakes: Wakes,
    learned: mpsc::Receiver<PeerUpdate>,
    compiled: watch::Receiver<Option<Arc<Compiled>>>,
    health: Health,
    metrics: Metrics,
    own_metrics: OwnMetrics,
}

impl ReplicaLoop {
    /// Starts its tasks. The caller has to run the election, which releases the Lease at the end.
    ///
    /// # Errors
    /// If an empty table cannot be built, which does not happen.
    pub(crate) fn start(parts: Parts) -> Result<(Self, Election)> {
        let Parts {
            client,
            settings,
            identity,
            keyring,
            endpoint,
            module,
            published,
            health,
            metrics,
            own_metrics,
            tracer,
        } = parts;
        let (wakes, mut tasks) = (Wakes::default(), Tasks::default());
        let sources = Sources::start(&client, &settings, &wakes, &mut tasks);
        let outputs = Arc::new(Outputs::start(&client, &settings, &wakes, &mut tasks));
        let replica_name = format!("{}_{}", settings.pod_name, uuid::Uuid::new_v4());
        let confirmations = Confirmations::default();
        let (election, leadership) =
            Election::new(&client, settings.namespaces.own(), replica_name, confirmations.clone());
        let rollbacks = wakes.rollbacks.clone();
        let election = election.noticing(rollbacks.clone());

        let (updates, learned) = mpsc::channel(LEARNED);
        let (newest, compiled) = watch::channel(None);
        let mut leader_tasks = LeaderTasks {
            client: &client,
            settings: &settings,
            sources: &sources,
            wakes: &wakes,
            leadership: &leadership,
            newest: &compiled,
            metrics: &own_metrics,
            tasks: &mut tasks,
        };
        let certificates = Certificates { endpoint, presented: leader_tasks.poll_certificates() };
        leader_tasks.write(Arc::clone(&outputs), module, published.clone());

        let asking = (importer_settings(&settings, (&identity, &keyring), &metrics), updates);
        let kept_settings = Arc::clone(&settings);
        let outcomes = Outcomes { newest, published, confirmations };
        let watched = (sources, Arc::clone(&outputs));
        let replica = Replica::new(
            settings,
            (identity, keyring),
            watched,
            leadership.clone(),
            asking,
            outcomes,
            certificates.clone(),
        )?
        .noticing(rollbacks)
        .traced(tracer);
        Ok((
            Self {
                settings: kept_settings,
                replica,
                outputs,
                tasks,
                leadership,
                certificates,
                wakes,
                learned,
                compiled,
                health,
                metrics,
                own_metrics,
            },
            election,
        ))
    }

    /// Runs until one of the tasks ends, which is always an error; returns why it ended.
    pub(crate) async fn run(&mut self) -> anyhow::Error {
        let (mut schedule, mut beat) = (CompileSchedule::default(), interval(BEAT / 5));
        loop {
            if schedule.is_due() {
                self.compile(&mut schedule);
            }
            tokio::select! {
                ended = self.tasks.ended() => return ended,
                () = self.wakes.inputs.notified() => {
                    self.replica.noticed();
                    schedule.changed();
                }
                // Without TLS there is no sender, so this branch is disabled.
                Ok(()) = self.certificates.endpoint.changed() => schedule.changed(),
                Ok(()) = self.certificates.presented.changed() => schedule.changed(),
                () = self.leadership.changed() => {
                    self.own_metrics.show_leader(self.leadership.leads());
                    schedule.changed();
                }
                Some(update) = self.learned.recv() => if self.replica.learned(update) { schedule.changed() },
                _ = beat.tick() => {
                    self.health.beat();
                    self.show_table();
                    self.report_health(&self.replica.missing());
                }
                () = schedule.wait() => {}
            }
        }
    }

    fn compile(&mut self, schedule: &mut CompileSchedule) {
        let missing = self.replica.missing();
        if missing.is_empty() {
            schedule.begin();
            let next = self.replica.compile(Timestamp::now());
            schedule.end(next);
            match self.compiled.borrow().as_ref().filter(|_| self.leadership.leads()) {
                Some(compiled) => self.metrics.show(&compiled.in_force),
                None => self.metrics.hide(),
            }
        } else {
            schedule.postpone(BEAT);
        }
        self.report_health(&missing);
    }

    /// Shows the table in the cluster, which is the one in force and may be older than the compiled
    /// one. A new one gets there before the next beat, unless it cannot be written.
    fn show_table(&self) {
        let compiled = self.compiled.borrow();
        if let Some(compiled) =
            compiled.as_ref().filter(|compiled| compiled.as_leader && self.leadership.leads())
        {
            let table = self.outputs.table(&self.settings.namespaces);
            self.metrics.show_table(&compiled.in_force.federation, table.as_deref());
        }
    }

    /// Reports what keeps this replica from answering peers.
    fn report_health(&self, missing: &[String]) {
        let relisting = self.outputs.relisting();
        self.health.waiting_for(match missing {
            [] if !relisting.is_empty() => Some(relisting.join(", ")),
            [] if self.replica.answers_peers() => None,
            [] => Some(
                "the first publication: it needs this cluster's roots, and a leader".to_owned(),
            ),
            missing => Some(missing.join(", ")),
        });
    }
}
