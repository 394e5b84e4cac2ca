//! `fedgate run`: the controller on a folder, from start to stop.

mod pace;
mod signals;

use crate::admin::{self, AdminAddress};
use crate::clock::SystemClock;
use crate::controller::Controller;
use crate::envoy::{AccessLog, EnvoyFiles, FilePath, FilterModule};
use crate::exporter::{self, ExporterSettings, Limits, ServerTls, Transport};
use crate::files::{self, ManifestSource};
use crate::importer::{self, FetchLimits, Importer, ImporterSettings, SystemRoots};
use crate::local::{self, Local};
use crate::settings::{MetadataTransport, Settings};
use crate::sinks::{self, Deployment};
use crate::state::StateFolder;
use anyhow::{Context, Result};
use fedgate_federation::document;
use jiff::Timestamp;
use pace::Pace;
use prometheus_client::registry::Registry;
use signals::Signals;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Runs the controller on a folder until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// When it cannot begin: wrong settings, a file that is missing, an address in use. Once it runs, nothing ends it but a signal.
pub async fn run(dir: &Path) -> Result<()> {
    let settings = Settings::read(dir)?;
    let state = StateFolder::open(&settings.state)?;
    let local = local::read(&settings, &state)?;
    let deployment = deployment(&settings)?;
    let mut source = ManifestSource::new(&settings.manifests, &settings.state, &settings.trust_domain);
    let mut changes = files::watch(&watched(&settings))?;

    let (stop, stopped) = watch::channel(false);
    let (updates, mut learned) = mpsc::channel(LEARNED);
    let mut importer = Importer::new(importer_settings(&settings, &local), updates);
    let mut controller = Controller::new(settings, local, state, deployment)?;
    let mut servers = serve(&controller, &stopped).await?;

    let mut signals = Signals::new()?;
    let mut pace = Pace::default();
    load(&mut controller, &mut source);
    loop {
        if pace.is_due() {
            let next = controller.compile(Timestamp::now());
            importer.set_peers(controller.peers(), controller.knowledge());
            pace.compiled(&next);
        }
        tokio::select! {
            () = signals.next() => break,
            () = changes.next() => {
                controller.reload_identity();
                load(&mut controller, &mut source);
                pace.now();
            }
            Some(update) = learned.recv() => match controller.learned(update) {
                true => pace.now(),
                false => pace.soon(REFRESH),
            },
            () = pace.wait() => {}
        }
    }
    tracing::info!("stopping");
    drop(importer);
    let _ = stop.send(true);
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// How many peers' news may wait to be taken in.
const LEARNED: usize = 256;

/// How soon a status tells of what only times changed in.
const REFRESH: Duration = Duration::from_secs(10);

/// Reads the folder's manifests into the controller.
fn load(controller: &mut Controller, source: &mut ManifestSource) {
    let manifests = source.read();
    controller.reload(manifests.objects, manifests.endpoints);
}

fn deployment(settings: &Settings) -> Result<Deployment> {
    let files = EnvoyFiles::new(&settings.envoy)?;
    let module = std::fs::read(&settings.gateway.filter_module).map(FilterModule::new).with_context(|| {
        format!(
            "cannot read the gateway filter {}: put fedgate_filter.wasm beside the fedgate program, or name it as gateway.filterModule",
            settings.gateway.filter_module.display()
        )
    })?;
    let access_log = match &settings.gateway.access_log {
        Some(path) => AccessLog::File(FilePath::new(path)?),
        None => AccessLog::Stdout,
    };
    Ok(Deployment { files, module, identity: sinks::identity(settings)?, access_log })
}

/// The folders and files whose changes are picked up.
fn watched(settings: &Settings) -> Vec<PathBuf> {
    let identity = &settings.identity;
    let mut paths = vec![settings.manifests.clone(), identity.certificate_chain.clone(), identity.roots.clone()];
    if let MetadataTransport::Tls { certificate, key } = &settings.metadata.transport {
        paths.extend([certificate.clone(), key.clone()]);
    }
    paths
}

/// Starts the exporter and the admin address.
async fn serve(controller: &Controller, stopped: &watch::Receiver<bool>) -> Result<JoinSet<()>> {
    let settings = &controller.settings;
    let mut servers = JoinSet::new();
    let metadata = listen("metadata.listen", settings.metadata.listen).await?;
    let exporter = exporter_settings(controller)?;
    servers.spawn(exporter::serve(metadata, exporter, controller.published(), stop_of(stopped)));
    let listener = listen("admin.listen", settings.admin.listen).await?;
    controller.state().save("admin.json", &AdminAddress { address: listener.local_addr()? })?;
    let (in_force, stop) = (controller.in_force(), stop_of(stopped));
    servers.spawn(async move {
        if let Err(error) = admin::serve(listener, in_force, Registry::default(), stop).await {
            tracing::error!("the admin address has failed: {error}");
        }
    });
    Ok(servers)
}

async fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {setting} {address}: is another program using it? Choose another address in fedgate.yaml"
        )
    })
}

/// Ready when the process is told to stop.
fn stop_of(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stopped = stopped.clone();
    async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

fn exporter_settings(controller: &Controller) -> Result<ExporterSettings> {
    let metadata = &controller.settings.metadata;
    let (transport, per_source) = match &metadata.transport {
        MetadataTransport::Plain => (Transport::Plain, None),
        MetadataTransport::Tls { certificate, key } => {
            (Transport::Tls(server_tls(certificate, key)?), Limits::default().connections_per_source)
        }
    };
    Ok(ExporterSettings {
        path: metadata.path.clone(),
        transport,
        limits: Limits { connections_per_source: per_source, ..Limits::default() },
        clock: Arc::new(SystemClock),
        metrics: exporter::Metrics::default(),
    })
}

fn server_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerTls>> {
    let read = |setting: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {setting} {}", path.display()))
    };
    let chain = read("metadata.tls.certificate", certificate)?;
    let tls = ServerTls::from_pem(&chain, &read("metadata.tls.key", key)?);
    Ok(Arc::new(tls.with_context(|| format!("metadata.tls ({}, {})", certificate.display(), key.display()))?))
}

fn importer_settings(settings: &Settings, local: &Local) -> ImporterSettings {
    ImporterSettings {
        poll: settings.times.poll,
        limits: FetchLimits { fetch: settings.times.timeout, ..FetchLimits::default() },
        documents: document::Limits::default(),
        times: settings.times.knowledge,
        identity: importer::Identity { cluster_uuid: local.cluster.cluster_uuid.clone(), key: local.key.clone() },
        metrics: importer::Metrics::default(),
        roots: SystemRoots::load(),
        clock: Arc::new(SystemClock),
    }
}
