//! `helm upgrade` from the previous release and `helm rollback` to it, with the controllers of both
//! in the order in which a Deployment rolls them. After each step an export must reach the table:
//! that takes definitions, permissions, Lease and objects which both releases can use.

use super::installed::{Installed, PLAIN, Release, succeeded};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::kubernetes::install::mesh_root_certificate;
use fedgate_e2e::kubernetes::{Key, NAMESPACE, SHOP};
use fedgate_e2e::process::Process;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::SOON;
use fedgate_e2e::{programs, wait};
use serde_json::{Value, json};
use std::process::Command;

const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");
const BETA: Key<'_> = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "beta");
const POLICY: Key<'_> =
    Key::cluster_scoped("fedgate.dev/v1alpha1", "FederationPolicy", "shop-for-beta");
const NAME: Key<'_> = Key::namespaced("fedgate.dev/v1alpha1", "FederatedService", SHOP, "web");

/// Values that an operator has set, all of which the previous release knows too.
const SET: [&str; 4] = [
    "gateway.advertise[0]=192.0.2.7:15443",
    "gateway.replicas=3",
    "gateway.drainSeconds=90",
    "times.poll=20s",
];

/// A release in a cluster, with the controller that runs.
struct Upgrade<'r> {
    run: &'r RunFolder,
    fedgate: Installed,
    controller: Process,
    exports: Vec<&'static str>,
}

impl Upgrade<'_> {
    /// The other release's controller starts, then the one before stops, as a Deployment rolls.
    async fn roll(&mut self, release: &Release, name: &str) -> Result<()> {
        let next = self.fedgate.start_controller(self.run, release, name).await?;
        let mut last = std::mem::replace(&mut self.controller, next);
        let ended = last.terminate(SOON).await?;
        ensure!(ended.success(), "{}: {ended}\n{}", last.name(), last.log_tail(20));
        Ok(())
    }

    /// Exports another Service. The table must have it, and all that were exported before.
    async fn export(&mut self, name: &'static str) -> Result<()> {
        let metadata = json!({
            "namespace": SHOP, "name": name,
            "labels": { "federation.istio.deckhouse.io/public-service": "" },
        });
        let spec = json!({ "ports": [{ "name": "http", "port": 80 }] });
        let service =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
        self.fedgate.objects.apply_one(&service).await?;
        self.exports.push(name);
        let in_table = async || {
            let table = self.table().await?.to_string();
            let missing =
                |name: &&&str| !table.contains(&format!("_.{name}.shop.svc.alpha.example"));
            let missing: Vec<_> = self.exports.iter().filter(missing).collect();
            ensure!(missing.is_empty(), "the table lacks {missing:?}");
            Ok(Some(()))
        };
        let log = || format!("{}\n{}", self.controller.name(), self.controller.log_tail(20));
        wait::until(&format!("{name} in the table"), SOON, in_table).await.with_context(log)
    }

    async fn table(&self) -> Result<Value> {
        let object = self.fedgate.objects.get(TABLE).await?.context("there is no table")?;
        let file = self.run.path().join("table.json");
        std::fs::write(&file, object.to_string())?;
        let mut fedgate = Command::new(programs::fedgate()?);
        let output = fedgate.arg("table").arg(&file).args(["--output", "json"]).output()?;
        Ok(serde_json::from_str(&succeeded(&output)?)?)
    }

    /// The specs of an operator's objects, which no step may change.
    async fn specs(&self, keys: &[Key<'_>]) -> Result<Vec<Value>> {
        let mut specs = Vec::new();
        for key in keys {
            specs.push(self.fedgate.objects.wait_present(*key).await?["spec"].clone());
        }
        Ok(specs)
    }
}

/// `helm upgrade` to a release, with the operator's values.
async fn upgrade(fedgate: &Installed, release: &Release) -> Result<()> {
    let values = [&PLAIN[..], &SET].concat();
    succeeded(&fedgate.apply(release, &["upgrade"], &values).await?).map(drop)
}

/// A peer that never answers, and a policy for it.
fn objects() -> [Value; 2] {
    let spec =
        json!({ "trustDomain": "beta.example", "metadataEndpoint": "https://192.0.2.9/metadata" });
    let beta = json!({
        "apiVersion": "deckhouse.io/v1alpha1", "kind": "IstioFederation",
        "metadata": { "name": "beta" }, "spec": spec,
    });
    let spec = json!({
        "peers": ["beta"],
        "services": [{ "namespaces": ["shop"] }],
        "callers": [{ "namespace": "front" }],
    });
    let policy = json!({
        "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy",
        "metadata": { "name": "shop-for-beta" }, "spec": spec,
    });
    [beta, policy]
}

/// An object of a kind that the previous release does not know.
fn federated_service() -> Value {
    json!({
        "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService",
        "metadata": { "namespace": SHOP, "name": "web" },
        "spec": { "ports": [{ "name": "http", "port": 80 }], "members": [{ "allPeers": {} }] },
    })
}

#[test]
fn an_upgrade_with_helm_and_its_rollback_lose_neither_objects_nor_table() {
    scenario("helm-upgrade", async |run: &RunFolder| {
        let (previous, present) = (Release::previous()?, Release::present()?);
        let fedgate = Installed::new(run, &previous).await?;
        mesh_root_certificate(&fedgate.objects, &Authority::root("root of alpha")?.pem()).await?;
        let shop = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } });
        for object in [&[shop], &objects()[..]].concat() {
            fedgate.objects.apply_one(&object).await?;
        }
        upgrade(&fedgate, &previous).await?;
        let controller = fedgate.start_controller(run, &previous, "previous").await?;
        let mut site = Upgrade { run, fedgate, controller, exports: Vec::new() };
        site.export("first").await?;
        let before = site.specs(&[BETA, POLICY]).await?;

        // Helm has put the new definitions and permissions in place; the controllers roll later.
        upgrade(&site.fedgate, &present).await?;
        site.export("before-the-roll").await?;
        site.roll(&present, "present").await?;
        site.export("upgraded").await?;
        ensure!(site.specs(&[BETA, POLICY]).await? == before, "the upgrade changed an object");
        site.fedgate.objects.apply_one(&federated_service()).await?;
        let name = site.specs(&[NAME]).await?;

        succeeded(&site.fedgate.helm(&["rollback"]).await?)?;
        site.roll(&previous, "rolled-back").await?;
        site.export("rolled-back").await?;
        ensure!(site.specs(&[BETA, POLICY]).await? == before, "the rollback changed an object");
        ensure!(site.specs(&[NAME]).await? == name, "the rollback changed a FederatedService");

        // Once more: what the earlier release has written must not be in the way.
        upgrade(&site.fedgate, &present).await?;
        site.roll(&present, "upgraded-again").await?;
        site.export("upgraded-again").await
    });
}
