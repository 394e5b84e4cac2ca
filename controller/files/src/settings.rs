//! `fedgate.yaml`: the settings of a cluster's folder.

pub use crate::yaml::Problem;
use crate::yaml::{self, Limits, Node, Problems, Section, duration, explained, parsed};
use anyhow::{Context, Result, bail};
use fedgate_core::{ServicePort, TrustDomain};
use fedgate_exchange::exporter::MetadataPath;
use fedgate_exchange::settings::{Intervals, LimitTooShort, MetadataEndpoint, MetadataTransport};
use fedgate_federation::document::{ClusterUuid, GatewayAddress, Network};
use fedgate_federation::knowledge::Times as KnowledgeTimes;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the file.
pub const FILE: &str = "fedgate.yaml";

/// Everything in `fedgate.yaml`. Paths are absolute; relative ones are resolved from the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `trustDomain` of this cluster; also its cluster domain.
    pub trust_domain: TrustDomain,
    /// `clusterUUID`; if absent, created and kept in `state/`.
    pub cluster_uuid: Option<ClusterUuid>,
    /// `network`.
    pub network: Network,
    /// `gateway`.
    pub gateway: Gateway,
    /// `egress`.
    pub egress: Egress,
    /// `metadata`: `listen` (`0.0.0.0:15080`), `path` (`/metadata`), and `tls` or `plain: true`.
    pub metadata: MetadataEndpoint,
    /// `identity`.
    pub identity: IdentityFiles,
    /// `keyFile` (`state/authn.key`): the Ed25519 key that signs requests; created if missing.
    pub key_file: PathBuf,
    /// `times`: `poll` (`30s`), `probe` (`60s`), `timeout` (`15s`), `staleAfter` (`5m`) and
    /// `stalenessLimit` (`24h`).
    pub times: Intervals,
    /// `admin`.
    pub admin: Admin,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// The folder that Envoy reads.
    pub envoy: PathBuf,
    /// The folder for the controller's own state.
    pub state: PathBuf,
}

/// `gateway`: the Envoy that peers connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `listen` (`0.0.0.0:15443`).
    pub listen: SocketAddr,
    /// `advertise`: where peers are told to connect; by default `listen`, if that is a single
    /// address.
    pub advertise: Vec<GatewayAddress>,
    /// `admin` (`127.0.0.1:0`): Envoy's admin address; with port 0 the system picks one.
    pub admin: SocketAddr,
    /// `filterModule`; by default `fedgate_filter.wasm` beside the program.
    pub filter_module: PathBuf,
    /// `accessLog`: a file; by default Envoy's standard output.
    pub access_log: Option<PathBuf>,
    /// `openFiles`: how many files this Envoy may open (its hard limit), if that differs from the
    /// controller's limit.
    pub open_files: Option<u64>,
    /// `healthName` (true): offers peers the name that DKP clusters probe. This gateway answers it.
    pub health_name: bool,
}

/// `egress`: the Envoy that local programs call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// `listen` (`127.0.0.1`): the address of all ports.
    pub listen: IpAddr,
    /// `ports` (`15100-15999`): each import gets one.
    pub ports: RangeInclusive<u16>,
    /// `admin` (`127.0.0.1:0`).
    pub admin: SocketAddr,
    /// `openFiles`: as for the gateway.
    pub open_files: Option<u64>,
}

/// `identity`: the certificate and key of both Envoys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// `certificateChain`: PEM, leaf first. The leaf's URI SAN is a SPIFFE ID of the trust domain.
    pub certificate_chain: PathBuf,
    /// `privateKey`: PEM.
    pub private_key: PathBuf,
    /// `roots`: PEM; published to peers.
    pub roots: PathBuf,
}

/// `admin`: the controller's own admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen` (`127.0.0.1:0`): loopback only.
    pub listen: SocketAddr,
}

