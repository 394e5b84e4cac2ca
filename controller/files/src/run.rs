//! `fedgate run`: the controller on a folder, from start to stop.

pub mod reload;

use crate::envoys::members::MemberWatch;
use crate::envoys::watch::EnvoyWatch;
use crate::local;
use crate::settings::{self, Gateway, IdentityFiles, Settings};
use crate::sinks::{self, Deployment};
use crate::site::Site;
use crate::state::StateFolder;
use crate::{admin, page};
use anyhow::{Context, Result, ensure};
use fedgate_engine::metrics::Metrics;
use fedgate_envoy::{AccessLog, EnvoyFiles, FilePath, FilterModule};
use fedgate_exchange::exporter::{self, ExporterSettings, ServerTls};
use fedgate_exchange::importer::{self, Importer, ImporterSettings};
use fedgate_exchange::probe::ProbeIdentity;
use fedgate_exchange::settings::{MetadataEndpoint, MetadataTransport};
use fedgate_process::file_watch::{self, Changes};
use fedgate_process::listen::{listen, stop_all, stop_signal};
use fedgate_process::machine;
use fedgate_process::regular_file;
use fedgate_process::schedule::CompileSchedule;
use fedgate_process::signals::{Request, Signals};
use fedgate_process::tasks::Tasks;
use fedgate_trace::{Causes, Instance, Tracer};
use jiff::Timestamp;
use reload::Reload;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Runs the controller on a folder until SIGTERM or SIGINT. SIGHUP makes it read all files again.
///
/// # Errors
/// When it cannot start: wrong settings, a missing file, an address in use. Once it runs, only a
/// signal ends it, or the end of a server that it cannot do without.
pub async fn run(dir: &Path) -> Result<()> {
    machine::raise_descriptor_limit();
    let settings = Settings::read(dir)?;
    let state = StateFolder::open(&settings.state)?;
    let local = local::read(&settings, &state)?;
    let deployment = deployment(&settings)?;
    let mut reload = Reload::new(dir, &settings)?;
    let mut paths = watched(dir, &settings);
    let mut changes = file_watch::watch(&paths)?;
    let metrics = Metrics::default();

    let (stop, stopped) = watch::channel(false);
    let probed_with = ProbeIdentity::default();
    let (updates, mut learned) = mpsc::channel(LEARNED);
    let tracer = tracer(&settings)?;
    let mut site = Site::new(settings, local, state, deployment)?;
    site.causes = Causes::new(tracer.clone());
    let mut importer = Importer::new(
        importer_settings(&site, &metrics, probed_with.clone()).traced(tracer.is_on()),
        updates,
    );
    let mut servers = serve(&mut site, reload.tls(), &metrics, &stopped).await?;

    let mut envoys = EnvoyWatch::start(site.envoy_files());
    let mut members = MemberWatch::start(site.envoy_files());
    let mut signals = Signals::new()?;
    let mut schedule = CompileSchedule::default();
    let mut saving = interval(SAVING);
    saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reload_all(&mut reload, &mut site, &mut changes, &probed_with);
    let ended = loop {
        if schedule.is_due() {
            compile(&mut site, &mut schedule);
            if let Some(in_force) = site.in_force().load().as_ref() {
                members.follow(in_force.members());
                importer.follow(&in_force.federation, site.knowledge());
                metrics.show(in_force);
                metrics.show_table(&in_force.federation, Some(&in_force.table));
            }
        }
        tokio::select! {
            request = signals.next() => match request {
                Request::Stop => break Ok(()),
                Request::Reload => {
                    tracing::info!("reading all files again (SIGHUP)");
                    reload_all(&mut reload, &mut site, &mut changes, &probed_with);
                    schedule.changed();
                }
            },
            ended = servers.ended() => break Err(ended),
            () = changes.next() => {
                reload_all(&mut reload, &mut site, &mut changes, &probed_with);
                watch_again(dir, &site.settings, &mut paths, &mut changes);
                schedule.changed();
            }
            Some(update) = learned.recv() => match site.learned(update) {
                true => schedule.changed(),
                false => schedule.make_due_within(REFRESH),
            },
            observed = envoys.changed() => {
                site.observed(observed);
                schedule.changed();
            }
            health = members.changed() => {
                site.found(health);
                schedule.changed();
            }
            _ = saving.tick(), if site.has_unsaved() => if site.save_some() { schedule.changed() },
            () = schedule.wait() => {}
        }
    };
    drop(importer);
    site.save_all();
    stop_all(&stop, servers, &ended).await;
    tracer.stop().await;
    ended
}

