//! Installs the package for Debian into an empty root, removes it and purges it, and looks at what
//! is there after each step.
//!
//! dpkg works on that root from outside, with a database of its own; scripts run here and are told
//! the root (`DPKG_ROOT`). This shows files, owners, modes, the user and the folders. It does not
//! show that dependencies can be had, or what systemd does with the units once it runs.

use super::debian::UNITS;
use super::help::PAGES;
use super::version::Release;
use crate::{envoy, run, target};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// Lists the root after each step, between lines that name the step. `$0` is the root, `$1` the
/// package.
const SCRIPT: &str = r#"
look() { echo "= $1"; (cd "$root" && find . ! -path './var/lib/dpkg*' -printf '%m %U:%G %y %P\n'); }
root=$0
dpkg="dpkg --root=$root --force-script-chrootless --force-depends --log=/dev/null"
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/etc"
: > "$root/var/lib/dpkg/status"
: > "$root/var/lib/dpkg/available"
umask 022
$dpkg --install "$1" >&2
look installed
echo 'trustDomain: alpha.example' > "$root/etc/fedgate/site/fedgate.yaml"
$dpkg --install "$1" >&2
grep -q alpha "$root/etc/fedgate/site/fedgate.yaml"
$dpkg --remove fedgate >&2
look removed
$dpkg --purge fedgate >&2
look purged
"#;

/// A line of the listing: mode, owner, kind (`f`, `d` or `l`), path.
type Line<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Installs a package and checks what it does.
pub(super) fn check(package: &Path, release: &Release) -> Result<()> {
    let root = target().join("dist/root");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root)?;
    let printed = installer()
        .args(["sh", "-euc", SCRIPT])
        .arg(&root)
        .arg(package)
        .output()
        .context("cannot start sh; users other than root need fakeroot")?;
    let said = String::from_utf8_lossy(&printed.stderr);
    ensure!(printed.status.success(), "{}: cannot install it:\n{said}", package.display());
    let printed = String::from_utf8(printed.stdout)?;
    let listing = |step: &str| {
        let (_, rest) = printed.split_once(&format!("= {step}\n")).unwrap_or_default();
        rest.split("\n= ").next().unwrap_or_default().lines().filter_map(line).collect::<Vec<_>>()
    };
    installed(&listing("installed"), &user(&root)?)?;
    let (removed, purged) = (listing("removed"), listing("purged"));
    has(&removed, "etc/fedgate/site/fedgate.yaml", None)?;
    ensure!(!removed.iter().any(|line| line.3.starts_with("usr/lib/fedgate")), "programs stay");
    let left: Vec<_> = purged.iter().filter(|line| line.3.contains("fedgate")).collect();
    ensure!(left.is_empty(), "after a purge there is still {left:?}");
    unpacked(package, &root, release)
}

/// Owners need root, or a pretence of it.
fn installer() -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new("env");
    }
    let mut fakeroot = Command::new("fakeroot");
    fakeroot.arg("--");
    fakeroot
}

/// `755 0:0 f usr/lib/fedgate/fedgate`
fn line(text: &str) -> Option<Line<'_>> {
    let mut words = text.splitn(4, ' ');
    Some((words.next()?, words.next()?, words.next()?, words.next()?))
}

/// The numbers of the package's user, `999:999`.
fn user(root: &Path) -> Result<String> {
    let users = std::fs::read_to_string(root.join("etc/passwd")).context("there are no users")?;
    let entry = users.lines().find(|line| line.starts_with("fedgate:"));
    let fields: Vec<_> = entry.context("there is no user fedgate")?.split(':').collect();
    ensure!(fields[6].ends_with("nologin"), "the user fedgate can log in: {fields:?}");
    Ok(format!("{}:{}", fields[2], fields[3]))
}

fn has(listing: &[Line], path: &str, expected: Option<(&str, &str, &str)>) -> Result<()> {
    let Some(&(mode, owner, kind, _)) = listing.iter().find(|line| line.3 == path) else {
        bail!("expected {path}, found none");
    };
    match expected {
        Some(expected) if expected != (mode, owner, kind) => {
            bail!("{path}: expected {expected:?}, found {:?}", (mode, owner, kind))
        }
        _ => Ok(()),
    }
}

fn installed(listing: &[Line], user: &str) -> Result<()> {
    let root = "0:0";
    has(listing, "usr/bin/fedgate", Some(("777", root, "l")))?;
    has(listing, "usr/lib/fedgate/fedgate", Some(("755", root, "f")))?;
    has(listing, "usr/lib/fedgate/fedgate_filter.wasm", Some(("644", root, "f")))?;
    has(listing, "usr/lib/fedgate/libfedgate_filter_native.so", Some(("644", root, "f")))?;
    for unit in UNITS {
        has(listing, &format!("usr/lib/systemd/system/{unit}"), Some(("644", root, "f")))?;
    }
    has(listing, "etc/fedgate/site", Some(("750", user, "d")))?;
    has(listing, "var/log/fedgate", Some(("750", user, "d")))?;
    has(listing, "usr/share/doc/fedgate/copyright", Some(("644", root, "f")))?;
    has(listing, "usr/share/bash-completion/completions/fedgate", Some(("644", root, "f")))?;
    has(listing, &format!("{PAGES}/fedgate-status.1"), Some(("644", root, "f")))?;
    let is_open = |mode: &str| mode.ends_with(['2', '3', '6', '7']);
    let open: Vec<_> = listing.iter().filter(|line| line.2 != "l" && is_open(line.0)).collect();
    ensure!(open.is_empty(), "anyone may write to {open:?}");
    let of_user: Vec<_> = listing.iter().filter(|line| line.1 == user).map(|line| line.3).collect();
    ensure!(of_user.len() == 2, "the user may own its two folders alone, found {of_user:?}");
    Ok(())
}

/// Runs the packaged program through its link, and lets systemd verify the packaged units.
fn unpacked(package: &Path, root: &Path, release: &Release) -> Result<()> {
    let folder = root.with_file_name("unpacked");
    let _ = std::fs::remove_dir_all(&folder);
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    let program = folder.join("usr/bin/fedgate");
    let output = Command::new(&program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let expected = format!("fedgate {}", release.version);
    ensure!(version == expected, "the program says {version:?}, expected {expected:?}");
    verify_units(&folder, &program)
}

/// systemd looks for programs on this machine, so the units get the paths of those to be found.
fn verify_units(folder: &Path, program: &Path) -> Result<()> {
    let units = folder.with_file_name("units");
    let _ = std::fs::remove_dir_all(&units);
    std::fs::create_dir_all(&units)?;
    let mut files = Vec::new();
    for unit in UNITS {
        let text = std::fs::read_to_string(folder.join("usr/lib/systemd/system").join(unit))?;
        let text = text
            .replace("ExecStart=fedgate ", &format!("ExecStart={} ", program.display()))
            .replace("ExecStart=envoy ", &format!("ExecStart={} ", envoy::path()?.display()));
        let file = units.join(unit);
        std::fs::write(&file, text)?;
        files.push(file);
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no", "--man=no"])
        .args(&files)
        .output()
        .context("cannot run systemd-analyze; install systemd")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "systemd says of the units: {said}");
    Ok(())
}