impl Settings {
    /// Reads the `fedgate.yaml` of a folder.
    ///
    /// # Errors
    /// All problems at once, each with its line and field, what was expected and what was found.
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join(FILE);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read {}: every cluster's folder has one; name the folder with --dir",
                file.display()
            )
        })?;
        match Self::parse(dir, &text) {
            Ok(settings) => Ok(settings),
            Err(problems) => bail!("{}", listed(&file, &problems)),
        }
    }

    /// Parses the text of a `fedgate.yaml` in the folder `dir`.
    ///
    /// # Errors
    /// All problems.
    pub fn parse(dir: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let at = |line, message: String| vec![Problem { line, field: String::new(), message }];
        let dir = std::path::absolute(dir).map_err(|error| at(0, error.to_string()))?;
        let limits = Limits::default();
        let documents = yaml::documents(text, &limits).map_err(|e| at(e.line, e.message))?;
        let mut nodes = Vec::new();
        for document in documents {
            let node = yaml::parse(document, &limits).map_err(|e| at(e.line, e.message))?;
            nodes.extend(node.filter(|node| node.value != yaml::Value::Null));
        }
        if let Some(second) = nodes.get(1) {
            let message = "expected one document, found another; write all settings into one, without a line --- between";
            return Err(at(second.line, message.to_owned()));
        }
        let node = nodes.into_iter().next();
        let problems = Problems::default();
        let settings = read(&dir, Section::root(node.as_ref(), &problems));
        match (settings, problems.into_vec()) {
            (Some(settings), problems) if problems.is_empty() => Ok(settings),
            (_, problems) => Err(problems),
        }
    }
}

impl Settings {
    /// Takes over from newer settings what can change while the controller runs. Returns the names
    /// of changed fields that need a restart.
    pub fn take(&mut self, new: Self) -> Vec<&'static str> {
        // Every field is named, so that a new one cannot be forgotten. The folders follow from that
        // of the settings.
        let Self {
            trust_domain,
            cluster_uuid,
            network,
            gateway,
            metadata,
            egress,
            identity,
            key_file,
            times,
            admin,
            manifests: _,
            envoy: _,
            state: _,
        } = new;
        let Gateway {
            listen,
            advertise,
            admin: gateway_admin,
            filter_module,
            access_log,
            open_files,
            health_name,
        } = gateway;
        let Egress { listen: egress_listen, ports, admin: egress_admin, open_files: egress_files } =
            egress;
        let changed = [
            ("trustDomain", self.trust_domain == trust_domain),
            ("clusterUUID", self.cluster_uuid == cluster_uuid),
            ("gateway.listen", self.gateway.listen == listen),
            ("gateway.admin", self.gateway.admin == gateway_admin),
            ("gateway.filterModule", self.gateway.filter_module == filter_module),
            ("gateway.accessLog", self.gateway.access_log == access_log),
            ("gateway.healthName", self.gateway.health_name == health_name),
            ("egress.listen", self.egress.listen == egress_listen),
            ("egress.admin", self.egress.admin == egress_admin),
            ("metadata", self.metadata == metadata),
            ("identity", self.identity == identity),
            ("keyFile", self.key_file == key_file),
            ("times", self.times == times),
            ("admin", self.admin == admin),
        ];
        self.network = network;
        self.gateway.advertise = advertise;
        self.egress.ports = ports;
        self.gateway.open_files = open_files;
        self.egress.open_files = egress_files;
        changed.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
    }
}

