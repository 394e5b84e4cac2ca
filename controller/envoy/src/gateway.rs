//! The gateway's files.

use super::bootstrap::bootstrap;
use super::file::Step;
use super::resource::discovery;
use super::{File, FilePath, GatewayInputs, cluster, filter, health, limits, listener, trust};

pub(super) const IDENTITY: &str = "gateway/identity.json";
pub(super) const BUNDLES: &str = "gateway/trust/bundles.json";
const TABLE: &str = "gateway/filter/filter.json";

pub(super) fn files(folder: &FilePath, inputs: &GatewayInputs<'_>) -> Vec<File> {
    let module = format!("gateway/filter/{}", inputs.module.file_name());
    let extension = filter::extension_config(inputs, &folder.join(&module));
    let federation = listener::federation(
        inputs,
        &folder.join(IDENTITY),
        &folder.join(BUNDLES),
        &folder.join(TABLE),
    );
    let socket = health::socket(folder.as_str());
    let exports =
        inputs.exports.iter().map(|(service, endpoints)| match inputs.health == Some(service) {
            true => cluster::health(service, &socket),
            false => cluster::export(service, endpoints),
        });
    let clusters = std::iter::once(cluster::black_hole()).chain(exports).collect();
    // This listener also answers the controller, which checks whether the gateway runs.
    let listeners = vec![federation, health::typed_listener(&socket)];
    let bootstrap = bootstrap(
        "gateway",
        &folder.join("gateway"),
        inputs.trust_domain,
        inputs.admin,
        filter::runtime_layers(inputs.module),
    );
    vec![
        File::new(Step::Base, module, inputs.module.bytes()),
        File::secret(IDENTITY, &trust::identity_secret(inputs.identity)),
        File::new(Step::Base, BUNDLES, trust::peers_bundles(inputs)),
        File::json(Step::Base, limits::file("gateway"), &limits::of_gateway(inputs.connections)),
        File::json(Step::Clusters, "gateway/cds.json", &discovery(clusters)),
        File::json(Step::Table, TABLE, &extension),
        File::json(Step::Listeners, "gateway/lds.json", &discovery(listeners)),
        File::json(Step::Bootstrap, "gateway/bootstrap.json", &bootstrap),
    ]
}
