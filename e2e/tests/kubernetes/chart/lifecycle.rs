//! `helm install`, `helm upgrade` and `helm uninstall`, with the controller that they start and the
//! Job that cleans up. There is no kubelet: the test runs what a Pod would run, with its variables,
//! arguments and ServiceAccount.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::install::mesh_root_certificate;
use fedgate_e2e::kubernetes::objects::SOON;
use fedgate_e2e::kubernetes::{ControlPlane, Key, MESH_NAMESPACE, NAMESPACE, Objects, Options};
use fedgate_e2e::process::Process;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::{authority::Authority, chart, programs, wait};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::process::Output;
use xtask::ports;

const PLAIN: [&str; 3] = [
    "trustDomain=alpha.example",
    "image.repository=registry.example/fedgate",
    "metadata.plain=true",
];
const CONTROLLER: Key<'_> = Key::namespaced("apps/v1", "Deployment", NAMESPACE, "fedgate");
const GATEWAY_PODS: Key<'_> =
    Key::namespaced("apps/v1", "Deployment", NAMESPACE, "fedgate-gateway");
const JOB: Key<'_> = Key::namespaced("batch/v1", "Job", NAMESPACE, "fedgate-uninstall");
const IDENTITY: Key<'_> = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");
/// The objects that the controller writes for the gateway.
const LISTENER: [Key<'_>; 6] = [
    Key::namespaced("networking.istio.io/v1", "Gateway", NAMESPACE, "fedgate-gateway"),
    Key::namespaced("networking.istio.io/v1", "VirtualService", NAMESPACE, "fedgate-black-hole"),
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-gateway"),
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table"),
    Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-trust-bundle"),
    Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-filter"),
];
/// The kinds of objects that belong to a mesh.
const MESH: [(&str, &str); 6] = [
    ("networking.istio.io/v1", "Gateway"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("extensions.istio.io/v1alpha1", "WasmPlugin"),
];

/// A cluster with Istio's kinds where fedgate is installed.
struct Installed {
    kubeconfig: String,
    objects: Objects,
    plane: ControlPlane,
}

impl Installed {
    async fn new(run: &RunFolder) -> Result<Self> {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        objects.apply_file(programs::istio_crds()?).await?;
        let root = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": MESH_NAMESPACE } });
        objects.apply_one(&root).await?;
        let kubeconfig = plane.admin_kubeconfig()?.display().to_string();
        let installed = Self { kubeconfig, objects, plane };
        installed.install().await?;
        Ok(installed)
    }

    async fn install(&self) -> Result<()> {
        succeeded(&self.helm("install", &["--create-namespace"], &PLAIN).await?).map(drop)
    }

    async fn helm(&self, verb: &str, more: &[&str], values: &[&str]) -> Result<Output> {
        let folder = chart::folder().display().to_string();
        let mut arguments =
            vec![verb, chart::RELEASE, "--namespace", NAMESPACE, "--kubeconfig", &self.kubeconfig];
        if verb != "uninstall" {
            arguments.push(&folder);
        }
        arguments.extend(more);
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        chart::helm(&arguments).await
    }

    /// How a kubelet would start a workload in the cluster, with a kubeconfig of the workload's
    /// ServiceAccount.
    async fn as_it_would_run(&self, workload: &Value) -> Result<chart::Start> {
        let mut start = chart::start(workload)?;
        let account = workload["spec"]["template"]["spec"]["serviceAccountName"]
            .as_str()
            .context("an account")?;
        let kubeconfig = self.plane.service_account_kubeconfig(NAMESPACE, account).await?;
        start.variables.insert("KUBECONFIG".into(), kubeconfig.display().to_string());
        start.variables.insert("POD_NAME".into(), format!("{account}-1"));
        Ok(start)
    }

    async fn start_controller(&self, run: &RunFolder) -> Result<Process> {
        let deployment = self.objects.wait_present(CONTROLLER).await?;
        let chart::Start { mut variables, arguments } = self.as_it_would_run(&deployment).await?;
        for variable in ["FEDGATE_METADATA_LISTEN", "FEDGATE_PROBES_LISTEN"] {
            variables.insert(variable.into(), ports::free()?.to_string());
        }
        // In the image the filter is next to the program.
        variables.insert("FEDGATE_FILTER_FILE".into(), programs::filter()?.display().to_string());
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        Process::start_with(
            "controller",
            programs::fedgate()?,
            &arguments,
            &variables,
            &run.log("controller"),
        )
    }

    /// Runs the Job that precedes the deletion of the release, and marks it as complete.
    async fn run_job(&self) -> Result<String> {
        let job = self.objects.wait_present(JOB).await?;
        let chart::Start { variables, arguments } = self.as_it_would_run(&job).await?;
        let output = tokio::process::Command::new(programs::fedgate()?)
            .args(arguments)
            .envs(variables)
            .output()
            .await?;
        let printed = succeeded(&output)?;
        let time = job["metadata"]["creationTimestamp"].clone();
        let condition =
            |kind| json!({ "type": kind, "status": "True", "lastTransitionTime": time });
        let status = json!({
            "startTime": time, "completionTime": time, "succeeded": 1,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
        });
        self.objects.patch_status(JOB, &status).await?;
        Ok(printed)
    }

    async fn versions(&self) -> Result<Vec<Value>> {
        let mut versions = Vec::new();
        for key in LISTENER {
            versions
                .push(self.objects.wait_present(key).await?["metadata"]["resourceVersion"].clone());
        }
        Ok(versions)
    }

    /// fedgate's objects that are left in the mesh.
    async fn left(&self) -> Result<Vec<Value>> {
        let mut left = Vec::new();
        for kind in MESH {
            left.extend(self.objects.list(kind, None, "").await?);
        }
        left.extend(
            self.objects
                .list(("v1", "ConfigMap"), None, "fedgate.dev/owner=fedgate-system")
                .await?,
        );
        for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
            let roles = self.objects.list(("rbac.authorization.k8s.io/v1", kind), None, "").await?;
            let ours = |role: &Value| {
                role["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("fedgate"))
            };
            left.extend(roles.into_iter().filter(ours));
        }
        let labelled = "app.kubernetes.io/name=fedgate";
        for kind in [
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
            ("v1", "ServiceAccount"),
            ("batch/v1", "Job"),
        ] {
            left.extend(self.objects.list(kind, None, labelled).await?);
        }
        Ok(left)
    }
}

fn succeeded(output: &Output) -> Result<String> {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{printed}\n{errors}");
    Ok(printed.into_owned())
}

#[test]
fn install_upgrade_and_uninstall_leave_the_mesh_as_it_was() {
    scenario("lifecycle", async |run: &RunFolder| {
        let fedgate = Installed::new(run).await?;
        let objects = &fedgate.objects;
        mesh_root_certificate(objects, &Authority::root("root of alpha")?.pem()).await?;
        let controller = fedgate.start_controller(run).await?;
        let before = fedgate.versions().await?;

        // An upgrade that changes only chart values changes no listener.
        let more = [&PLAIN[..], &["gateway.replicas=3"]].concat();
        succeeded(&fedgate.helm("upgrade", &[], &more).await?)?;
        objects
            .wait_for(GATEWAY_PODS, "to have 3 replicas", |gateway| {
                gateway["spec"]["replicas"] == 3
            })
            .await?;
        ensure!(fedgate.versions().await? == before, "the upgrade changed a listener");
        // An upgrade with a wrong value changes nothing.
        let wrong = [&PLAIN[..], &["gateway.replica=4"]].concat();
        let refused = fedgate.helm("upgrade", &[], &wrong).await?;
        ensure!(
            String::from_utf8_lossy(&refused.stderr).contains("'replica' not allowed"),
            "{refused:?}"
        );

        // Uninstall while the controller is running.
        let (uninstalled, job) =
            tokio::join!(fedgate.helm("uninstall", &[], &[]), fedgate.run_job());
        let job = job?;
        succeeded(&uninstalled?)?;
        ensure!(job.contains("a controller runs") && job.contains("objects deleted"), "{job}");
        drop(controller);
        let nothing = async || Ok(fedgate.left().await?.is_empty());
        if let Err(error) = wait::until_true("nothing to be left", SOON, nothing).await {
            anyhow::bail!("{error:#}: {:#?}", fedgate.left().await?);
        }
        // The definitions stay with their objects, and so does the identity.
        for name in ["istiofederations.deckhouse.io", "federationpolicies.fedgate.dev"] {
            let definition =
                Key::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
            ensure!(objects.get(definition).await?.is_some(), "{name} is gone");
        }
        let identity =
            objects.get(IDENTITY).await?.context("the identity is gone")?["data"].clone();

        // After a new installation it is the same cluster to its peers.
        fedgate.install().await?;
        let _controller = fedgate.start_controller(run).await?;
        fedgate.versions().await?;
        ensure!(objects.get(IDENTITY).await?.context("the identity is gone")?["data"] == identity);
        Ok(())
    });
}