fn listed(file: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.line {
        0 => format!("{}: {problem}", file.display()),
        line => format!("{}:{line}: {problem}", file.display()),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn read(dir: &Path, root: Section<'_>) -> Option<Settings> {
    let trust_domain = root.required(
        "trustDomain",
        "alpha.example",
        explained(TrustDomain::parse, "a trust domain such as alpha.example"),
    );
    let cluster_uuid = root.optional("clusterUUID", explained(ClusterUuid::parse, "a UUID"));
    let network = network(root.section("network"));
    let gateway = gateway(dir, root.section("gateway"));
    let egress = egress(root.section("egress"));
    let metadata = metadata(dir, root.section("metadata"));
    let identity = identity(dir, root.section("identity"));
    let key_file = root.or("keyFile", dir.join("state/authn.key"), path(dir));
    let times = times(root.section("times"));
    let admin = root.section("admin");
    let admin_listen = admin.or("listen", loopback(0), loopback_address);
    admin.finish();
    root.finish();
    Some(Settings {
        trust_domain: trust_domain?,
        cluster_uuid,
        network,
        gateway,
        egress,
        metadata: metadata?,
        identity: identity?,
        key_file,
        times,
        admin: Admin { listen: admin_listen },
        manifests: dir.join("manifests"),
        envoy: dir.join("envoy"),
        state: dir.join("state"),
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
    let gateway = Gateway {
        listen: section.or("listen", any(15_443), address),
        advertise: section.list("advertise", advertised),
        admin: section.or("admin", loopback(0), loopback_address),
        filter_module: section.or(
            "filterModule",
            fedgate_process::filter_module::default_path(),
            path(dir),
        ),
        access_log: section.optional("accessLog", path(dir)),
        open_files: section.optional("openFiles", open_files),
        health_name: section.or("healthName", true, yaml::boolean),
    };
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

fn egress(section: Section<'_>) -> Egress {
    let egress = Egress {
        listen: section.or("listen", Ipv4Addr::LOCALHOST.into(), parsed("an IP address")),
        ports: section.or("ports", 15_100..=15_999, ports),
        admin: section.or("admin", loopback(0), loopback_address),
        open_files: section.optional("openFiles", open_files),
    };
    section.finish();
    egress
}

fn metadata(dir: &Path, section: Section<'_>) -> Option<MetadataEndpoint> {
    let listen = section.or("listen", any(15_080), address);
    let metadata_path =
        section.or("path", MetadataPath::default(), explained(MetadataPath::parse, "a path"));
    let plain = section.or("plain", false, yaml::boolean);
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
    Some(MetadataEndpoint { listen, path: metadata_path, transport: transport? })
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

fn times(section: Section<'_>) -> Intervals {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    let Intervals { poll, probe, timeout, knowledge } = Intervals::default();
    let KnowledgeTimes { stale_after, staleness_limit } = knowledge;
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

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn path(dir: &Path) -> impl Fn(&Node) -> Result<PathBuf, String> {
    let dir = dir.to_owned();
    move |node| yaml::text(node).map(|text| dir.join(text)).map_err(|_| "a path".to_owned())
}

fn address(node: &Node) -> Result<SocketAddr, String> {
    parsed("an address such as 127.0.0.1:15443 or [::1]:15443")(node)
}

fn loopback_address(node: &Node) -> Result<SocketAddr, String> {
    let expected = "a loopback address such as 127.0.0.1:0, because it has no authentication";
    address(node)
        .ok()
        .filter(|address| address.ip().is_loopback())
        .ok_or_else(|| expected.to_owned())
}

fn advertised(node: &Node) -> Result<GatewayAddress, String> {
    let read = |text: String| GatewayAddress::parse(&text);
    yaml::text(node).ok().and_then(read).ok_or_else(|| {
        "a host and port such as gw.example:15443, 192.0.2.1:15443 or [2001:db8::1]:15443"
            .to_owned()
    })
}

fn open_files(node: &Node) -> Result<u64, String> {
    let expected = "a number of open files of at least 64, such as 65536";
    parsed::<u64>(expected)(node)
        .ok()
        .filter(|count| *count >= 64)
        .ok_or_else(|| expected.to_owned())
}

fn ports(node: &Node) -> Result<RangeInclusive<u16>, String> {
    let read = |text: String| {
        let (first, last) = text.split_once('-')?;
        let range = ServicePort::parse(first).ok()?.get()..=ServicePort::parse(last).ok()?.get();
        (!range.is_empty()).then_some(range)
    };
    yaml::text(node)
        .ok()
        .and_then(read)
        .ok_or_else(|| "a range of ports such as 15100-15999".to_owned())
}

/// The finding for a changed setting that is read only at the start.
pub(crate) fn restart_needed(cluster: ObjectRef, field: &str) -> Finding {
    let message = "it was changed, and what it was before stays in force; restart `fedgate run`";
    Finding::warning(FindingReason::RestartNeeded, cluster, field, message)
}