/// Watches the files that the settings name now, if these are others: a rotation names other keys.
/// What has changed meanwhile is read soon.
fn watch_again(dir: &Path, settings: &Settings, paths: &mut Vec<PathBuf>, changes: &mut Changes) {
    let wanted = watched(dir, settings);
    if *paths == wanted {
        return;
    }
    match file_watch::watch(&wanted) {
        Ok(watching) => {
            (*paths, *changes) = (wanted, watching);
            changes.again_in(UNFINISHED);
        }
        Err(error) => {
            tracing::error!("the files that fedgate.yaml names now are not watched: {error:#}")
        }
    }
}

fn tracer(settings: &Settings) -> Result<Tracer> {
    let trust_domain = settings.trust_domain.as_str();
    let version = env!("CARGO_PKG_VERSION");
    let instance = Instance { trust_domain, name: trust_domain, version };
    Ok(Tracer::start(settings.tracing.as_ref(), instance)?)
}

/// Reads all files, and shows probes the certificate. Schedules another look if some are still
/// being written.
fn reload_all(
    reload: &mut Reload,
    site: &mut Site,
    changes: &mut Changes,
    probed_with: &ProbeIdentity,
) {
    let began = site.causes.now();
    if reload.all(site, &changes.open_files()) {
        changes.again_in(UNFINISHED);
    }
    site.causes.own("read files", began);
    site.show_identity(probed_with);
}

/// Compiles, and schedules when to do so again.
fn compile(site: &mut Site, schedule: &mut CompileSchedule) {
    schedule.begin();
    let next = site.compile(Timestamp::now());
    schedule.end(next.at);
    if next.retry {
        schedule.make_due_within(RETRY);
    }
}

/// How soon to look again at a file that is being written.
const UNFINISHED: Duration = Duration::from_millis(100);

/// How many updates from peers may wait in the channel.
const LEARNED: usize = 256;

/// How soon to retry a sink that failed.
const RETRY: Duration = Duration::from_secs(2);

/// How often the main loop saves what it has learned of peers, for a short time. So peers that
/// change faster than the disk can follow are saved less often.
const SAVING: Duration = Duration::from_millis(50);

/// How soon a compilation follows an update in which only times changed. Nobody waits for it, but
/// it repairs Envoy's files, and notices new addresses of this machine.
const REFRESH: Duration = Duration::from_secs(60);

fn deployment(settings: &Settings) -> Result<Deployment> {
    let files = EnvoyFiles::new(&settings.envoy)?;
    let module = filter_module(&settings.gateway)?;
    let access_log = match &settings.gateway.access_log {
        Some(path) => AccessLog::File(FilePath::new(path)?),
        None => AccessLog::Stdout,
    };
    let identity = match sinks::identity(settings) {
        Ok(identity) => identity,
        // Envoy's last pair is complete, and peers know it. The first read of all files turns the
        // error into a finding.
        Err(error) => files.last_identity().ok_or(error)?,
    };
    Ok(Deployment { files, module, identity, access_log })
}

/// Maximum size of the gateway filter, many times what it has.
const MOST_MODULE: u64 = 256 << 20;

fn filter_module(gateway: &Gateway) -> Result<FilterModule> {
    let Gateway { filter, filter_module, .. } = gateway;
    let bytes = regular_file::read(filter_module, MOST_MODULE).with_context(|| {
        format!(
            "cannot read the gateway filter {}: put {} next to the fedgate program, or name it as gateway.filterModule",
            filter_module.display(),
            filter.file_name()
        )
    })?;
    ensure!(
        filter.is_module(&bytes),
        "the gateway filter {} is not {}, which gateway.filter: {} needs; correct gateway.filterModule or gateway.filter",
        filter_module.display(),
        filter.format(),
        filter.word(),
    );
    Ok(FilterModule::new(*filter, bytes))
}

