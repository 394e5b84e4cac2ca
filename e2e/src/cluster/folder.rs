//! The files in a cluster's folder, and how an operator changes them. Files are replaced by rename,
//! as editors and configuration management do.

use super::Cluster;
use crate::authority::{Identity, Leaf};
use crate::manifest::{self, Service};
use crate::programs;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use xtask::native::CHOICE;
use xtask::ports;

/// The content of `fedgate.yaml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster's trust domain, which is also its cluster domain.
    pub trust_domain: String,
    /// The cluster's UUID.
    pub uuid: String,
    /// The address where the gateway accepts peers' connections.
    pub gateway: SocketAddr,
    /// The gateway addresses announced to peers.
    pub advertise: Vec<SocketAddr>,
    /// The address of the metadata endpoint.
    pub metadata: SocketAddr,
    /// The egress's local ports.
    pub egress_ports: RangeInclusive<u16>,
    /// More lines of the sections `gateway`, `egress` and `metadata`, and more sections.
    pub more: MoreLines,
    /// How often peers' documents are fetched.
    pub poll: String,
    /// How often peers' gateways are probed.
    pub probe: String,
    /// The age at which a peer's documents are reported as stale.
    pub stale_after: String,
    /// How long a peer's documents are used without being confirmed.
    pub staleness_limit: String,
    /// The HTTP proxy that leads to peers' metadata endpoints.
    pub proxy: Option<String>,
    /// The folder of client certificates for peers' metadata endpoints.
    pub client_tls: Option<String>,
    /// The gateway Envoy's admin address, if it is not any free one.
    pub gateway_admin: Option<SocketAddr>,
    /// The file of the gateway's access log, if it is not Envoy's output.
    pub gateway_access_log: Option<PathBuf>,
    /// How the gateway runs the filter.
    pub filter: Filter,
    /// The file of the gateway filter.
    pub filter_module: PathBuf,
}

/// Lines of `fedgate.yaml` that few tests need, without their indentation.
#[derive(Debug, Clone, Default)]
pub struct MoreLines {
    /// Of `gateway`.
    pub gateway: Vec<String>,
    /// Of `egress`.
    pub egress: Vec<String>,
    /// Of `metadata`.
    pub metadata: Vec<String>,
    /// Whole sections.
    pub sections: Vec<String>,
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// How gateways run the filter. All tests of a run use the same, so that each of them can run with
/// either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// As a proxy-wasm plugin.
    ProxyWasm,
    /// As a dynamic module.
    Native,
}

impl Filter {
    /// The filter of this run: [`CHOICE`].
    ///
    /// # Errors
    /// When the variable has another value.
    pub fn of_run() -> Result<Self> {
        match std::env::var(CHOICE).as_deref().unwrap_or("proxy-wasm") {
            "proxy-wasm" => Ok(Self::ProxyWasm),
            "native" => Ok(Self::Native),
            other => bail!("{CHOICE}: expected proxy-wasm or native, found {other:?}"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::ProxyWasm => "proxy-wasm",
            Self::Native => "native",
        }
    }

    fn module(self) -> Result<PathBuf> {
        let module = match self {
            Self::ProxyWasm => programs::filter(),
            Self::Native => programs::native_filter(),
        };
        Ok(module?.to_owned())
    }
}

impl Settings {
    pub(super) fn new(name: &str) -> Result<Self> {
        let gateway = ports::free()?;
        let filter = Filter::of_run()?;
        Ok(Self {
            trust_domain: format!("{name}.example"),
            uuid: uuid::Uuid::new_v4().to_string(),
            gateway,
            advertise: vec![gateway],
            metadata: ports::free()?,
            egress_ports: ports::free_range(50)?,
            more: MoreLines::default(),
            poll: "1s".into(),
            probe: "60s".into(),
            stale_after: "5m".into(),
            staleness_limit: "1h".into(),
            proxy: None,
            client_tls: None,
            gateway_admin: None,
            gateway_access_log: None,
            filter,
            filter_module: filter.module()?,
        })
    }

