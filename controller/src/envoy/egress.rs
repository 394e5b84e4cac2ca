//! The egress's files.

use super::bootstrap::bootstrap;
use super::file::Step;
use super::resource::discovery;
use super::{EgressInputs, File, FilePath, cluster, listener, trust};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::Import;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const IDENTITY: &str = "egress/identity.json";

pub(super) fn files(folder: &FilePath, inputs: &EgressInputs<'_>) -> Vec<File> {
    let outlets = outlets(inputs);
    let mut files = peer_files(&outlets);
    files.extend([
        File::json(Step::Base, IDENTITY, &trust::identity_secret(inputs.identity)),
        File::json(Step::Clusters, "egress/cds.json", &clusters(folder, &outlets)),
        File::json(Step::Listeners, "egress/lds.json", &listeners(inputs, &outlets)),
        File::json(Step::Bootstrap, "egress/bootstrap.json", &bootstrap_of(folder, inputs)),
    ]);
    files
}

/// An import with all that it needs.
struct Outlet<'a> {
    import: &'a Import,
    bundle: &'a TrustBundle,
    port: u16,
}

/// By name: the files are the same in whatever order the imports come.
type Outlets<'a> = BTreeMap<&'a ServiceName, Outlet<'a>>;

/// Envoy refuses a secret without roots, and its start waits for it, so without a bundle there is no cluster either.
fn outlets<'a>(inputs: &EgressInputs<'a>) -> Outlets<'a> {
    let outlet = |import: &'a Import| {
        let bundle = inputs.bundles.get(&import.trust_domain).filter(|bundle| !bundle.roots.is_empty())?;
        let port = *inputs.ports.get(&import.service)?;
        Some((&import.service, Outlet { import, bundle, port }))
    };
    inputs.imports.iter().filter_map(outlet).collect()
}

/// One for each peer and way: who must answer is the same for all imports of a peer whose TLS ends at its gateway, and for all others.
fn peer_files(outlets: &Outlets<'_>) -> Vec<File> {
    let files: BTreeMap<_, _> = outlets.values().map(|outlet| (peer_file(outlet.import), outlet)).collect();
    let secret = |outlet: &Outlet<'_>| trust::peer_secret(outlet.bundle, &outlet.import.server);
    files.into_iter().map(|(name, outlet)| File::json(Step::Base, name, &secret(outlet))).collect()
}

fn clusters(folder: &FilePath, outlets: &Outlets<'_>) -> Value {
    let identity = folder.join(IDENTITY);
    let cluster =
        |Outlet { import, .. }: &Outlet<'_>| cluster::import(import, &identity, &folder.join(&peer_file(import)));
    discovery(outlets.values().map(cluster).collect())
}

fn listeners(inputs: &EgressInputs<'_>, outlets: &Outlets<'_>) -> Value {
    let listener = |outlet: &Outlet<'_>| {
        listener::import(&outlet.import.service, SocketAddr::new(inputs.listen, outlet.port), inputs.access_log)
    };
    discovery(outlets.values().map(listener).collect())
}

fn bootstrap_of(folder: &FilePath, inputs: &EgressInputs<'_>) -> Value {
    bootstrap("egress", &folder.join("egress"), inputs.trust_domain, inputs.admin, inputs.connections)
}

/// A trust domain's letters are all fit for a file's name, and it may be longer than a file's name may be (255 bytes, with
/// the ending and the letters that a name has while it is being written).
fn peer_file(import: &Import) -> String {
    const LONGEST: usize = 200;
    // No trust domain has this letter.
    let way = if import.passthrough { "+passthrough" } else { "" };
    match import.trust_domain.as_str() {
        name if name.len() <= LONGEST => format!("egress/trust/{name}{way}.json"),
        name => format!("egress/trust/{}{way}.json", super::resource::hash(name.as_bytes())),
    }
}
