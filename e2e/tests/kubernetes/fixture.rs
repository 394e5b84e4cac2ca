//! Fixtures shared by most tests.

use anyhow::{Context, Result};
use fedgate_e2e::kubernetes::objects::condition_with_reason;
use fedgate_e2e::kubernetes::{
    Key, KubernetesCluster, KubernetesFederation, MESH_NAMESPACE, NAMESPACE,
};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// An exported Service `shop/NAME`.
pub(crate) fn exported(name: &str) -> Service {
    let target = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 5), 8080));
    Service::new(name, "http", 80, target).exported()
}

/// The keys of an import's own objects in the importing cluster, for its host.
pub(crate) fn import_objects(host: &str) -> [Key<'_>; 2] {
    ["ServiceEntry", "DestinationRule"]
        .map(|kind| Key::namespaced("networking.istio.io/v1", kind, NAMESPACE, host))
}

/// The name of the EnvoyFilter that binds a host to its owner's roots. It may bind other hosts too.
pub(crate) async fn binding(cluster: &KubernetesCluster, host: &str) -> Result<Option<String>> {
    let kind = ("networking.istio.io/v1alpha3", "EnvoyFilter");
    let filters = cluster.objects().list(kind, Some(MESH_NAMESPACE), "").await?;
    let binds = |filter: &&Value| {
        let patches = filter["spec"]["configPatches"].as_array().into_iter().flatten();
        patches.into_iter().any(|patch| patch["match"]["cluster"]["service"] == host)
    };
    let name = |filter: &Value| filter["metadata"]["name"].as_str().map(str::to_owned);
    Ok(filters.iter().find(binds).and_then(name))
}

/// The key of a peer's object.
pub(crate) const fn peer(name: &str) -> Key<'_> {
    Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", name)
}

/// The key of a ConfigMap in fedgate's namespace.
pub(crate) const fn config_map(name: &str) -> Key<'_> {
    Key::namespaced("v1", "ConfigMap", NAMESPACE, name)
}

/// The key of the gateway's table.
pub(crate) const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

/// Waits until all objects of an import exist.
pub(crate) async fn wait_imported(cluster: &KubernetesCluster, host: &str) -> Result<()> {
    for object in import_objects(host) {
        cluster.objects().wait_present(object).await?;
    }
    wait::until(&format!("{host} to be bound"), SOON, async || binding(cluster, host).await)
        .await
        .map(drop)
}

/// Waits until no object of an import exists.
pub(crate) async fn wait_not_imported(cluster: &KubernetesCluster, host: &str) -> Result<()> {
    for object in import_objects(host) {
        cluster.objects().wait_absent(object).await?;
    }
    let is_unbound = async || Ok(binding(cluster, host).await?.is_none());
    wait::until_true(&format!("{host} to be bound no more"), SOON, is_unbound).await
}

/// The UIDs and resource versions of existing objects. They stay the same as long as no one writes
/// the objects.
pub(crate) async fn versions(
    cluster: &KubernetesCluster,
    keys: &[Key<'_>],
) -> Result<Vec<[Value; 2]>> {
    let mut versions = Vec::new();
    for key in keys {
        let metadata = &cluster
            .objects()
            .get(*key)
            .await?
            .with_context(|| format!("there is no {key}"))?["metadata"];
        versions.push([metadata["uid"].clone(), metadata["resourceVersion"].clone()]);
    }
    Ok(versions)
}

/// Waits until none of the objects has been written for a while, and returns their versions. A new
/// pair still learns how each sees the other.
pub(crate) async fn at_rest(
    cluster: &KubernetesCluster,
    keys: &[Key<'_>],
) -> Result<Vec<[Value; 2]>> {
    const QUIET: Duration = Duration::from_secs(3);
    let mut last = (versions(cluster, keys).await?, Instant::now());
    wait::until_true("the objects to come to rest", SOON, async || {
        let now = versions(cluster, keys).await?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok(last.1.elapsed() >= QUIET)
    })
    .await?;
    Ok(last.0)
}

/// Waits until a condition of a peer's object has this status and reason.
pub(crate) async fn wait_condition(
    cluster: &KubernetesCluster,
    name: &str,
    kind: &str,
    (status, reason): (&str, &str),
) -> Result<Value> {
    let what = format!("of {} to have the condition {kind}={status} ({reason})", cluster.name());
    let matches = |object: &Value| condition_with_reason(object, kind) == Some((status, reason));
    cluster.objects().wait_for(peer(name), &what, matches).await
}

/// alpha and beta, paired, with one controller each. beta exports `web`, and alpha has imported it.
pub(crate) struct Pair {
    pub(crate) federation: KubernetesFederation<2>,
    /// The imported host.
    pub(crate) web: String,
}

impl Pair {
    pub(crate) async fn start(run: &RunFolder) -> Result<Self> {
        Self::start_with(run, &[]).await
    }

    /// Starts both controllers with these additional environment variables.
    pub(crate) async fn start_with(run: &RunFolder, settings: &[(&str, &str)]) -> Result<Self> {
        let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
        for cluster in &mut federation.clusters {
            cluster
                .settings()
                .extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        }
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
        wait_imported(self.alpha(), &self.web).await
    }

    pub(crate) fn alpha(&self) -> &KubernetesCluster {
        &self.federation.clusters[0]
    }

    /// The value of a metric of alpha's controller.
    pub(crate) async fn alpha_metric(&self, series: &str) -> Result<f64> {
        self.alpha().first_replica()?.metric(series).await
    }

    pub(crate) fn beta(&self) -> &KubernetesCluster {
        &self.federation.clusters[1]
    }

    pub(crate) fn alpha_mut(&mut self) -> &mut KubernetesCluster {
        &mut self.federation.clusters[0]
    }
}
