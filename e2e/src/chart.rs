//! The chart as an operator uses it: values in, objects out.

use crate::programs;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::process::Command;

/// The release name and namespace used in `docs/`.
pub const RELEASE: &str = "fedgate";

/// The Kubernetes version to render for. Helm's default is the version that it was built for, and
/// our pinned build has none.
const KUBERNETES: &str = "1.33.0";

/// The chart's folder.
pub fn folder() -> PathBuf {
    xtask::root().join("deploy/chart")
}

/// The supported combinations of values, by name: the files in the chart's folder `ci`.
///
/// # Errors
/// When the folder cannot be read.
pub fn combinations() -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder().join("ci"))? {
        let file = entry?.path();
        let name =
            file.file_stem().and_then(|name| name.to_str()).context("a file name")?.to_owned();
        files.push((name, file));
    }
    files.sort();
    Ok(files)
}

/// Runs helm and waits until it exits.
///
/// # Errors
/// When helm cannot be built or started.
pub async fn helm(arguments: &[&str]) -> Result<Output> {
    let mut helm = Command::new(programs::helm()?);
    helm.current_dir(xtask::root()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    helm.output().await.context("cannot start helm")
}

/// Runs `helm lint --strict` with a values file.
///
/// # Errors
/// When lint reports anything.
pub async fn lint(values: &Path) -> Result<()> {
    let (chart, values) = (folder().display().to_string(), values.display().to_string());
    let output =
        helm(&["lint", "--strict", "--kube-version", KUBERNETES, "--values", &values, &chart])
            .await?;
    ensure!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Runs `helm template` with additional arguments, such as `--values FILE`. Hooks are included.
///
/// # Errors
/// When Helm refuses the values; the message is Helm's.
pub async fn render(arguments: &[&str]) -> Result<Rendered> {
    let chart = folder().display().to_string();
    let head = [
        "template",
        RELEASE,
        &chart,
        "--namespace",
        "fedgate-system",
        "--kube-version",
        KUBERNETES,
    ];
    let output = helm(&[&head[..], arguments].concat()).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let yaml = String::from_utf8(output.stdout)?;
    let objects: Vec<Option<Value>> =
        serde_saphyr::from_multiple(&yaml).context("helm made no YAML")?;
    Ok(Rendered { objects: objects.into_iter().flatten().collect(), yaml })
}

/// Renders the chart with a values file.
///
/// # Errors
/// Same as [`render`].
pub async fn render_file(values: &Path) -> Result<Rendered> {
    render(&["--values", &values.display().to_string()])
        .await
        .with_context(|| values.display().to_string())
}

/// The output of `helm template`.
#[derive(Debug)]
pub struct Rendered {
    /// The output as text.
    pub yaml: String,
    /// The objects in the output.
    pub objects: Vec<Value>,
}

impl Rendered {
    /// All objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object with this kind and name.
    ///
    /// # Errors
    /// When there is no such object.
    pub fn object(&self, kind: &str, name: &str) -> Result<&Value> {
        let found = self
            .objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.with_context(|| format!("no {kind} {name} was rendered"))
    }

    /// The workloads and their Pod templates.
    pub fn pod_templates(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let of_pods = self
            .objects
            .iter()
            .filter(|object| object["spec"]["template"]["spec"]["containers"].is_array());
        of_pods.map(|object| (object, &object["spec"]["template"]))
    }
}

/// How a container is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its environment variables with literal values; those taken from a field of the Pod are left
    /// out.
    pub variables: BTreeMap<String, String>,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// How a workload's first container is started.
///
/// # Errors
/// When it has no container.
pub fn start(workload: &Value) -> Result<Start> {
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let pair = |variable: &Value| {
        Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str()?.to_owned()))
    };
    let variables = container["env"]
        .as_array()
        .context("the container has variables")?
        .iter()
        .filter_map(pair)
        .collect();
    let arguments =
        serde_json::from_value(container["args"].clone()).context("the container has arguments")?;
    Ok(Start { variables, arguments })
}
