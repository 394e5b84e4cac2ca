//! `fedgate.yaml`: the settings of a cluster's folder.

mod change;
mod fields;
mod values;

pub use crate::yaml::Problem;
pub(crate) use change::restart_needed;

use crate::yaml::{self, Limits, Problems, Section};
use anyhow::{Context, Result, bail};
use fedgate_core::{PeerName, TrustDomain};
use fedgate_envoy::{AddressRange, FilterKind, Quiet};
use fedgate_exchange::settings::{Intervals, MetadataEndpoint, PeerAccess};
use fedgate_federation::document::{Advertised, ClusterUuid, Locality, Network};
use fedgate_federation::object::FederatedSuffix;
use fedgate_process::regular_file;
use fedgate_trace::Endpoint;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

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
    /// `connections`: `keepalive` (`30s`) and `idleTimeout` (`1h`), of both Envoys.
    pub connections: Quiet,
    /// `federatedServices.suffix` (`global`): what federated names end in.
    pub federated_suffix: FederatedSuffix,
    /// `metadata`: `listen` (`0.0.0.0:15080`), `path` (`/metadata`), `proxyProtocol` (false), and
    /// `tls` or `plain: true`.
    pub metadata: MetadataEndpoint,
    /// `identity`.
    pub identity: IdentityFiles,
    /// `keyFile` (`state/authn.key`): the Ed25519 key that signs requests; created if missing.
    pub key_file: PathBuf,
    /// `otherKeyFile`: during a rotation the next key, or the last. It is never created.
    pub other_key_file: Option<PathBuf>,
    /// `times`: `poll` (`30s`), `probe` (`60s`), `timeout` (`15s`), `staleAfter` (`5m`) and
    /// `stalenessLimit` (`24h`).
    pub times: Intervals,
    /// `peers`: `proxy`, `noProxy` and `clientTLS`, for their metadata endpoints.
    pub peers: PeerAccess,
    /// `admin`.
    pub admin: Admin,
    /// `tracing.otlpEndpoint`: where traces of changes go; by default there are none.
    pub tracing: Option<Endpoint>,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// The folder that Envoy reads.
    pub envoy: PathBuf,
    /// The folder for the controller's own state.
    pub state: PathBuf,
    /// The folder with the names of imports, for other programs.
    pub names: PathBuf,
}

/// `gateway`: the Envoy that peers connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `listen` (`0.0.0.0:15443`).
    pub listen: SocketAddr,
    /// `advertise`: where peers connect; by default `listen`, if that is a single
    /// address.
    pub advertise: Vec<Advertised>,
    /// `advertiseTo`: where single peers connect instead.
    pub advertise_to: BTreeMap<PeerName, Vec<Advertised>>,
    /// `proxyProtocol` (false): whether a load balancer in front of it sends the PROXY protocol.
    pub proxy_protocol: bool,
    /// `admin` (`127.0.0.1:0`): Envoy's admin address; with port 0 the system picks one.
    pub admin: SocketAddr,
    /// `filter` (`proxy-wasm`): how Envoy runs the filter.
    pub filter: FilterKind,
    /// `filterModule`; by default `fedgate_filter.wasm` next to the program, or
    /// `libfedgate_filter_native.so` with `filter: native`.
    pub filter_module: PathBuf,
    /// `accessLog`: a file; by default Envoy's standard output.
    pub access_log: Option<PathBuf>,
    /// `openFiles`: how many files this Envoy may open (its hard limit), if that differs from the
    /// controller's limit.
    pub open_files: Option<u64>,
    /// `healthName` (true): offers peers the name that DKP clusters probe. This gateway answers it.
    pub health_name: bool,
    /// `namedCallers` (0): how many combinations of peer, caller's namespace and export the filter
    /// counts by name. Only with `filter: proxy-wasm`.
    pub named_callers: u32,
}

/// `egress`: the Envoy that local programs call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// `listen` (`127.0.0.1`): the address of all ports.
    pub listen: IpAddr,
    /// `ports` (`15100-15999`): each import gets one.
    pub ports: RangeInclusive<u16>,
    /// `addresses`: loopback addresses, one for each imported host, at which its own ports are.
    pub addresses: Option<AddressRange>,
    /// `serverNames`: where TLS clients reach imports by server name.
    pub server_names: Option<SocketAddr>,
    /// `admin` (`127.0.0.1:0`).
    pub admin: SocketAddr,
    /// `locality`: where this Envoy is, so that peers' nearest gateways are tried first.
    pub locality: Option<Locality>,
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
    /// Reads the `fedgate.yaml` of a folder, for a command that takes it with `--dir`.
    ///
    /// # Errors
    /// All problems at once, each with its line and field, what was expected and what was found.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::read_or_advise(dir, "name the folder with --dir")
    }

    /// Like [`Self::read`], for a command whose argument is the folder.
    ///
    /// # Errors
    /// Same as [`Self::read`].
    pub fn read_argument(dir: &Path) -> Result<Self> {
        Self::read_or_advise(dir, "name another folder")
    }

    fn read_or_advise(dir: &Path, advice: &str) -> Result<Self> {
        let file = dir.join(FILE);
        let text = read_text(&file).with_context(|| {
            format!("cannot read {}: every cluster's folder has one; {advice}", file.display())
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
        let settings = fields::read(&dir, Section::root(node.as_ref(), &problems));
        match (settings, problems.into_vec()) {
            (Some(settings), problems) if problems.is_empty() => Ok(settings),
            (_, problems) => Err(problems),
        }
    }
}

/// The text of a `fedgate.yaml`.
///
/// # Errors
/// If it cannot be read, is no regular file, too large or not UTF-8.
pub fn read_text(file: &Path) -> std::io::Result<String> {
    regular_file::read_text(file, Limits::default().bytes as u64)
}

fn listed(file: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.line {
        0 => format!("{}: {problem}", file.display()),
        line => format!("{}:{line}: {problem}", file.display()),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
