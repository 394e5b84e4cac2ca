//! A cluster whose gateway and egress are real Envoys, and the state that its files are made from.

use super::pki::Authority;
use super::process::{Envoy, free_port};
use fedgate_core::{
    Callers, Grant, Mode, Options, Peer, PeerName, ServiceName, ServicePort, Table, TableBuilder,
    TrustDomain,
};
use fedgate_envoy::{
    AccessLog, Connections, EgressInputs, EnvoyFiles, FilterKind, FilterModule, GatewayInputs,
    Identity, Written,
};
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::document::{GatewayAddress, GatewayHost};
use fedgate_federation::federate::{Gateway, Import, Protocol, ServerIdentity};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ANY_PORT: SocketAddr = SocketAddr::new(LOOPBACK, 0);

/// The real module, built by this run of the tests.
pub(crate) fn module() -> &'static FilterModule {
    static MODULE: OnceLock<FilterModule> = OnceLock::new();
    MODULE.get_or_init(|| {
        FilterModule::new(
            FilterKind::ProxyWasm,
            std::fs::read(xtask::wasm::build().unwrap()).unwrap(),
        )
    })
}

pub(crate) fn service(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

/// An export: its endpoints, and the peers it is granted to.
pub(crate) type Export = (BTreeSet<SocketAddr>, Vec<TrustDomain>);

pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
    pub(crate) files: EnvoyFiles,
    pub(crate) identity: Identity,
    /// The first certificate given to its Envoys, in DER.
    pub(crate) certificate: Vec<u8>,
    /// The gateway's address, once it has been started.
    address: Cell<SocketAddr>,
    /// Each peer in the table, and its roots.
    pub(crate) bundles: BTreeMap<TrustDomain, TrustBundle>,
    pub(crate) exports: BTreeMap<ServiceName, Export>,
    pub(crate) imports: Vec<Import>,
    /// The imports' local ports.
    pub(crate) ports: BTreeMap<ServiceName, u16>,
    /// How many connections each of its Envoys accepts.
    pub(crate) connections: Connections,
    /// Settings of the filter.
    pub(crate) options: Options,
    generation: u64,
}

