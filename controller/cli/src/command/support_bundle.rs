//! `fedgate support-bundle`: what a bug report needs, in one file, without secrets.
//!
//! Nothing is copied as it is. What gets in is listed: fields by their paths, and a program's own
//! values. So a secret in a place that nobody thought of is left out as well. `guard` looks at the
//! result again, and drops what still looks like a secret.
//!
//! | module | what it is |
//! | --- | --- |
//! | `allow` | keeps the listed fields of a document |
//! | `rules` | which fields those are |
//! | `guard` | looks for secrets in the result |
//! | `archive` | the file, and its limits |
//! | `files`, `settings`, `envoys` | what is collected in files mode |
//! | `cluster` | what is collected on Kubernetes |

mod allow;
mod archive;
mod cluster;
mod envoys;
mod files;
mod guard;
mod rules;
mod settings;
#[cfg(test)]
mod tests;

use super::envoys::EnvoyAddresses;
use super::target::{Platform, Target};
use super::{ExitStatus, new_file};
use crate::terminal::progress::Progress;
use anyhow::Result;
use archive::Bundle;
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use fedgate_files::settings::{FILE, Settings};
use fedgate_process::words::counted;
use jiff::Timestamp;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct SupportBundle {
    /// File to write, which must not exist [default: fedgate-support-TIME.tar.gz]
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(new_file))]
    out: Option<PathBuf>,
    /// A log to add, such as Envoy's; its last mebibyte. Lines with secrets are left out
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    #[command(flatten)]
    envoys: EnvoyAddresses,
    #[command(flatten)]
    target: Target,
}

/// Whether secrets are removed. Only the tests of the removal switch it off, to see that they would
/// find one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    On,
    #[cfg(test)]
    Off,
}

impl SupportBundle {
    pub(super) fn run(self) -> Result<ExitStatus> {
        if let Platform::Files(folder) = self.target.platform() {
            // A broken file goes into the bundle as its errors; a folder without one is a mistake.
            if !folder.dir.join(FILE).exists() {
                Settings::read(&folder.dir)?;
            }
        }
        let now = Timestamp::now();
        let name =
            || PathBuf::from(format!("fedgate-support-{}.tar.gz", now.strftime("%Y%m%dT%H%M%SZ")));
        let out = self.out.clone().unwrap_or_else(name);
        let file = archive::create(&out)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bundle = runtime.block_on(self.collect(now, Removal::On));
        bundle.write(file, &out)?;
        println!("wrote {} with {}", out.display(), counted(bundle.len(), "file"));
        println!(
            "look through it before you send it: it contains names and addresses of your clusters"
        );
        bundle.missing().for_each(|missing| eprintln!("not in it: {missing}"));
        Ok(ExitStatus::Success)
    }

    async fn collect(&self, now: Timestamp, removal: Removal) -> Bundle {
        let mut bundle = Bundle::new(removal);
        let mut progress = Progress::start();
        bundle.add_json("version.json", Ok(version(now)));
        match self.target.platform() {
            Platform::Files(folder) => {
                files::collect(&mut bundle, &folder, &self.envoys, &mut progress).await;
            }
            Platform::Kubernetes(cluster) => {
                cluster::collect(&mut bundle, cluster, now, &mut progress).await;
            }
        }
        for (number, log) in self.log.iter().enumerate() {
            bundle.add_log(number, log);
        }
        bundle
    }
}

fn version(now: Timestamp) -> serde_json::Value {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    serde_json::json!({
        "at": now,
        "fedgate": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "kernel": kernel.trim(),
        "architecture": std::env::consts::ARCH,
    })
}
