//! What Envoy's work is measured in.
//!
//! CPU time includes the kernel and whatever memory makes Envoy wait for, and depends on what else
//! the machine does. The number of instructions, counted by Valgrind, is that of Envoy's own code,
//! and hardly differs from run to run.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Callgrind numbers the files that it writes.
const COUNTS: &str = "instructions";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    /// The CPU time of all threads in nanoseconds, as the scheduler counts it. `/proc/PID/stat`
    /// counts in hundredths of a second.
    CpuTime,
    /// The instructions of all threads in user space.
    Instructions,
}

impl Meter {
    /// Adds the program that an Envoy runs in to its command, if there is one.
    pub(crate) fn wrap(self, command: &mut Command, folder: &Path) {
        if self == Self::Instructions {
            let file = folder.join(COUNTS);
            // Counting begins once Envoy has read its configuration.
            command.args(["valgrind", "--tool=callgrind", "--instr-atstart=no"]);
            command.arg(format!("--callgrind-out-file={}", file.display()));
        }
    }

    /// Begins, once Envoy accepts clients.
    pub(crate) fn begin(self, process: u32) -> Result<()> {
        if self == Self::Instructions {
            callgrind(&["-i", "on"], process)?;
        }
        Ok(())
    }

    /// All of Envoy's work so far.
    pub(crate) fn read(self, process: u32, folder: &Path) -> Result<u64> {
        match self {
            Self::CpuTime => cpu_time(process),
            Self::Instructions => {
                callgrind(&["-d"], process)?;
                instructions(folder)
            }
        }
    }
}

fn cpu_time(process: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end at any time.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn callgrind(command: &[&str], process: u32) -> Result<()> {
    let mut control = Command::new("callgrind_control");
    control.args(command).arg(process.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = control.status().context("cannot run callgrind_control; install valgrind")?;
    ensure!(status.success(), "callgrind_control {command:?}: {status}");
    Ok(())
}

/// The sum of all files: each has what was counted since the one before.
fn instructions(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(COUNTS) {
            let text = std::fs::read_to_string(file.path())?;
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            sum += total.and_then(|total| total.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_files_are_added() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("instructions.1", "events: Ir\nfn=(1)\n1 5\ntotals: 30\n"),
            ("instructions.2", "totals: 12\n"),
            ("envoy.log", "totals: 1000\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(instructions(folder.path()).unwrap(), 42);
    }
}
