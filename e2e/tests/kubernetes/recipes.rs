//! The manifests of `docs/cookbook.md`: the definitions of the products that they are for accept
//! them, and the chart accepts their values.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::chart;
use fedgate_e2e::kubernetes::{ControlPlane, KubernetesCluster};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use tokio::process::Command;

const COOKBOOK: &str = include_str!("../../../docs/cookbook.md");

/// What the chart requires, for a recipe that shows other values only.
const REQUIRED: &str = "trustDomain=alpha.example,image.repository=registry.example/fedgate,\
                        metadata.tls.secretName=fedgate-metadata";

/// The YAML blocks of the page.
fn blocks() -> Result<Vec<Value>> {
    let texts = COOKBOOK.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    texts
        .map(|(text, _)| serde_saphyr::from_str(text).with_context(|| format!("no YAML: {text}")))
        .collect()
}

/// The page's manifest of a kind.
fn manifest(kind: &str) -> Result<Value> {
    let found = blocks()?.into_iter().find(|block| block["kind"] == kind);
    found.with_context(|| format!("the cookbook has no {kind}"))
}

/// Has the API server judge a manifest as `kubectl apply` would, unknown fields included, without
/// keeping it. Returns the error, if there is one.
async fn judged(plane: &ControlPlane, run: &RunFolder, manifest: &Value) -> Result<Option<String>> {
    let file = run.path().join("manifest.json");
    std::fs::write(&file, manifest.to_string())?;
    let mut kubectl = Command::new(programs::kubectl()?);
    kubectl.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"]);
    kubectl.arg(&file).env("KUBECONFIG", plane.admin_kubeconfig()?).env("HOME", run.path());
    let output = kubectl.kill_on_drop(true).output().await.context("cannot start kubectl")?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(error))
}

#[test]
fn the_manifests_of_the_cookbook_are_accepted() {
    scenario("recipes", async |run: &RunFolder| {
        let cluster = KubernetesCluster::start(run, "alpha").await?;
        let (plane, objects) = (cluster.plane(), cluster.objects());
        for definition in xtask::recipes::definitions()? {
            objects.apply_file(&definition).await?;
        }
        objects.put_namespace("argocd").await?;
        // Each with a field that is misspelled in its twin.
        for (kind, section, field) in [
            ("Certificate", "/spec", "dnsNames"),
            ("Application", "/spec/source", "targetRevision"),
            ("HelmRelease", "/spec", "chart"),
        ] {
            let mut manifest = manifest(kind)?;
            let error = judged(plane, run, &manifest).await?;
            ensure!(error.is_none(), "{kind}: {error:?}");
            let section = manifest.pointer_mut(section).and_then(Value::as_object_mut);
            let section = section.with_context(|| format!("{kind}: no section"))?;
            let value = section.remove(field).with_context(|| format!("{kind}: no {field}"))?;
            section.insert(format!("{field}s"), value);
            let error = judged(plane, run, &manifest).await?;
            let expected = format!("{field}s");
            ensure!(error.as_ref().is_some_and(|error| error.contains(&expected)), "{error:?}");
        }
        Ok(())
    });
}

/// SPIRE itself is not on the module proxy. Its servers read bundles in the format that SPIFFE's
/// library defines.
#[test]
fn spiffes_own_library_reads_the_bundle() {
    scenario("spiffe", async |run: &RunFolder| {
        let mut cluster = KubernetesCluster::start(run, "alpha").await?;
        cluster.start_replica().await?;
        let url = format!("{}/public/spiffe-bundle-endpoint", cluster.metadata_url());
        let read = async |ca: &Authority, url: &str| {
            let file = run.path().join("ca.pem");
            std::fs::write(&file, ca.pem())?;
            let mut program = Command::new(xtask::spiffe::bundle()?);
            program.arg(cluster.trust_domain()).arg(url).arg(&file);
            let output = program.kill_on_drop(true).output().await?;
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            anyhow::Ok(output.status.success().then_some(printed).ok_or(error))
        };
        let roots = wait::until("the bundle", SOON, async || {
            read(cluster.metadata_authority(), &url).await?.map(Some).map_err(anyhow::Error::msg)
        })
        .await?;
        let lines = |pem: &str| pem.lines().map(str::to_owned).collect::<String>();
        ensure!(lines(&roots) == lines(&cluster.authority().pem()), "{roots}");
        // A server that another CA has signed is not believed, and other documents are no bundles.
        let error = read(cluster.authority(), &url).await?.err().context("any CA was believed")?;
        ensure!(error.contains("certificate signed by unknown authority"), "{error}");
        let public = url.replace("spiffe-bundle-endpoint", "public.json");
        let error = read(cluster.metadata_authority(), &public).await?.err();
        ensure!(error.is_some_and(|error| error.contains("bundle")), "it was read as a bundle");
        Ok(())
    });
}

/// Renders the chart with values of the page and more arguments of Helm.
async fn rendered(run: &RunFolder, values: &Value, more: &[&str]) -> Result<chart::Rendered> {
    let file = run.path().join("values.json");
    std::fs::write(&file, values.to_string())?;
    chart::render(&[&["--values", &file.display().to_string()], more].concat()).await
}

#[test]
fn the_chart_accepts_the_values_of_the_cookbook() {
    scenario("recipe-values", async |run: &RunFolder| {
        let release = manifest("HelmRelease")?["spec"]["values"].clone();
        let controller = rendered(run, &release, &[]).await?;
        let pod = &controller.object("Deployment", "fedgate")?["spec"]["template"]["spec"];
        let secrets = pod["volumes"].as_array().context("the Pod has volumes")?;
        let has = |name: &str| secrets.iter().any(|volume| volume["secret"]["secretName"] == name);
        ensure!(has("fedgate-metadata"), "{secrets:?}");
        // The recipe's certificate is the Secret that its values name.
        let certificate = manifest("Certificate")?;
        ensure!(certificate["spec"]["secretName"] == "fedgate-metadata", "{certificate}");

        let blocks = blocks()?;
        let roots = blocks.iter().find(|block| block["metadata"]["rootsConfigMap"].is_string());
        let roots = roots.context("the cookbook has no rootsConfigMap")?;
        let deployed = rendered(run, roots, &["--set", REQUIRED]).await?;
        let start = chart::start(deployed.object("Deployment", "fedgate")?)?;
        let name = start.variables.values().find(|value| *value == "spire-roots");
        ensure!(name.is_some(), "{:?}", start.variables);

        // A value that the chart does not know is refused, so the recipes cannot fall behind.
        let mut unknown = release;
        unknown["metadata"]["tls"]["secret"] = json!("fedgate-metadata");
        ensure!(rendered(run, &unknown, &[]).await.is_err(), "an unknown value was accepted");
        Ok(())
    });
}
