//! What most tests start from.

use anyhow::Result;
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, KubernetesFederation, MESH_NAMESPACE, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use std::net::{Ipv4Addr, SocketAddr};

/// The Service `shop/NAME` of a cluster, exported.
pub(crate) fn exported(name: &str) -> Service {
    let target = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 5), 8080));
    Service::new(name, "http", 80, target).exported()
}

/// The objects of an import in the importing cluster, by its host.
pub(crate) fn import_objects(host: &str) -> [Key<'_>; 3] {
    [
        Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host),
        Key::namespaced("networking.istio.io/v1", "DestinationRule", NAMESPACE, host),
        Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", MESH_NAMESPACE, host),
    ]
}

/// alpha and beta, paired, each with one controller; beta exports `web`, and alpha has imported it.
pub(crate) struct Pair {
    pub(crate) federation: KubernetesFederation<2>,
    /// The imported host.
    pub(crate) web: String,
}

impl Pair {
    pub(crate) async fn start(run: &RunFolder) -> Result<Self> {
        let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
        federation.pair().await?;
        let [_, beta] = &federation.clusters;
        let web = exported("web");
        beta.put_service(&web).await?;
        let host = web.host(&beta.trust_domain());
        federation.start_controllers().await?;
        let pair = Self { federation, web: host };
        pair.wait_imported().await?;
        Ok(pair)
    }

    pub(crate) async fn wait_imported(&self) -> Result<()> {
        for object in import_objects(&self.web) {
            self.alpha().objects().wait_present(object).await?;
        }
        Ok(())
    }

    pub(crate) fn alpha(&self) -> &KubernetesCluster {
        &self.federation.clusters[0]
    }

    pub(crate) fn beta(&self) -> &KubernetesCluster {
        &self.federation.clusters[1]
    }

    pub(crate) fn alpha_mut(&mut self) -> &mut KubernetesCluster {
        &mut self.federation.clusters[0]
    }
}
