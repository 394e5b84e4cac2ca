//! `fedgate controller`, from start to stop.

use crate::api::client;
use crate::endpoint;
use crate::identity;
use crate::metrics::Metrics as OwnMetrics;
use crate::module::Module;
use crate::probes::{self, Health};
use crate::settings::ControllerSettings;
use anyhow::Result;
use fedgate_core::TrustDomain;
use fedgate_engine::metrics::Metrics;
use fedgate_exchange::exporter::{self, ExporterSettings, MetadataTls};
use fedgate_exchange::importer::{self, ImporterSettings};
use fedgate_exchange::keyring::Keyring;
use fedgate_exchange::probe::ProbeIdentity;
use fedgate_exchange::settings::MetadataEndpoint;
use fedgate_federation::credentials::Credentials;
use fedgate_process::file_watch;
use fedgate_process::listen::{listen, stop_all, stop_signal};
use fedgate_process::signals::Signals;
use fedgate_process::tasks::Tasks;
use fedgate_trace::{Instance, Tracer};
use replica_loop::{Parts, ReplicaLoop};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

mod leader_tasks;
pub(super) mod replica_loop;
#[cfg(test)]
mod tests;

/// How many updates of peers may wait.
const LEARNED: usize = 256;

/// How often a certificate is read if it cannot be watched.
const REREAD: Duration = Duration::from_secs(60);

/// Runs the controller until it receives SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start: no access to the API server, an address in use, an invalid certificate, an
/// identity that contradicts the flags. Once it runs, only a signal or the end of an essential task
/// ends it.
pub async fn run(settings: ControllerSettings) -> Result<()> {
    settings.check()?;
    let module = match &settings.gateway.filter_module {
        None => Some(Module::read(&settings.gateway.filter_file())?),
        Some(_) => None,
    };
    let settings = Arc::new(settings);
    let mut signals = Signals::new()?;
    let client = client::connect().await?;
    let (metrics, own_metrics, health) =
        (Metrics::default(), OwnMetrics::default(), Health::default());
    let published = watch::Sender::default();
    let (stop, stopped) = watch::channel(false);
    let mut servers = Tasks::default();
    serve_probes(&settings, &health, &metrics, &own_metrics, &stopped, &mut servers).await?;
    let keyring = Keyring::default();
    let served = (published.clone(), keyring.clone());
    let endpoint = serve_metadata(&settings, &metrics, served, &stopped, &mut servers).await?;

    let identity = tokio::select! {
        identity = identity::obtain(&client, &settings) => identity?,
        () = health.beating() => return Ok(()),
        () = signals.stop_requested() => return Ok(()),
        ended = servers.ended() => return Err(ended),
    };
    keyring.use_keys(identity.keys.clone());
    let tracer = tracer(&settings)?;
    let parts = Parts {
        client,
        settings,
        identity,
        keyring,
        endpoint,
        module,
        published,
        health: health.clone(),
        metrics,
        own_metrics,
        tracer: tracer.clone(),
    };
    let (mut replica, election) = ReplicaLoop::start(parts)?;
    servers.spawn("the election", election.run(stop_signal(&stopped)));
    let ended = until_end(signals.stop_requested(), &mut servers, &mut replica, &health).await;
    // Stop writing before the Lease is released.
    drop(replica);
    stop_all(&stop, servers, &ended).await;
    tracer.stop().await;
    ended
}

