//! Runs the commands of `docs/quick-start.md` as a reader types them.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::guide;
use fedgate_e2e::run_folder::RunFolder;
use std::process::Stdio;
use tokio::process::Command;

const GUIDE: &str = include_str!("../../../docs/quick-start.md");

/// Each run has its own addresses: with the guide's two, concurrent runs would clash.
struct Addresses([String; 2]);

/// The addresses in the guide.
const ADDRESSES: [&str; 2] = ["127.0.1.1", "127.0.2.1"];

impl Addresses {
    fn new() -> Self {
        let (a, b) = (fastrand::u8(1..255), fastrand::u8(1..255));
        Self([format!("127.{a}.{b}.1"), format!("127.{a}.{b}.2")])
    }

    fn of_run(&self, script: &str) -> String {
        ADDRESSES
            .iter()
            .zip(&self.0)
            .fold(script.to_owned(), |text, (guide, own)| text.replace(guide, own))
    }

    fn of_guide(&self, printed: &str) -> String {
        ADDRESSES
            .iter()
            .zip(&self.0)
            .fold(printed.to_owned(), |text, (guide, own)| text.replace(own, guide))
    }
}

#[tokio::test]
async fn the_quick_start_works_as_written() -> Result<()> {
    let run = RunFolder::new("quick-start")?;
    // As `cargo xtask programs` does.
    let programs = xtask::programs::put(&run.path().join("bin"))?;
    let blocks = guide::blocks(GUIDE);
    let addresses = Addresses::new();

    // Whatever happens, the script's child processes end with it.
    let head = format!(
        "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\ntrap 'exit 1' TERM\nPATH={}:$PATH\n",
        programs.display()
    );
    let script = run.path().join("quick-start.sh");
    std::fs::write(&script, head + &addresses.of_run(&guide::script(&blocks)))?;
    let folder = run.path().join("work");
    std::fs::create_dir(&folder)?;
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "300", "bash"])
        .arg(&script)
        .current_dir(&folder)
        .stdin(Stdio::null());
    let output = bash.output().await.context("cannot start timeout (coreutils)")?;

    let printed = String::from_utf8_lossy(&output.stdout);
    let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "it ended with {status}:\n{printed}\n{errors}");
    guide::check(&blocks, &addresses.of_guide(&printed))
}
