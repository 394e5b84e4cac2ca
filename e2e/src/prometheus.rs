//! A real Prometheus.

use crate::process::Process;
use crate::{programs, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use xtask::ports;

const START: Duration = Duration::from_secs(60);

/// What Prometheus scrapes each second.
pub struct Target {
    /// The value of the label `cluster`.
    pub cluster: String,
    /// Its address.
    pub address: SocketAddr,
    /// The path of its metrics.
    pub path: &'static str,
}

/// A running Prometheus. Stops when dropped.
pub struct Prometheus {
    address: SocketAddr,
    http: reqwest::Client,
    process: Process,
}

impl Prometheus {
    /// Starts one in a folder, with the rules of a file.
    ///
    /// # Errors
    /// When it does not become ready, for example because of a wrong rule.
    pub async fn start(folder: &Path, targets: &[Target], rules: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let jobs: Vec<_> = targets.iter().enumerate().map(job).collect();
        let configuration = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        std::fs::write(folder.join("prometheus.yml"), configuration.to_string())?;
        let address = ports::free()?;
        let arguments = [
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let arguments = arguments.each_ref().map(AsRef::as_ref);
        let log = folder.join("log");
        let process = Process::start("Prometheus", programs::prometheus()?, &arguments, &log)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        let mut started = Self { address, http, process };
        started.wait_ready().await?;
        Ok(started)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let (http, url) = (self.http.clone(), format!("http://{}/-/ready", self.address));
        let ready = async || Ok(http.get(&url).send().await?.status().is_success().then_some(()));
        self.process.wait_until("Prometheus to be ready", START, ready).await
    }

    /// The series that answer an expression now.
    ///
    /// # Errors
    /// When Prometheus refuses the expression.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let answer = self.ask("query", &[("query", expression)]).await;
        let answer = answer.with_context(|| expression.to_owned())?;
        answer["result"].as_array().cloned().with_context(|| format!("{expression}: {answer}"))
    }

    /// The names of all series that begin with `prefix`.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn names(&self, prefix: &str) -> Result<BTreeSet<String>> {
        let names = self.ask("label/__name__/values", &[]).await?;
        let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// The rules: each with its `name`, `health` and `lastError`.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.ask("rules", &[]).await?;
        let groups = answer["groups"].as_array().into_iter().flatten();
        Ok(groups
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect())
    }

    /// Waits until every target was scraped without an error.
    ///
    /// # Errors
    /// When one is not; the message has Prometheus's error.
    pub async fn wait_scraped(&self, deadline: Duration) -> Result<()> {
        wait::until("every target to be scraped", deadline, async || {
            let answer = self.ask("targets", &[]).await?;
            for target in answer["activeTargets"].as_array().into_iter().flatten() {
                ensure!(
                    target["health"] == "up",
                    "{}: {}",
                    target["scrapeUrl"],
                    target["lastError"]
                );
            }
            Ok(Some(()))
        })
        .await
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut url = reqwest::Url::parse(&url)?;
        url.query_pairs_mut().extend_pairs(parameters);
        let mut answer: Value = self.http.get(url).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{answer}");
        Ok(answer["data"].take())
    }
}

fn job((number, target): (usize, &Target)) -> Value {
    json!({
        "job_name": format!("{}-{number}", target.cluster),
        "metrics_path": target.path,
        "static_configs": [{ "targets": [target.address], "labels": { "cluster": target.cluster } }],
    })
}
