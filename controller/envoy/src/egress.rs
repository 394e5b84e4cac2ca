//! The egress's files.

use super::bootstrap::bootstrap;
use super::file::Step;
use super::resource::discovery;
use super::{EgressInputs, File, FilePath, cluster, health, limits, listener, trust};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::Import;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const IDENTITY: &str = "egress/identity.json";

pub(super) fn files(folder: &FilePath, inputs: &EgressInputs<'_>) -> Vec<File> {
    let outlets = outlets(inputs);
    vec![
        File::secret(IDENTITY, &trust::identity_secret(inputs.identity)),
        File::json(Step::Base, limits::file("egress"), &limits::limits(inputs.connections)),
        File::json(Step::Clusters, "egress/cds.json", &clusters(folder, &outlets)),
        File::json(Step::Listeners, "egress/lds.json", &listeners(folder, inputs, &outlets)),
        File::json(Step::Bootstrap, "egress/bootstrap.json", &bootstrap_of(folder, inputs)),
    ]
}

/// An import with all that it needs.
struct Outlet<'a> {
    import: &'a Import,
    bundle: &'a TrustBundle,
    port: u16,
}

/// By name, so that the files do not depend on the order of the imports.
type Outlets<'a> = BTreeMap<&'a ServiceName, Outlet<'a>>;

/// Envoy refuses a trust domain without roots, so an import without a bundle gets no cluster.
fn outlets<'a>(inputs: &EgressInputs<'a>) -> Outlets<'a> {
    let outlet = |import: &'a Import| {
        let bundle =
            inputs.bundles.get(&import.trust_domain).filter(|bundle| !bundle.roots.is_empty())?;
        let port = *inputs.ports.get(&import.service)?;
        Some((&import.service, Outlet { import, bundle, port }))
    };
    inputs.imports.iter().filter_map(outlet).collect()
}

/// One cluster for each peer and way. Gateways, roots and expected identities are the same for all
/// of a peer's imports whose TLS ends at its gateway, and the same for all others.
fn clusters(folder: &FilePath, outlets: &Outlets<'_>) -> Value {
    let identity = folder.join(IDENTITY);
    let ways: BTreeMap<_, _> =
        outlets.values().map(|outlet| (way(outlet.import), outlet)).collect();
    let cluster = |(name, outlet): (String, &Outlet<'_>)| {
        cluster::peer(&name, outlet.import, outlet.bundle, &identity)
    };
    discovery(ways.into_iter().map(cluster).collect())
}

fn listeners(folder: &FilePath, inputs: &EgressInputs<'_>, outlets: &Outlets<'_>) -> Value {
    let listener = |outlet: &Outlet<'_>| {
        let listen = SocketAddr::new(inputs.listen, outlet.port);
        listener::import(&outlet.import.service, &way(outlet.import), listen, inputs.access_log)
    };
    let health = health::typed_listener(&socket(folder));
    discovery(std::iter::once(health).chain(outlets.values().map(listener)).collect())
}

/// The socket that shows whether the egress runs.
pub(super) fn socket(folder: &FilePath) -> String {
    health::socket(folder.join("egress").as_str())
}

fn bootstrap_of(folder: &FilePath, inputs: &EgressInputs<'_>) -> Value {
    bootstrap("egress", &folder.join("egress"), inputs.trust_domain, inputs.admin, vec![])
}

/// The name of the cluster that an import goes through.
fn way(import: &Import) -> String {
    // No trust domain contains a `+`.
    let through = if import.passthrough { "+passthrough" } else { "" };
    format!("peer|{}{through}", import.trust_domain)
}
