//! A cluster where fedgate is installed with Helm. There is no kubelet: the test runs what a Pod
//! would run, with its variables, arguments and ServiceAccount.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{ControlPlane, Key, MESH_NAMESPACE, NAMESPACE, Objects, Options};
use fedgate_e2e::process::Process;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::{chart, programs};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;
use xtask::ports;

pub(super) const PLAIN: [&str; 3] = [
    "trustDomain=alpha.example",
    "image.repository=registry.example/fedgate",
    "metadata.plain=true",
];
const CONTROLLER: Key<'_> = Key::namespaced("apps/v1", "Deployment", NAMESPACE, "fedgate");
const JOB: Key<'_> = Key::namespaced("batch/v1", "Job", NAMESPACE, "fedgate-uninstall");

/// A version of fedgate, as its release would have it.
#[derive(Debug, Clone)]
pub(super) struct Release {
    chart: PathBuf,
    program: &'static Path,
    filter: &'static Path,
}

impl Release {
    pub(super) fn present() -> Result<Self> {
        let (program, filter) = (programs::fedgate()?, programs::filter()?);
        Ok(Self { chart: chart::folder(), program, filter })
    }

    /// The commit that plays the previous release.
    pub(super) fn previous() -> Result<Self> {
        let (program, filter) = (programs::previous_fedgate()?, programs::previous_filter()?);
        Ok(Self { chart: xtask::previous::chart()?, program, filter })
    }
}

/// A cluster with Istio's kinds where fedgate is installed.
pub(super) struct Installed {
    kubeconfig: String,
    pub(super) objects: Objects,
    plane: ControlPlane,
}

impl Installed {
    pub(super) async fn new(run: &RunFolder, release: &Release) -> Result<Self> {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        objects.apply_file(programs::istio_crds()?).await?;
        let root = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": MESH_NAMESPACE } });
        objects.apply_one(&root).await?;
        let kubeconfig = plane.admin_kubeconfig()?.display().to_string();
        let installed = Self { kubeconfig, objects, plane };
        installed.install(release).await?;
        Ok(installed)
    }

    pub(super) async fn install(&self, release: &Release) -> Result<()> {
        let installed = self.apply(release, &["install", "--create-namespace"], &PLAIN).await?;
        succeeded(&installed).map(drop)
    }

    /// `helm install` or `helm upgrade` with the chart of a release.
    pub(super) async fn apply(
        &self,
        release: &Release,
        arguments: &[&str],
        values: &[&str],
    ) -> Result<Output> {
        let chart = release.chart.display().to_string();
        let values: Vec<_> = values.iter().flat_map(|value| ["--set", value]).collect();
        self.helm(&[arguments, &[chart.as_str()], &values].concat()).await
    }

    /// A command of Helm about the release.
    pub(super) async fn helm(&self, arguments: &[&str]) -> Result<Output> {
        let target = [chart::RELEASE, "--namespace", NAMESPACE, "--kubeconfig", &self.kubeconfig];
        chart::helm(&[&arguments[..1], &target, &arguments[1..]].concat()).await
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

    /// Starts a release's controller as the Deployment in the cluster says. `name` is the Pod's.
    pub(super) async fn start_controller(
        &self,
        run: &RunFolder,
        release: &Release,
        name: &str,
    ) -> Result<Process> {
        let deployment = self.objects.wait_present(CONTROLLER).await?;
        let chart::Start { mut variables, arguments } = self.as_it_would_run(&deployment).await?;
        for variable in ["FEDGATE_METADATA_LISTEN", "FEDGATE_PROBES_LISTEN"] {
            variables.insert(variable.into(), ports::free()?.to_string());
        }
        // In the image the filter is next to the program.
        variables.insert("FEDGATE_FILTER_FILE".into(), release.filter.display().to_string());
        variables.insert("POD_NAME".into(), name.to_owned());
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        Process::start_with(name, release.program, &arguments, &variables, &run.log(name))
    }

    /// Runs the Job that precedes the deletion of the release, and marks it as complete.
    pub(super) async fn run_job(&self) -> Result<String> {
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
}

pub(super) fn succeeded(output: &Output) -> Result<String> {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{printed}\n{errors}");
    Ok(printed.into_owned())
}
