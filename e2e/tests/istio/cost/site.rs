//! Two meshes: beta exports many services, and alpha, with sidecars, imports them all.

use super::sidecar::{VALIDATOR, cluster, wait_answers, wait_roots};
use crate::load::Load;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, MESH_NAMESPACE, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::{usage, wait};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many imports are added under load.
const ADDED: usize = 3;
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Lists of thousands of objects are read no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
const ENVOY_FILTER: (&str, &str) = ("networking.istio.io/v1alpha3", "EnvoyFilter");
const SERVICE_ENTRY: (&str, &str) = ("networking.istio.io/v1", "ServiceEntry");

/// The two meshes.
pub(super) struct Site {
    pub(super) alpha: Mesh,
    pub(super) imports: usize,
    beta: Mesh,
    backend: Backend,
}

impl Site {
    /// Starts both, and waits until alpha has all imports and an address for each.
    pub(super) async fn start(run: &RunFolder, imports: usize) -> Result<Self> {
        let variables = ["ISTIO_MULTIROOT_MESH", "AUTO_RELOAD_PLUGIN_CERTS"]
            .map(|name| (name.to_owned(), "true".to_owned()));
        let options = MeshOptions { variables: variables.into(), ..MeshOptions::default() };
        let mut beta = Mesh::start(run, "beta", &options).await?;
        let options = MeshOptions { usual_stats: true, ..options };
        let mut alpha = Mesh::start(run, "alpha", &options).await?;
        beta.cluster.put_peer(&alpha.cluster).await?;
        alpha.cluster.put_peer(&beta.cluster).await?;
        let backend = Backend::http_at(beta.cluster.addresses().node, "any", "beta").await?;
        let services = (0..imports).map(|number| exported(number, &backend));
        let put = async |service: Service| beta.cluster.put_service(&service).await;
        stream::iter(services).map(put).buffer_unordered(8).try_collect::<Vec<_>>().await?;
        beta.cluster.start_replica().await?;
        // A cluster without a gateway offers nothing.
        beta.start_gateway().await?;
        let began = Instant::now();
        alpha.cluster.start_replica().await?;
        let site = Self { alpha, imports, beta, backend };
        site.wait_imported().await?;
        println!("{imports} imports written after {:.1?}", began.elapsed());
        site.wait_allocated().await?;
        println!("istiod allocated an address for each after {:.1?}", began.elapsed());
        site.alpha.istiod.wait_idle().await?;
        let usage = site.alpha.istiod.usage()?;
        println!("istiod then: {:.1?} of CPU time, {usage}", usage.cpu);
        Ok(site)
    }

    /// Stops the controller, which would restore its form of the binding.
    pub(super) async fn stop_controller(&mut self) -> Result<()> {
        let leader = self.alpha.cluster.leader().await?;
        self.alpha.cluster.stop_replica(&leader).await.map(drop)
    }

    /// A client with all imports, whose calls to the first one are answered.
    pub(super) async fn client(&self) -> Result<Client> {
        let import = Import { host: host(0), port: 80, protocol: "HTTP" };
        let client = Client::start_with_all(&self.alpha, "caller", &[import]).await?;
        wait_answers(&client, &host(0)).await?;
        Ok(client)
    }

    /// Labels more Services, one by one, while the client calls. No call may fail.
    pub(super) async fn add_imports_under_load(&mut self, client: &Client) -> Result<()> {
        let first = self.imports;
        let work = async {
            for number in first..first + ADDED {
                self.add_import(client, number).await?;
            }
            Ok(())
        };
        Load::default().beside(client, &host(0), work).await?;
        self.imports += ADDED;
        Ok(())
    }

    async fn add_import(&self, client: &Client, number: usize) -> Result<()> {
        let (host, cpu) = (host(number), self.alpha.istiod.usage()?.cpu);
        let began = Instant::now();
        self.beta.cluster.put_service(&exported(number, &self.backend)).await?;
        let key = Key::namespaced(SERVICE_ENTRY.0, SERVICE_ENTRY.1, NAMESPACE, &host);
        self.alpha.cluster.objects().wait_present(key).await?;
        let written = began.elapsed();
        let bound = async || Ok(cluster(client, &host).await?.contains(VALIDATOR));
        wait::until_true(&format!("{host} in the sidecar"), PATIENCE, bound).await?;
        let configured = began.elapsed();
        wait_answers(client, &host).await?;
        let answered = began.elapsed();
        self.alpha.istiod.wait_idle().await?;
        println!(
            "one more import: written after {written:.2?}, in the sidecar after {configured:.2?}, \
             answers after {answered:.2?}; {:.2?} of istiod's CPU time until it was idle",
            self.alpha.istiod.usage()?.cpu.saturating_sub(cpu)
        );
        Ok(())
    }

