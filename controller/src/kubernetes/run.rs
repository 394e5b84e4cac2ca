//! `fedgate controller`, from start to stop.

use super::confirmations::Confirmations;
use super::election::Election;
use super::loaded::{Asking, Loaded};
use super::metrics::Metrics as OwnMetrics;
use super::module::Module;
use super::probes::{self, BEAT, Health};
use super::replica::{Outcomes, Replica};
use super::settings::ControllerSettings;
use super::sinks::outputs::Outputs;
use super::sinks::{events, writer::Writer};
use super::sources::{Sources, Wakes};
use super::{client, identity};
use crate::clock::SystemClock;
use crate::exporter::{self, ExporterSettings, Limits, Transport};
use crate::files;
use crate::importer::{self, FetchLimits, ImporterSettings, SystemRoots};
use crate::metrics::Metrics;
use crate::probe::ProbeSettings;
use crate::run::reload::MetadataTls;
use crate::run::signals::Signals;
use crate::run::{listen, stop_of};
use anyhow::Result;
use arc_swap::ArcSwap;
use fedgate_federation::document;
use jiff::Timestamp;
use pace::Pace;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::interval;

mod pace;

/// How many peers' news may wait to be taken in.
const LEARNED: usize = 256;

/// Runs the controller until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// When it cannot begin: no way to the API server, an address in use, a certificate that is none, an identity that contradicts
/// the flags. Once it runs, nothing ends it but a signal.
pub async fn run(settings: ControllerSettings) -> Result<()> {
    settings.check()?;
    let module = match &settings.gateway.filter_module {
        None => Some(Module::read(&settings.gateway.filter_file()?)?),
        Some(_) => None,
    };
    let settings = Arc::new(settings);
    let mut signals = Signals::new()?;
    let client = client::connect().await?;
    let (metrics, own_metrics, health) = (Metrics::default(), OwnMetrics::default(), Health::default());
    let published = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    serve_probes(&settings, &health, &metrics, &own_metrics, &stopped, &mut servers).await?;
    serve_metadata(&settings, &metrics, Arc::clone(&published), &stopped, &mut servers).await?;

    let identity = tokio::select! {
        identity = identity::obtain(&client, &settings) => identity?,
        () = health.beating() => return Ok(()),
        () = signals.next() => return Ok(()),
    };
    let (wakes, mut tasks) = (Wakes::default(), JoinSet::new());
    let sources = Sources::start(&client, &settings, &wakes, &mut tasks);
    let replica_name = format!("{}_{}", settings.pod_name, uuid::Uuid::new_v4());
    let confirmations = Confirmations::default();
    let (election, mut leadership) =
        Election::new(&client, &settings.places.namespace, replica_name, confirmations.clone());
    servers.spawn(election.run(stop_of(&stopped)));

    let (updates, mut learned) = mpsc::channel(LEARNED);
    let (newest, compiled) = watch::channel(None);
    let (events, write_events) = events::start(client.clone(), &settings);
    tasks.spawn(write_events);
    let loaded = Loaded::default();
    let asking = Asking {
        pods: sources.pods().clone(),
        newest: compiled.clone(),
        leadership: leadership.clone(),
        loaded: loaded.clone(),
        wake: Arc::clone(&wakes.outputs),
        metrics: own_metrics.clone(),
    };
    tasks.spawn(asking.run());
    let writer = Writer {
        settings: Arc::clone(&settings),
        outputs: Outputs::start(&client, &settings, &wakes, &mut tasks),
        module,
        pods: sources.pods().clone(),
        loaded,
        federations: sources.federations().clone(),
        leadership: leadership.clone(),
        newest: compiled.clone(),
        changed: Arc::clone(&wakes.outputs),
        published: Arc::clone(&published),
        events,
        metrics: own_metrics.clone(),
        client,
    };
    tasks.spawn(writer.run());
    let asking = (importer_settings(&settings, &identity, &metrics), updates);
    let outcomes = Outcomes { newest, published, confirmations };
    let mut replica = Replica::new(Arc::clone(&settings), identity, sources, leadership.clone(), asking, outcomes)?;

    let (mut pace, mut beat) = (Pace::default(), interval(BEAT / 5));
    loop {
        if pace.is_due() {
            let missing = replica.missing();
            if missing.is_empty() {
                pace.compiles();
                let next = replica.compile(Timestamp::now());
                pace.compiled(next);
                match compiled.borrow().as_ref().filter(|_| leadership.leads()) {
                    Some(compiled) => metrics.show(&compiled.in_force),
                    None => metrics.hide(),
                }
            } else {
                pace.later(BEAT);
            }
            health.waiting_for(waiting_for(&missing, &replica));
        }
        tokio::select! {
            () = signals.next() => break,
            () = wakes.inputs.notified() => pace.changed(),
            () = leadership.changed() => {
                own_metrics.show_leader(leadership.leads());
                pace.changed();
            }
            Some(update) = learned.recv() => if replica.learned(update) { pace.changed() },
            _ = beat.tick() => {
                health.beat();
                health.waiting_for(waiting_for(&replica.missing(), &replica));
            }
            () = pace.wait() => {}
        }
    }
    tracing::info!("stopping");
    drop(replica);
    let _ = stop.send(true);
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// What keeps this replica from answering peers.
fn waiting_for(missing: &[String], replica: &Replica) -> Option<String> {
    match missing {
        [] if replica.answers_peers() => None,
        [] => Some("the first publication: it needs this cluster's roots, and a leader".to_owned()),
        missing => Some(missing.join(", ")),
    }
}

async fn serve_probes(
    settings: &ControllerSettings,
    health: &Health,
    metrics: &Metrics,
    own: &OwnMetrics,
    stopped: &watch::Receiver<bool>,
    servers: &mut JoinSet<()>,
) -> Result<()> {
    let listener = listen("--probes-listen", settings.probes_listen).await?;
    let mut registry = metrics.registry();
    own.register(&mut registry);
    let serve = probes::serve(listener, health.clone(), registry, stop_of(stopped));
    servers.spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!("the address of probes and metrics has failed: {error}");
        }
    });
    Ok(())
}