/// The folders and files that are watched for changes.
fn watched(dir: &Path, settings: &Settings) -> Vec<PathBuf> {
    let IdentityFiles { certificate_chain, private_key, roots } = settings.identity.clone();
    let mut paths = vec![
        dir.join(settings::FILE),
        settings.manifests.clone(),
        settings.key_file.clone(),
        certificate_chain,
        private_key,
        roots,
    ];
    paths.extend(settings.other_key_file.clone());
    if let MetadataTransport::Tls { certificate, key } = &settings.metadata.transport {
        paths.extend([certificate.clone(), key.clone()]);
    }
    paths
}

/// Starts the exporter and the admin address.
async fn serve(
    site: &mut Site,
    tls: Option<Arc<ServerTls>>,
    metrics: &Metrics,
    stopped: &watch::Receiver<bool>,
) -> Result<Tasks> {
    let settings = &site.settings;
    let sources = page::Sources {
        state: settings.state.clone(),
        gateway_admin: settings.gateway.admin,
        egress_admin: settings.egress.admin,
        access_log: settings.gateway.access_log.clone(),
    };
    let mut servers = Tasks::default();
    // The transport became `tls`.
    let MetadataEndpoint { listen: address, path, proxy_protocol, transport: _ } =
        settings.metadata.clone();
    let listener = listen("metadata.listen", address).await?;
    let exporter = ExporterSettings::new(path, tls, metrics.exporter.clone(), site.keyring())
        .behind_balancer(proxy_protocol);
    let serve = exporter::serve(listener, exporter, site.published(), stop_signal(stopped));
    servers.spawn("the metadata endpoint", serve);
    let listener = listen("admin.listen", settings.admin.listen).await?;
    site.set_admin_address(listener.local_addr()?);
    let (in_force, registry, stop) = (site.in_force(), metrics.registry(), stop_signal(stopped));
    let feed = page::new(Arc::clone(&in_force));
    let feeder = page::run(feed.clone(), Arc::clone(&in_force), sources, stop_signal(stopped));
    servers.spawn("the operators' page", feeder);
    servers.spawn("the admin address", admin::serve(listener, in_force, registry, feed, stop));
    Ok(servers)
}

fn importer_settings(
    site: &Site,
    metrics: &Metrics,
    certificate: ProbeIdentity,
) -> ImporterSettings {
    let settings = &site.settings;
    let identity =
        importer::Identity { cluster_uuid: site.cluster_uuid(), keyring: site.keyring() };
    let metrics = metrics.importer.clone();
    ImporterSettings::new(settings.times, identity, certificate, metrics, &settings.peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(folder: &Path, filter: &str) -> Gateway {
        let settings = format!(
            "trustDomain: alpha.example
gateway: {{advertise: ['192.0.2.1:15443'], filterModule: filter, filter: {filter}}}
metadata: {{plain: true}}
identity: {{certificateChain: chain.pem, privateKey: key.pem, roots: roots.pem}}
"
        );
        Settings::parse(folder, &settings).unwrap().gateway
    }

    #[test]
    fn a_filter_module_must_exist_and_fit_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            |filter| format!("{:#}", filter_module(&gateway(folder.path(), filter)).unwrap_err());
        assert!(
            error("native").contains("put libfedgate_filter_native.so next"),
            "{}",
            error("native")
        );
        assert!(error("proxy-wasm").contains("put fedgate_filter.wasm next"));
        for (contents, fits, other, expected) in [
            (&b"\0asm"[..], "proxy-wasm", "native", "is not a shared library"),
            (b"\x7fELF", "native", "proxy-wasm", "is not a WebAssembly module"),
        ] {
            std::fs::write(folder.path().join("filter"), contents).unwrap();
            assert!(filter_module(&gateway(folder.path(), fits)).is_ok());
            assert!(error(other).contains(expected), "{}", error(other));
        }
    }
}
