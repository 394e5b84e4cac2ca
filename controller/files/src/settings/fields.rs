//! Reads the sections of `fedgate.yaml`.

use super::values::{
    address, addresses, advertised, any, at_expiry_word, idle_timeout, loopback, loopback_address,
    named_callers, open_files, path, peer, ports,
};
use super::{Admin, Egress, Gateway, IdentityFiles, Settings};
use crate::yaml::{self, Section, duration, explained, parsed};
use fedgate_core::TrustDomain;
use fedgate_envoy::{FilterKind, Quiet};
use fedgate_exchange::exporter::MetadataPath;
use fedgate_exchange::proxy::{ProxyAddress, ProxySettings};
use fedgate_exchange::settings::{
    Intervals, LimitTooShort, MetadataEndpoint, MetadataTransport, PeerAccess,
};
use fedgate_federation::document::{ClusterUuid, Locality, Network};
use fedgate_federation::knowledge::Times as KnowledgeTimes;
use fedgate_federation::object::FederatedSuffix;
use fedgate_process::filter_module;
use fedgate_trace::Endpoint;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub(super) fn read(dir: &Path, root: Section<'_>) -> Option<Settings> {
    let trust_domain = root.required(
        "trustDomain",
        "alpha.example",
        explained(TrustDomain::parse, "a trust domain such as alpha.example"),
    );
    let cluster_uuid = root.optional("clusterUUID", explained(ClusterUuid::parse, "a UUID"));
    let network = network(root.section("network"));
    let gateway = gateway(dir, root.section("gateway"));
    let egress = egress(root.section("egress"), gateway.listen);
    let connections = connections(root.section("connections"));
    let federated = root.section("federatedServices");
    let federated_suffix = federated.or(
        "suffix",
        FederatedSuffix::default(),
        explained(FederatedSuffix::parse, "a host name such as global"),
    );
    federated.finish();
    let metadata = metadata(dir, root.section("metadata"), (&gateway, &egress));
    let identity = identity(dir, root.section("identity"));
    let key_file = root.or("keyFile", dir.join("state/authn.key"), path(dir));
    let other_key_file = root.optional("otherKeyFile", path(dir));
    let times = times(root.section("times"));
    let peers = peers(dir, root.section("peers"));
    let admin = root.section("admin");
    let admin_listen = admin.or("listen", loopback(0), loopback_address);
    admin.finish();
    let tracing = tracing(root.section("tracing"));
    root.finish();
    Some(Settings {
        trust_domain: trust_domain?,
        cluster_uuid,
        network,
        gateway,
        egress,
        connections,
        federated_suffix,
        metadata: metadata?,
        identity: identity?,
        key_file,
        other_key_file,
        times,
        peers,
        admin: Admin { listen: admin_listen },
        tracing,
        manifests: dir.join("manifests"),
        envoy: dir.join("envoy"),
        state: dir.join("state"),
        names: dir.join("names"),
    })
}

fn network(section: Section<'_>) -> Network {
    let cidr = || parsed("a CIDR such as 10.0.0.0/16");
    let network = Network {
        name: section.optional("name", yaml::text),
        pod_cidrs: section.list("podCIDRs", cidr()),
        service_cidrs: section.list("serviceCIDRs", cidr()),
    };
    section.finish();
    network
}

fn gateway(dir: &Path, section: Section<'_>) -> Gateway {
    let filter = section.or("filter", FilterKind::default(), parsed("proxy-wasm or native"));
    let gateway = Gateway {
        listen: section.or("listen", any(15_443), address),
        advertise: section.list("advertise", advertised),
        advertise_to: section.lists("advertiseTo", peer, advertised),
        proxy_protocol: section.or("proxyProtocol", false, yaml::boolean),
        admin: section.or("admin", loopback(0), loopback_address),
        filter,
        filter_module: section.or(
            "filterModule",
            filter_module::default_path(filter.file_name()),
            path(dir),
        ),
        access_log: section.optional("accessLog", path(dir)),
        open_files: section.optional("openFiles", open_files),
        health_name: section.or("healthName", true, yaml::boolean),
        named_callers: section.or("namedCallers", 0, named_callers),
    };
    if filter == FilterKind::Native && gateway.named_callers > 0 {
        section.refuse("namedCallers", "the native filter cannot count callers, because Envoy takes new counters of it only with a new table; remove it, or set \"filter: proxy-wasm\"");
    }
    // A port that the system picks cannot be advertised to peers.
    if section.reads("listen") && gateway.listen.port() == 0 {
        section.refuse(
            "listen",
            format!("expected a port from 1 to 65535, found {:?}", gateway.listen.to_string()),
        );
    }
    if section.reads("listen")
        && gateway.listen.ip().is_unspecified()
        && section.is_empty("advertise")
    {
        section.refuse("advertise", "it must be set, because gateway.listen is not a single address; write for example \"advertise: [192.0.2.1:15443]\"");
    }
    section.finish();
    gateway
}

fn egress(section: Section<'_>, gateway: SocketAddr) -> Egress {
    let egress = Egress {
        listen: section.or("listen", Ipv4Addr::LOCALHOST.into(), parsed("an IP address")),
        ports: section.or("ports", 15_100..=15_999, ports),
        addresses: section.optional("addresses", addresses),
        server_names: section.optional("serverNames", address),
        admin: section.or("admin", loopback(0), loopback_address),
        locality: section.optional(
            "locality",
            explained(Locality::parse, "a locality such as eu-west/eu-west-1a"),
        ),
        open_files: section.optional("openFiles", open_files),
    };
    // Envoy does not tell here which port the system has picked.
    if egress.server_names.is_some_and(|address| address.port() == 0) {
        section.refuse("serverNames", "expected a port from 1 to 65535, found 0");
    }
    if egress.server_names.is_some_and(|address| meet(address, gateway)) {
        section.refuse("serverNames", format!("expected an address that nothing else uses, found that of gateway.listen ({gateway}); choose another port"));
    }
    section.finish();
    egress
}

