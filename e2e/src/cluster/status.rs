//! The output of `fedgate status`, as an operator's script reads it.

use super::Cluster;
use crate::programs;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;

/// The output of `fedgate status --output json`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

/// A finding about one object.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Finding {
    /// The object that it is about.
    pub object: Value,
    /// The field that it is about.
    pub field: Option<String>,
    /// The stable reason word.
    pub reason: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// The message.
    pub message: String,
}

impl Status {
    /// All findings.
    pub fn findings(&self) -> Vec<Finding> {
        let findings = self.0["findings"].as_array().cloned().unwrap_or_default();
        findings.into_iter().filter_map(|finding| serde_json::from_value(finding).ok()).collect()
    }

    /// The first finding with this reason.
    pub fn finding(&self, reason: &str) -> Option<Finding> {
        self.findings().into_iter().find(|finding| finding.reason == reason)
    }

    /// A peer's condition: status, reason and message.
    pub fn condition(&self, peer: &str, kind: &str) -> Option<[&str; 3]> {
        let peer = self.0["peers"].as_array()?.iter().find(|row| row["name"] == peer)?;
        let condition =
            peer["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
        Some([
            condition["status"].as_str()?,
            condition["reason"].as_str()?,
            condition["message"].as_str()?,
        ])
    }

    /// A federated name.
    pub fn federated(&self, service: &str) -> Option<&Value> {
        let names = self.0["federatedServices"].as_array()?;
        names.iter().find(|name| name["service"] == service)
    }

    /// The members of such a name, each as `PLACE STATE`, with a `*` if it takes calls.
    pub fn members(&self, service: &str) -> Vec<String> {
        let members = self.federated(service).and_then(|name| name["members"].as_array());
        let text = |member: &Value| {
            let taken = if member["taken"] == true { "*" } else { "" };
            let place = member["peer"].as_str().unwrap_or("local");
            format!("{taken}{place} {}", member["state"].as_str().unwrap_or_default())
        };
        members.into_iter().flatten().map(text).collect()
    }

    /// The egress address of an imported `host:port`.
    pub fn import(&self, service: &str) -> Option<SocketAddr> {
        let imports = self.0["imports"].as_array()?;
        let import = imports.iter().find(|import| import["service"] == service)?;
        import["address"].as_str()?.parse().ok()
    }
}

impl Cluster {
    /// Reads the controller's status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Status> {
        let output = self.fedgate(&["status", "--output", "json"]).await?;
        Ok(Status(serde_json::from_slice(&output.stdout).with_context(|| {
            format!("fedgate status printed {:?}", String::from_utf8_lossy(&output.stderr))
        })?))
    }

    /// Runs a `fedgate` command on this cluster's folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn fedgate(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = tokio::process::Command::new(programs::fedgate()?);
        command.args(arguments).arg("--dir").arg(&self.folder).kill_on_drop(true);
        tokio::time::timeout(SOON, command.output()).await?.context("cannot start fedgate")
    }

    /// Like [`Self::fedgate`], for a command without `--dir`: it runs in this cluster's folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn fedgate_in_folder(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = tokio::process::Command::new(programs::fedgate()?);
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        tokio::time::timeout(SOON, command.output()).await?.context("cannot start fedgate")
    }

    /// Waits until the egress has a port for `host:port` and listens on it.
    ///
    /// # Errors
    /// When the import does not appear.
    pub async fn wait_import(&self, service: &str) -> Result<SocketAddr> {
        let what = format!("{} to import {service}", self.name());
        wait::until(&what, SOON, async || {
            let Some(address) = self.status().await?.import(service) else { return Ok(None) };
            Ok(self.egress()?.listeners().await?.contains(&address).then_some(address))
        })
        .await
    }

    /// Waits until the egress has a port for a federated name, and listens on it.
    ///
    /// # Errors
    /// When it does not appear.
    pub async fn wait_name(&self, service: &str) -> Result<SocketAddr> {
        let what = format!("{} to have {service}", self.name());
        wait::until(&what, SOON, async || {
            let status = self.status().await?;
            let name = status.federated(service).and_then(|name| name["address"].as_str());
            let Some(address) = name.and_then(|address| address.parse().ok()) else {
                return Ok(None);
            };
            Ok(self.egress()?.listeners().await?.contains(&address).then_some(address))
        })
        .await
    }

    /// Waits until a name has these members: see [`Status::members`].
    ///
    /// # Errors
    /// When it has others.
    pub async fn wait_members(&self, service: &str, expected: &[&str]) -> Result<()> {
        let what = format!("{service} of {} to have the members {expected:?}", self.name());
        wait::until(&what, SOON, async || {
            let members = self.status().await?.members(service);
            match members == expected {
                true => Ok(Some(())),
                false => bail!("it has {members:?}"),
            }
        })
        .await
    }

    /// Waits until the gateway has the newest table. Peers hear of an export once its table is
    /// written, which may be before the gateway has read it.
    ///
    /// # Errors
    /// When it does not get it.
    pub async fn wait_table(&self) -> Result<()> {
        let what = format!("the gateway of {} to have the newest table", self.name());
        wait::until_true(&what, SOON, async || {
            let newest = self.status().await?.0["table"]["generation"].as_u64();
            Ok(newest == Some(self.gateway()?.table_generation().await?))
        })
        .await
    }

    /// Waits until the import `host:port` is gone.
    ///
    /// # Errors
    /// When it stays.
    pub async fn wait_no_import(&self, service: &str) -> Result<()> {
        let what = format!("{} not to import {service} any more", self.name());
        wait::until_true(&what, SOON, async || Ok(self.status().await?.import(service).is_none()))
            .await
    }

    /// Waits until a peer's condition has this status and reason. Returns its message.
    ///
    /// # Errors
    /// When that does not happen; the message has the actual condition.
    pub async fn wait_condition(
        &self,
        peer: &str,
        kind: &str,
        wanted: [&str; 2],
    ) -> Result<String> {
        let what = format!("{}: {kind} of {peer} to be {}", self.name(), wanted.join(" "));
        wait::until(&what, SOON, async || {
            let status = self.status().await?;
            match status.condition(peer, kind) {
                Some([status, reason, message]) if [status, reason] == wanted => {
                    Ok(Some(message.to_owned()))
                }
                other => bail!("it is {other:?}"),
            }
        })
        .await
    }

    /// Waits for a finding with this reason.
    ///
    /// # Errors
    /// When it does not appear; the message has the findings that exist.
    pub async fn wait_finding(&self, reason: &str) -> Result<Finding> {
        let what = format!("{} to report {reason}", self.name());
        wait::until(&what, SOON, async || {
            let status = self.status().await?;
            match status.finding(reason) {
                Some(finding) => Ok(Some(finding)),
                None => bail!("the findings are {:#?}", status.findings()),
            }
        })
        .await
    }

    /// Waits until no finding has this reason.
    ///
    /// # Errors
    /// When it stays.
    pub async fn wait_no_finding(&self, reason: &str) -> Result<()> {
        let what = format!("{} not to report {reason} any more", self.name());
        wait::until_true(&what, SOON, async || Ok(self.status().await?.finding(reason).is_none()))
            .await
    }
}