    fn yaml(&self) -> String {
        let mut yaml = format!("trustDomain: {}\nclusterUUID: {}\n", self.trust_domain, self.uuid);
        let _ = write!(yaml, "gateway:\n  listen: '{}'\n", self.gateway);
        // proxy-wasm is the default, and builds from before the native filter do not know the field.
        if self.filter != Filter::ProxyWasm {
            let _ = writeln!(yaml, "  filter: {}", self.filter.word());
        }
        if let Some(admin) = self.gateway_admin {
            let _ = writeln!(yaml, "  admin: {admin}");
        }
        if let Some(log) = &self.gateway_access_log {
            let _ = writeln!(yaml, "  accessLog: {}", log.display());
        }
        let _ = write!(yaml, "  filterModule: {}\n  advertise:\n", self.filter_module.display());
        for address in &self.advertise {
            let _ = writeln!(yaml, "    - '{address}'");
        }
        yaml += &indented(&self.more.gateway);
        let (first, last) = (self.egress_ports.start(), self.egress_ports.end());
        let _ = write!(yaml, "egress:\n  ports: {first}-{last}\n");
        yaml += &indented(&self.more.egress);
        let _ = writeln!(yaml, "metadata:\n  listen: {}", self.metadata);
        yaml += &indented(&self.more.metadata);
        yaml += "  tls:\n";
        yaml += "    certificate: identity/metadata.pem\n    key: identity/metadata.key\n";
        yaml += "identity:\n  certificateChain: identity/gateway.pem\n  privateKey: identity/gateway.key\n";
        yaml += "  roots: identity/roots.pem\n";
        let Self { poll, probe, stale_after, staleness_limit, .. } = self;
        let _ =
            write!(yaml, "times:\n  poll: {poll}\n  timeout: 5s\n  staleAfter: {stale_after}\n");
        let _ = writeln!(yaml, "  stalenessLimit: {staleness_limit}\n  probe: {probe}");
        if self.proxy.is_some() || self.client_tls.is_some() {
            yaml += "peers:\n";
        }
        for (field, value) in [("proxy", &self.proxy), ("clientTLS", &self.client_tls)] {
            yaml.extend(value.iter().map(|value| format!("  {field}: {value}\n")));
        }
        yaml.extend(self.more.sections.iter().map(|section| format!("{section}\n")));
        yaml
    }
}

impl Cluster {
    /// Writes `fedgate.yaml`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_settings(&self) -> Result<()> {
        self.put("fedgate.yaml", &self.settings.yaml())
    }

    /// Signs and writes the certificates of the gateway and the metadata endpoint, and writes the
    /// roots.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_identities(&self) -> Result<()> {
        self.write_gateway_identity()?;
        self.metadata_authority
            .sign(&metadata_leaf()?)?
            .write(&self.identity_folder(), "metadata")?;
        self.put("identity/roots.pem", &self.authority.pem())
    }

    /// Signs and writes a new gateway certificate. Writes the key first.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_gateway_identity(&self) -> Result<Identity> {
        std::fs::create_dir_all(self.identity_folder())?;
        let gateway = self.authority.workload(&self.spiffe_id("gateway"))?;
        gateway.write(&self.identity_folder(), "gateway")?;
        Ok(gateway)
    }

    fn identity_folder(&self) -> PathBuf {
        self.folder.join("identity")
    }

    /// Writes or replaces a Service's manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_service(&self, service: &Service) -> Result<()> {
        self.put_manifest(&service.file(), &service.yaml())
    }

    /// Makes another cluster a peer, with this metadata endpoint URL and the root of its
    /// certificate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_peer(&self, peer: &Cluster, url: &str) -> Result<()> {
        self.put_annotated_peer(peer, url, &[])
    }

    /// Like [`Self::put_peer`], with annotations.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_annotated_peer(
        &self,
        peer: &Cluster,
        url: &str,
        annotations: &[(&str, &str)],
    ) -> Result<()> {
        let ca = peer.metadata_authority.pem();
        let object = manifest::federation(&peer.name, peer.trust_domain(), url, &ca);
        self.put_manifest(&peer_file(&peer.name), &manifest::annotated(&object, annotations))
    }

    /// Removes a peer.
    ///
    /// # Errors
    /// When there is no such peer.
    pub fn remove_peer(&self, name: &str) -> Result<()> {
        self.remove_manifest(&peer_file(name))
    }

    /// Writes or replaces a `FederationPolicy` with this spec in JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_policy(&self, name: &str, spec: &str) -> Result<()> {
        self.put_manifest(&format!("policy-{name}.yaml"), &manifest::policy(name, spec))
    }

    /// Writes or replaces a file in `manifests/`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_manifest(&self, file: &str, text: &str) -> Result<()> {
        self.put(&format!("manifests/{file}"), text)
    }

    /// Removes a file in `manifests/`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn remove_manifest(&self, file: &str) -> Result<()> {
        std::fs::remove_file(self.folder.join("manifests").join(file))
            .with_context(|| format!("removing {file}"))
    }

    /// Writes or replaces a file in the cluster's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, file: &str, text: &str) -> Result<()> {
        replace(&self.folder.join(file), text)
    }
}

fn peer_file(name: &str) -> String {
    format!("peer-{name}.yaml")
}

/// A server certificate for the loopback address.
///
/// # Errors
/// Never.
pub fn metadata_leaf() -> Result<Leaf> {
    Ok(Leaf::new().dns("localhost")?.address(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

fn replace(file: &Path, text: &str) -> Result<()> {
    // The leading dot keeps the controller from reading the file while it is being written.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.new"));
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