/// Returns true if two listeners cannot exist side by side.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn connections(section: Section<'_>) -> Quiet {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let quiet = Quiet {
        keepalive: section.or("keepalive", Quiet::KEEPALIVE, duration(SECOND, DAY)),
        idle_timeout: section.or("idleTimeout", Quiet::IDLE_TIMEOUT, idle_timeout),
    };
    section.finish();
    quiet
}

fn metadata(
    dir: &Path,
    section: Section<'_>,
    (gateway, egress): (&Gateway, &Egress),
) -> Option<MetadataEndpoint> {
    let listen = section.or("listen", any(15_080), address);
    let others =
        [("gateway.listen", Some(gateway.listen)), ("egress.serverNames", egress.server_names)];
    for (name, other) in others {
        if let Some(other) = other.filter(|other| other.port() != 0 && meet(listen, *other)) {
            section.refuse("listen", format!("expected an address that nothing else uses, found that of {name} ({other}); choose another port"));
        }
    }
    let metadata_path =
        section.or("path", MetadataPath::default(), explained(MetadataPath::parse, "a path"));
    let plain = section.or("plain", false, yaml::boolean);
    let proxy_protocol = section.or("proxyProtocol", false, yaml::boolean);
    let transport = match (plain, section.has("tls")) {
        // The problem with `plain` is already recorded.
        _ if !section.reads("plain") => {
            let _ = section.section("tls");
            None
        }
        (true, false) => Some(MetadataTransport::Plain),
        (true, true) => {
            // Marks `tls` as read, so that it is not reported as an unknown field too.
            let _ = section.section("tls");
            section.refuse("plain", "set either tls or plain: true, not both");
            None
        }
        (false, false) => {
            let _ = section.section("tls");
            let message = "it must be set: tls with certificate and key, or \"plain: true\" behind a proxy that terminates TLS";
            section.refuse("tls", message);
            None
        }
        (false, true) => {
            let tls = section.section("tls");
            let certificate = tls.required("certificate", "metadata.pem", path(dir));
            let key = tls.required("key", "metadata.key", path(dir));
            tls.finish();
            certificate
                .zip(key)
                .map(|(certificate, key)| MetadataTransport::Tls { certificate, key })
        }
    };
    section.finish();
    Some(MetadataEndpoint { listen, path: metadata_path, proxy_protocol, transport: transport? })
}

fn identity(dir: &Path, section: Section<'_>) -> Option<IdentityFiles> {
    let certificate_chain = section.required("certificateChain", "identity/chain.pem", path(dir));
    let private_key = section.required("privateKey", "identity/key.pem", path(dir));
    let roots = section.required("roots", "identity/roots.pem", path(dir));
    section.finish();
    Some(IdentityFiles {
        certificate_chain: certificate_chain?,
        private_key: private_key?,
        roots: roots?,
    })
}

fn tracing(section: Section<'_>) -> Option<Endpoint> {
    let text = section.optional("otlpEndpoint", yaml::text);
    // The message does not repeat the text, which could hold a password.
    let endpoint = text.and_then(|text| match Endpoint::parse(&text) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            section.refuse("otlpEndpoint", error.to_string());
            None
        }
    });
    section.finish();
    endpoint
}

fn peers(dir: &Path, section: Section<'_>) -> PeerAccess {
    let proxy = ProxySettings {
        proxy: section.optional("proxy", yaml::text).map(ProxyAddress::new),
        no_proxy: section.list("noProxy", yaml::text),
    };
    if let Err(error) = proxy.check() {
        section.refuse("proxy", error.to_string());
    }
    let client_tls = section.optional("clientTLS", path(dir));
    section.finish();
    PeerAccess { proxy, client_tls }
}

fn times(section: Section<'_>) -> Intervals {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    let Intervals { poll, probe, timeout, knowledge } = Intervals::default();
    let KnowledgeTimes { stale_after, staleness_limit, at_expiry, hint: _ } = knowledge;
    let intervals = Intervals {
        poll: section.or("poll", poll, duration(Intervals::SHORTEST_POLL, HOUR)),
        probe: section.or("probe", probe, duration(SECOND, HOUR)),
        timeout: section.or("timeout", timeout, duration(SECOND / 10, 60 * SECOND)),
        knowledge: KnowledgeTimes {
            stale_after: section.or("staleAfter", stale_after, duration(SECOND, 24 * HOUR)),
            staleness_limit: section.or(
                "stalenessLimit",
                staleness_limit,
                duration(SECOND, 30 * 24 * HOUR),
            ),
            at_expiry: section.or("atExpiry", at_expiry, at_expiry_word),
            hint: section.optional("staleAfterHint", duration(SECOND, 24 * HOUR)),
        },
    };
    if let Err(LimitTooShort { staleness_limit, stale_after }) = intervals.check() {
        section.refuse(
            "stalenessLimit",
            format!("expected at least times.staleAfter ({stale_after}), found {staleness_limit}"),
        );
    }
    section.finish();
    intervals
}