impl Cluster {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(trust_domain);
        let leaf = authority.workload("ns/istio-system/sa/gateway");
        Self {
            authority,
            files: EnvoyFiles::new(&folder.path().join("envoy")).unwrap(),
            folder,
            identity: leaf.identity(),
            certificate: leaf.chain()[0].to_vec(),
            address: Cell::new(ANY_PORT),
            bundles: BTreeMap::new(),
            exports: BTreeMap::new(),
            imports: Vec::new(),
            ports: BTreeMap::new(),
            connections: Connections::default(),
            options: Options::default(),
            generation: 0,
        }
    }

    pub(crate) fn peer(&mut self, peer: &Authority) {
        self.bundles.insert(peer.trust_domain.clone(), peer.bundle());
    }

    pub(crate) fn export(&mut self, name: &str, endpoint: SocketAddr, peers: &[&Authority]) {
        let peers = peers.iter().map(|peer| peer.trust_domain.clone()).collect();
        self.exports.insert(service(name), (BTreeSet::from([endpoint]), peers));
    }

    fn table(&self) -> Table {
        let mut builder = TableBuilder::new(self.authority.trust_domain.clone());
        let mut indexes = BTreeMap::new();
        for trust_domain in self.bundles.keys() {
            let name = PeerName::parse(&trust_domain.as_str().replace(".example", "")).unwrap();
            let peer = Peer { name, trust_domain: trust_domain.clone(), mode: Mode::Enforce };
            indexes.insert(trust_domain, builder.peer(peer).unwrap());
        }
        for (service, (_, peers)) in &self.exports {
            let grant = |peer: &TrustDomain| Grant { peer: indexes[peer], callers: Callers::Any };
            builder.export(service.clone(), peers.iter().map(grant).collect()).unwrap();
        }
        Table::read(builder.build(self.generation).unwrap()).unwrap()
    }

    /// Writes the gateway's files, with the next generation of the table.
    pub(crate) fn publish(&mut self) -> Written {
        self.generation += 1;
        let table = self.table();
        let endpoints = self
            .exports
            .iter()
            .map(|(name, (endpoints, _))| (name.clone(), endpoints.clone()))
            .collect();
        let files = self.files.gateway(&GatewayInputs {
            proxy_protocol: false,
            quiet: Default::default(),
            trust_domain: &self.authority.trust_domain,
            listen: ANY_PORT,
            admin: ANY_PORT,
            identity: &self.identity,
            local_roots: &self.authority.bundle().roots,
            bundles: &self.bundles,
            exports: &endpoints,
            health: None,
            table: &table,
            options: self.options,
            module: module(),
            access_log: &AccessLog::Stdout,
            connections: self.connections,
        });
        self.files.write(&files).unwrap()
    }

    /// Imports a service from the peer that owns it.
    pub(crate) fn import(&mut self, name: &str, gateways: &[(&str, u16)]) {
        let service = service(name);
        let (_, trust_domain) = service.host.as_str().split_once(".svc.").unwrap();
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        self.imports.retain(|import| import.service != service);
        self.imports.push(Import {
            peer: PeerName::parse("peer").unwrap(),
            service,
            port_name: "tcp".into(),
            protocol: Protocol::Tcp,
            gateways: gateways.iter().map(|(host, port)| gateway(host, *port)).collect(),
            passthrough: false,
            server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
            trust_domain,
        });
    }

    /// Writes the egress's files.
    pub(crate) fn publish_imports(&mut self) -> Written {
        for import in &self.imports {
            self.ports.entry(import.service.clone()).or_insert_with(free_port);
        }
        let files = self.files.egress(&EgressInputs {
            quiet: Default::default(),
            locality: None,
            trust_domain: &self.authority.trust_domain,
            listen: LOOPBACK,
            admin: ANY_PORT,
            identity: &self.identity,
            imports: &self.imports.iter().cloned().collect(),
            ports: &self.ports,
            names: fedgate_envoy::EgressNames::default(),
            federated: &[],
            endpoints: &Default::default(),
            probe_targets: &Default::default(),
            bundles: &self.bundles,
            access_log: &AccessLog::Stdout,
            connections: self.connections,
        });
        self.files.write(&files).unwrap()
    }

    /// The address where a local program reaches an import.
    pub(crate) fn port(&self, name: &str) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.ports[&service(name)])
    }

    pub(crate) fn gateway(&self) -> Envoy {
        let envoy = self.start("gateway");
        self.address.set(envoy.listener("federation"));
        envoy
    }

    pub(crate) fn limited_gateway(&self, open_files: u64) -> Envoy {
        let envoy = Envoy::start_limited(
            self.path("gateway/bootstrap.json"),
            &self.folder.path().join("gateway"),
            open_files,
        );
        self.address.set(envoy.listener("federation"));
        envoy
    }

    pub(crate) fn egress_with_inotify(&self, instances: usize) -> Envoy {
        Envoy::start_with_inotify(
            self.path("egress/bootstrap.json"),
            &self.folder.path().join("egress"),
            instances,
        )
    }

    /// Adds this many peers with two imports each. Their gateway is a port on loopback.
    pub(crate) fn peers_with_imports(&mut self, count: usize, gateway: u16) -> Vec<Authority> {
        let peers: Vec<_> =
            (0..count).map(|number| Authority::new(&format!("peer-{number}.example"))).collect();
        for peer in &peers {
            self.peer(peer);
            for port in [80, 443] {
                self.import(
                    &format!("web.shop.svc.{}:{port}", peer.trust_domain),
                    &[("127.0.0.1", gateway)],
                );
            }
        }
        peers
    }

    pub(crate) fn limited_egress(&self, open_files: u64) -> Envoy {
        Envoy::start_limited(
            self.path("egress/bootstrap.json"),
            &self.folder.path().join("egress"),
            open_files,
        )
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.get()
    }

    pub(crate) fn egress(&self) -> Envoy {
        self.start("egress")
    }

    fn start(&self, role: &str) -> Envoy {
        Envoy::start(
            self.files.path(&format!("{role}/bootstrap.json")),
            &self.folder.path().join(role),
        )
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.files.path(relative).as_ref().to_owned()
    }
}

/// A gateway at an IP address.
fn gateway(host: &str, port: u16) -> Gateway {
    let announced = GatewayAddress {
        address: GatewayHost::parse(host).unwrap(),
        port: ServicePort::new(port).unwrap(),
    };
    Gateway {
        announced,
        addresses: vec![SocketAddr::new(host.parse().unwrap(), port)],
        locality: None,
    }
}
