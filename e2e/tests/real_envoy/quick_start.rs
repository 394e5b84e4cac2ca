//! The commands of `docs/quick-start.md`, as a reader types them.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::run_folder::RunFolder;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use tokio::process::Command;

const GUIDE: &str = include_str!("../../../docs/quick-start.md");

/// The blocks that are commands.
fn commands() -> String {
    GUIDE.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

/// The guide's two addresses would be those of another run as well.
fn with_own_addresses(script: &str) -> String {
    let (a, b) = (fastrand::u8(1..255), fastrand::u8(1..255));
    script.replace("127.0.1.1", &format!("127.{a}.{b}.1")).replace("127.0.2.1", &format!("127.{a}.{b}.2"))
}

#[tokio::test]
async fn the_quick_start_works_as_it_is_written() -> Result<()> {
    let run = RunFolder::new("quick-start")?;
    let programs = run.path().join("bin");
    std::fs::create_dir(&programs)?;
    std::fs::copy(xtask::fedgate::build()?, programs.join("fedgate"))?;
    std::fs::copy(xtask::wasm::build()?, programs.join("fedgate_filter.wasm"))?;
    symlink(xtask::envoy::path()?, programs.join("envoy"))?;

    // Whatever happens, the script's own processes end with it.
    let head = format!(
        "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\ntrap 'exit 1' TERM\nPATH={}:$PATH\n",
        programs.display()
    );
    let script = run.path().join("quick-start.sh");
    std::fs::write(&script, head + &with_own_addresses(&commands()))?;
    let folder = run.path().join("work");
    std::fs::create_dir(&folder)?;
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "90", "bash"]).arg(&script).current_dir(&folder).stdin(Stdio::null());
    let output = bash.output().await.context("cannot start timeout (coreutils)")?;

    let said = String::from_utf8_lossy(&output.stdout);
    let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "it ended with {status}:\n{said}\n{errors}");
    ensure!(said.contains("\nthis is web of right\n"), "right's web server was not reached:\n{said}");
    ensure!(said.contains("=> passes: granted\n") && said.ends_with("=> does not pass: not_granted\n"), "{said}");
    Ok(())
}
