//! The settings of a folder, field by field.

use fedgate_exchange::settings::MetadataTransport;
use fedgate_files::settings::Settings;
use fedgate_process::words::spell;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All settings but the proxy's address, which may have a password.
pub(super) fn listed(settings: &Settings) -> Value {
    let Settings { gateway, egress, metadata, identity, times, peers, .. } = settings;
    let transport = match &metadata.transport {
        MetadataTransport::Plain => json!("plain"),
        MetadataTransport::Tls { certificate, key } => {
            json!({ "certificate": file(certificate), "key": file(key) })
        }
    };
    let knowledge = times.knowledge;
    json!({
        "trustDomain": settings.trust_domain.to_string(),
        "clusterUUID": settings.cluster_uuid.as_ref().map(ToString::to_string),
        "gateway": {
            "listen": gateway.listen,
            "advertise": gateway.advertise.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "advertiseTo": gateway
                .advertise_to
                .iter()
                .map(|(peer, all)| (peer.to_string(), all.iter().map(ToString::to_string).collect()))
                .collect::<BTreeMap<String, Vec<_>>>(),
            "proxyProtocol": gateway.proxy_protocol,
            "admin": gateway.admin,
            "filter": format!("{:?}", gateway.filter),
            "filterModule": file(&gateway.filter_module),
            "accessLog": gateway.access_log,
            "openFiles": gateway.open_files,
            "healthName": gateway.health_name,
        },
        "egress": {
            "listen": egress.listen,
            "ports": format!("{}-{}", egress.ports.start(), egress.ports.end()),
            "admin": egress.admin,
            "locality": egress.locality.as_ref().map(ToString::to_string),
            "openFiles": egress.open_files,
        },
        "connections": {
            "keepalive": spell(settings.connections.keepalive),
            "idleTimeout": spell(settings.connections.idle_timeout),
        },
        "metadata": {
            "listen": metadata.listen,
            "proxyProtocol": metadata.proxy_protocol,
            "transport": transport,
        },
        "identity": {
            "certificateChain": file(&identity.certificate_chain),
            "privateKey": file(&identity.private_key),
            "roots": file(&identity.roots),
        },
        "keyFile": file(&settings.key_file),
        "otherKeyFile": settings.other_key_file.as_deref().map(file),
        "times": {
            "poll": spell(times.poll),
            "probe": spell(times.probe),
            "timeout": spell(times.timeout),
            "staleAfter": spell(knowledge.stale_after),
            "stalenessLimit": spell(knowledge.staleness_limit),
            "atExpiry": format!("{:?}", knowledge.at_expiry),
        },
        "peers": {
            "hasProxy": peers.proxy.proxy.is_some(),
            "noProxy": peers.proxy.no_proxy,
            "clientTLS": peers.client_tls.as_deref().map(file),
        },
        "admin": settings.admin.listen,
        "tracing": settings.tracing.as_ref().map(ToString::to_string),
        "manifests": settings.manifests,
        "envoy": settings.envoy,
        "state": settings.state,
    })
}

/// What can be said of a file without its content.
fn file(path: &Path) -> Value {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(path).ok();
    json!({
        "path": path,
        "bytes": about.as_ref().map(std::fs::Metadata::len),
        "mode": about.as_ref().map(|about| format!("{:o}", about.mode() & 0o7777)),
        "owner": about.as_ref().map(MetadataExt::uid),
        "modified": about.as_ref().map(MetadataExt::mtime),
    })
}

/// The files that hold secrets.
pub(super) fn secret_files(settings: &Settings) -> Vec<PathBuf> {
    let mut files = vec![settings.key_file.clone(), settings.identity.private_key.clone()];
    files.extend(settings.other_key_file.clone());
    if let MetadataTransport::Tls { key, .. } = &settings.metadata.transport {
        files.push(key.clone());
    }
    // The certificate that is shown to all peers, and those for single ones in folders beside it.
    if let Some(folder) = &settings.peers.client_tls {
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = below.map(|entry| entry.path()).chain([folder.clone()]);
        files.extend(folders.map(|folder| folder.join("tls.key")));
    }
    files
}
