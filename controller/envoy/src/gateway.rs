//! The gateway's files.

use super::bootstrap::bootstrap;
use super::file::Step;
use super::resource::discovery;
use super::text::{self, Texts};
use super::{
    File, FilePath, GatewayInputs, Quiet, cluster, filter, health, limits, listener, trust,
};
use fedgate_core::ServiceName;
use std::collections::BTreeSet;
use std::net::SocketAddr;

pub(super) const IDENTITY: &str = "gateway/identity.json";
pub(super) const BUNDLES: &str = "gateway/trust/bundles.json";
const TABLE: &str = "gateway/filter/filter.json";

/// The texts of the exports' clusters that were made last.
pub(super) type GatewayTexts = Texts<ExportCluster>;

/// Everything that the cluster of an export is made from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExportCluster {
    service: ServiceName,
    /// `None` for the health name.
    endpoints: Option<BTreeSet<SocketAddr>>,
    quiet: Quiet,
}

pub(super) fn files(
    folder: &FilePath,
    texts: &mut GatewayTexts,
    inputs: &GatewayInputs<'_>,
) -> Vec<File> {
    let module = format!("gateway/filter/{}", inputs.module.file_name());
    let extension = filter::extension_config(inputs, &folder.join(&module));
    let federation = listener::federation(
        inputs,
        &folder.join(IDENTITY),
        &folder.join(BUNDLES),
        &folder.join(TABLE),
    );
    let socket = health::socket(folder.as_str());
    let exports = inputs.exports.iter().map(|(service, endpoints)| ExportCluster {
        service: service.clone(),
        endpoints: (inputs.health != Some(service)).then(|| endpoints.clone()),
        quiet: inputs.quiet,
    });
    let exports = texts.of(exports, |export| match &export.endpoints {
        None => cluster::health(&export.service, &socket),
        Some(endpoints) => cluster::export(&export.service, endpoints, export.quiet),
    });
    let black_hole = text::resource(&cluster::black_hole());
    let clusters: Vec<_> = std::iter::once(black_hole).chain(exports).collect();
    // This listener also answers the controller, which checks whether the gateway runs.
    let listeners = vec![federation, health::typed_listener(&socket)];
    let bootstrap = bootstrap(
        "gateway",
        &folder.join("gateway"),
        inputs.trust_domain,
        inputs.admin,
        filter::runtime_layers(inputs.module.kind()),
    );
    vec![
        File::new(Step::Base, module, inputs.module.bytes()),
        File::secret(IDENTITY, &trust::identity_secret(inputs.identity)),
        File::new(Step::Base, BUNDLES, trust::peers_bundles(inputs)),
        File::json(Step::Base, limits::file("gateway"), &limits::of_gateway(inputs.connections)),
        File::resources(Step::Clusters, "gateway/cds.json", &clusters),
        File::json(Step::Table, TABLE, &extension),
        File::json(Step::Listeners, "gateway/lds.json", &discovery(listeners)),
        File::json(Step::Bootstrap, "gateway/bootstrap.json", &bootstrap),
    ]
}
