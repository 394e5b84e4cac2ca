//! zsh and fish, in which the completions are tried: those of this machine, or else the packages of
//! its distribution, unpacked into a folder of the project. Nothing is installed.

use crate::once::made_once;
use crate::{run, tools};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The shells, and the libraries that a small system lacks. Debian and Ubuntu have them all.
const PACKAGES: [&str; 7] =
    ["zsh", "zsh-common", "fish", "fish-common", "libcap2", "libtinfo6", "libpcre2-32-0"];

/// A shell that can be started.
pub struct Shell {
    program: PathBuf,
    /// Where it is unpacked, unless it is installed.
    root: Option<PathBuf>,
}

impl Shell {
    /// A command that starts it. An unpacked shell finds its libraries.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(root) = &self.root {
            let folders: Vec<_> = libraries(root).collect();
            let path = std::env::join_paths(folders).unwrap_or_default();
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    /// Lines of zsh for the beginning of its configuration: an unpacked zsh has other folders than
    /// those that it is built for.
    pub fn places_of_zsh(&self) -> String {
        let Some(root) = &self.root else { return String::new() };
        let root = root.display();
        format!(
            "module_path=('{root}'/usr/lib/*/zsh/*(/))\nfpath=('{root}'/usr/share/zsh/functions/**/*(/))\n"
        )
    }
}

/// Finds zsh.
///
/// # Errors
/// When it is neither installed nor to be had; the message says what to do.
pub fn zsh() -> Result<Shell> {
    find("zsh")
}

/// Finds fish.
///
/// # Errors
/// When it is neither installed nor to be had; the message says what to do.
pub fn fish() -> Result<Shell> {
    find("fish")
}

/// Checks that both are installed or can be fetched.
///
/// # Errors
/// When not; the message says what to install.
pub(crate) fn check() -> Result<()> {
    let installed = starts("zsh") && starts("fish");
    ensure!(
        installed || starts("apt-get"),
        "the tests of completions need zsh and fish; install both, or apt, which fetches them"
    );
    Ok(())
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn find(name: &str) -> Result<Shell> {
    if starts(name) {
        return Ok(Shell { program: name.into(), root: None });
    }
    let root = tools().join("shells-1");
    made_once("shells", &root.join("complete"), |complete| {
        fetch(&root)?;
        Ok(std::fs::write(complete, "")?)
    })
    .with_context(|| {
        format!("cannot fetch {name}, which needs apt and its archive; or install it")
    })?;
    // Older releases have zsh in /bin.
    let places = ["usr/bin", "bin"].map(|folder| root.join(folder).join(name));
    let program = places.into_iter().find(|place| place.exists());
    let program = program.with_context(|| format!("no {name} in {}", root.display()))?;
    Ok(Shell { program, root: Some(root) })
}

/// Downloads and unpacks the packages. The lists of packages are fetched into a folder of their
/// own, because this machine may have none, and not everyone may write its own.
fn fetch(root: &Path) -> Result<()> {
    eprintln!("xtask: fetching zsh and fish into {} (about 22 MB)", root.display());
    let _ = std::fs::remove_dir_all(root);
    let packages = root.join("packages");
    for folder in ["lists/partial", "archives/partial", "packages"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        for (option, value) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "")] {
            apt.arg("-o").arg(format!("{option}={}", root.join(value).display()));
        }
        // Otherwise a run as root downloads as a user who cannot write here.
        apt.args(["-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"])
            .args(words)
            .current_dir(&packages);
        run(apt.stdout(Stdio::null()))
    };
    apt(&["update"])?;
    apt(&[&["download"], PACKAGES.as_slice()].concat())?;
    for package in std::fs::read_dir(&packages)? {
        run(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(root))?;
    }
    // With this, fish takes its own folders from where its program is.
    let settings = root.join("usr/etc");
    if !settings.exists() {
        std::os::unix::fs::symlink("../etc", settings)?;
    }
    for folder in ["lists", "archives", "packages"] {
        std::fs::remove_dir_all(root.join(folder))?;
    }
    Ok(())
}

/// The folders of libraries, such as `usr/lib/x86_64-linux-gnu`.
fn libraries(root: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = ["lib", "usr/lib"].map(|folder| root.join(folder));
    let inside = folders.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    inside.flatten().filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir())
}