fn tracer(settings: &ControllerSettings) -> Result<Tracer> {
    let instance = Instance {
        trust_domain: settings.trust_domain.as_str(),
        name: &settings.pod_name,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(Tracer::start(settings.tracing()?.as_ref(), instance)?)
}

/// Runs until `stop` is ready or a task ends, which is an error and makes `/healthz` fail.
async fn until_end(
    stop: impl Future<Output = ()>,
    servers: &mut Tasks,
    replica: &mut ReplicaLoop,
    health: &Health,
) -> Result<()> {
    let ended = tokio::select! {
        () = stop => return Ok(()),
        ended = servers.ended() => ended,
        ended = replica.run() => ended,
    };
    health.died(ended.to_string());
    Err(ended)
}

async fn serve_probes(
    settings: &ControllerSettings,
    health: &Health,
    metrics: &Metrics,
    own: &OwnMetrics,
    stopped: &watch::Receiver<bool>,
    servers: &mut Tasks,
) -> Result<()> {
    let listener = listen("--probes-listen", settings.probes.listen).await?;
    let mut registry = metrics.registry();
    own.register(&mut registry);
    let serve = probes::serve(listener, health.clone(), registry, stop_signal(stopped));
    servers.spawn("the address of probes and metrics", serve);
    Ok(())
}

async fn serve_metadata(
    settings: &ControllerSettings,
    metrics: &Metrics,
    (published, keyring): (watch::Sender<Arc<exporter::Published>>, Keyring),
    stopped: &watch::Receiver<bool>,
    servers: &mut Tasks,
) -> Result<watch::Receiver<Credentials>> {
    let (sender, endpoint) = watch::channel(Credentials::default());
    let MetadataEndpoint { listen: address, path, proxy_protocol, transport } =
        settings.metadata_endpoint();
    let tls = MetadataTls::read(&transport)?;
    let served = tls.as_ref().map(|tls| Arc::clone(&tls.tls));
    if let Some((tls, folder)) = tls.zip(settings.metadata.tls.clone()) {
        let credentials = (sender, settings.trust_domain.clone());
        let follow = follow_certificate(folder, tls, credentials, stop_signal(stopped));
        servers.spawn("the watch of the metadata certificate", follow);
    }
    let listener = listen("--metadata-listen", address).await?;
    let exporter = ExporterSettings::new(path, served, metrics.exporter.clone(), keyring)
        .behind_balancer(proxy_protocol);
    servers.spawn(
        "the metadata endpoint",
        exporter::serve(listener, exporter, published, stop_signal(stopped)),
    );
    Ok(endpoint)
}

/// Serves a renewed certificate from the next connection on, and reports what is wrong with it.
async fn follow_certificate(
    folder: std::path::PathBuf,
    tls: MetadataTls,
    (sender, ours): (watch::Sender<Credentials>, TrustDomain),
    stop: impl Future<Output = ()>,
) {
    sender.send_replace(endpoint::read(&folder, &ours));
    let mut changes = file_watch::watch(&[folder.join("tls.crt"), folder.join("tls.key")]);
    if let Err(error) = &changes {
        tracing::warn!(
            "the files of the metadata certificate cannot be watched, so they are read every minute: {error:#}"
        );
    }
    tokio::pin!(stop);
    loop {
        let change = async {
            match &mut changes {
                Ok(changes) => changes.next().await,
                Err(_) => sleep(REREAD).await,
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = change => {
                sender.send_if_modified(|credentials| {
                    let now = endpoint::read(&folder, &ours);
                    let differs = *credentials != now;
                    *credentials = now;
                    differs
                });
                match tls.replace() {
                    Ok(()) => tracing::info!("the metadata certificate was read again"),
                    Err(error) => tracing::error!("cannot use the new metadata certificate, so the previous one stays in use: {error:#}"),
                }
            }
        }
    }
}

fn importer_settings(
    settings: &ControllerSettings,
    (identity, keyring): (&identity::ClusterIdentity, &Keyring),
    metrics: &Metrics,
) -> ImporterSettings {
    let own = importer::Identity {
        cluster_uuid: identity.cluster_uuid.clone(),
        keyring: keyring.clone(),
    };
    // Only the gateways and sidecars have a certificate that a probe could show.
    let certificate = ProbeIdentity::default();
    let (intervals, metrics) = (settings.intervals(), metrics.importer.clone());
    ImporterSettings::new(intervals, own, certificate, metrics, &settings.peer_access())
}
