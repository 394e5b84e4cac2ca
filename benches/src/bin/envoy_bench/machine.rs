//! What a run was made on.

use crate::cores::Cores;
use crate::measurement::Circumstance;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The machine, the programs and the run.
pub(crate) fn circumstances(
    envoy: &Path,
    cores: &Cores,
    took: Duration,
) -> Result<Vec<Circumstance>> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let rows = [
        ("processor", line_of("/proc/cpuinfo", "model name")?),
        ("cores", cores.describe()),
        ("memory", line_of("/proc/meminfo", "MemTotal")?),
        ("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease")?),
        ("Envoy", version(envoy)?),
        ("run time", format!("{} s", took.as_secs())),
        ("load average at the end", load.split(' ').take(3).collect::<Vec<_>>().join(", ")),
    ];
    let circumstance = |(what, value): (&str, String)| Circumstance {
        what: what.to_owned(),
        value: value.trim().to_owned(),
    };
    Ok(rows.map(circumstance).to_vec())
}

fn line_of(file: &str, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    Ok(line.with_context(|| format!("{file} has no {name}"))?.1.to_owned())
}

/// Envoy prints `PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(envoy: &Path) -> Result<String> {
    let output = Command::new(envoy).arg("--version").output().context("cannot start Envoy")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, build) = text.split_once(" version: ").context("Envoy does not say its version")?;
    Ok(build.split('/').nth(1).context("no version")?.to_owned())
}