    /// Adds a root to beta, which changes the binding of each import, while the client calls. No
    /// call may fail.
    pub(super) async fn add_root_under_load(&self, client: &Client) -> Result<()> {
        let (istiod, envoy) = (&self.alpha.istiod, client.agent().envoy_id()?);
        let (old, new) = (self.beta.cluster.authority(), Authority::root("the next root of beta")?);
        let work = async {
            let (cpu, sidecar) = (istiod.usage()?.cpu, usage::of(envoy)?.cpu);
            let began = Instant::now();
            self.beta.istiod.replace_ca(old, &(old.pem() + &new.pem()))?;
            wait_roots(client, self.imports, 2).await?;
            let there = began.elapsed();
            self.alpha.istiod.wait_idle().await?;
            let (after, now) = (istiod.usage()?, usage::of(envoy)?);
            println!(
                "one more root of the peer: in all bindings after {there:.1?}; {:.1?} of istiod's \
                 CPU time, {:.1?} of the sidecar's; istiod {after}, sidecar {now}",
                after.cpu.saturating_sub(cpu),
                now.cpu.saturating_sub(sidecar),
            );
            Ok(())
        };
        Load::default().beside(client, &host(0), work).await
    }

    async fn wait_imported(&self) -> Result<()> {
        wait::until_true("all imports", PATIENCE, async || {
            let wanted = self.imports as f64;
            let created = "fedgate_writes_total{kind=\"ServiceEntry\",verb=\"Create\"}";
            for metric in ["fedgate_imports", created] {
                let found = self.alpha.cluster.first_replica()?.metric(metric).await?;
                ensure!(found >= wanted, "{metric} is {found}");
            }
            let found = self.bindings().await?;
            // A host's binding is written before its ServiceEntry.
            Ok(patches(&found).count() == self.imports
                && self.alpha.cluster.count_imports().await? == self.imports)
        })
        .await
    }

    /// Waits until istiod has allocated an address to each ServiceEntry, which changes them all.
    async fn wait_allocated(&self) -> Result<()> {
        wait::until_true("the imports' addresses", PATIENCE, async || {
            tokio::time::sleep(PAUSE).await;
            let objects = self.alpha.cluster.objects();
            let entries = objects.list(SERVICE_ENTRY, Some(NAMESPACE), "").await?;
            let with_address =
                entries.iter().filter(|entry| entry["status"]["addresses"].is_array()).count();
            ensure!(with_address >= self.imports, "{with_address} have an address");
            Ok(true)
        })
        .await
    }

    /// Replaces all EnvoyFilters in the mesh's root namespace: one for each list of patches.
    pub(super) async fn replace(&self, wanted: &[Vec<Value>]) -> Result<()> {
        let objects = self.alpha.cluster.objects();
        for binding in self.bindings().await? {
            objects.delete(key(&binding)?).await?;
        }
        for (number, patches) in wanted.iter().enumerate() {
            let object = json!({
                "apiVersion": ENVOY_FILTER.0,
                "kind": ENVOY_FILTER.1,
                "metadata": { "namespace": MESH_NAMESPACE, "name": format!("binding-{number}") },
                "spec": { "configPatches": patches },
            });
            objects.apply_one(&object).await?;
        }
        Ok(())
    }

    /// The EnvoyFilters in the mesh's root namespace: what binds the imports.
    pub(super) async fn bindings(&self) -> Result<Vec<Value>> {
        self.alpha.cluster.objects().list(ENVOY_FILTER, Some(MESH_NAMESPACE), "").await
    }
}

fn exported(number: usize, backend: &Backend) -> Service {
    Service::new(&format!("s{number}"), "http", 80, backend.address()).exported()
}

pub(super) fn host(number: usize) -> String {
    format!("s{number}.shop.svc.beta.example")
}

pub(super) fn patches(bindings: &[Value]) -> impl Iterator<Item = &Value> {
    bindings.iter().filter_map(|binding| binding["spec"]["configPatches"].as_array()).flatten()
}

fn key(object: &Value) -> Result<Key<'_>> {
    let name = object["metadata"]["name"].as_str().context("a name")?;
    Ok(Key::namespaced(ENVOY_FILTER.0, ENVOY_FILTER.1, MESH_NAMESPACE, name))
}