async fn serve_metadata(
    settings: &ControllerSettings,
    metrics: &Metrics,
    published: Arc<ArcSwap<exporter::Published>>,
    stopped: &watch::Receiver<bool>,
    servers: &mut JoinSet<()>,
) -> Result<()> {
    let limits = Limits::default();
    let (transport, connections_per_source) = match &settings.metadata.tls {
        // Behind a proxy all connections have one source.
        None => (Transport::Plain, None),
        Some(folder) => {
            let tls = MetadataTls::read(&folder.join("tls.crt"), &folder.join("tls.key"))?;
            let transport = Transport::Tls(Arc::clone(&tls.tls));
            servers.spawn(follow_certificate(folder.clone(), tls, stop_of(stopped)));
            (transport, limits.connections_per_source)
        }
    };
    let listener = listen("--metadata-listen", settings.metadata.listen).await?;
    let exporter = ExporterSettings {
        path: settings.metadata.path.clone(),
        transport,
        limits: Limits { connections_per_source, ..limits },
        clock: Arc::new(SystemClock),
        metrics: metrics.exporter.clone(),
    };
    servers.spawn(exporter::serve(listener, exporter, published, stop_of(stopped)));
    Ok(())
}

/// A certificate that is renewed is served from the next connection on.
async fn follow_certificate(folder: std::path::PathBuf, tls: MetadataTls, stop: impl Future<Output = ()>) {
    let mut changes = match files::watch(&[folder.join("tls.crt"), folder.join("tls.key")]) {
        Ok(changes) => changes,
        Err(error) => return tracing::error!("a renewed metadata certificate will not be noticed: {error:#}"),
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = changes.next() => match tls.replace() {
                Ok(()) => tracing::info!("the metadata certificate was read again"),
                Err(error) => tracing::error!("the metadata certificate before is still served: {error:#}"),
            },
        }
    }
}

fn importer_settings(
    settings: &ControllerSettings,
    identity: &identity::ClusterIdentity,
    metrics: &Metrics,
) -> ImporterSettings {
    ImporterSettings {
        poll: settings.times.poll,
        limits: FetchLimits { fetch: settings.times.timeout, ..FetchLimits::default() },
        probe: ProbeSettings { interval: settings.times.probe, ..ProbeSettings::default() },
        documents: document::Limits::default(),
        times: settings.knowledge_times(),
        identity: importer::Identity { cluster_uuid: identity.cluster_uuid.clone(), key: identity.key.clone() },
        metrics: metrics.importer.clone(),
        roots: SystemRoots::load(),
        clock: Arc::new(SystemClock),
    }
}
