//! Go programs for the end-to-end tests and the checks, built once from pinned modules
//! (`e2e/programs/`).

use crate::once::made_once;
use crate::{root, run, tools};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The module of the programs that make up a cluster. They share one version of each dependency, so
/// that Go compiles it once.
pub(crate) const CLUSTER: &str = "cluster";

/// A folder with a pinned module: `go.mod` has the versions, `go.sum` the hashes.
pub(crate) struct Module {
    folder: PathBuf,
}

/// A program and how to build it.
pub(crate) struct Program<'a> {
    /// Its name, also of the file.
    pub(crate) name: &'a str,
    /// The Go package of its `main`.
    pub(crate) package: &'a str,
    /// Values set by Go's linker, `package.variable=value`.
    pub(crate) stamps: Vec<String>,
    /// Go's build tags, separated by commas; may be empty.
    pub(crate) tags: &'a str,
    /// The environment variable that may name an existing binary.
    pub(crate) variable: &'a str,
    /// How long the first build takes on two cores, for messages.
    pub(crate) takes: &'a str,
}

impl Module {
    /// The module in `e2e/programs/NAME`.
    pub(crate) fn new(name: &str) -> Self {
        Self { folder: root().join("e2e/programs").join(name) }
    }

    /// The version of a required module, for example `v1.36.4`.
    ///
    /// # Errors
    /// When `go.mod` cannot be read, or does not require the module.
    pub(crate) fn version_of(&self, required: &str) -> Result<String> {
        let file = self.folder.join("go.mod");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        version_in(&text, required)
            .with_context(|| {
                format!("{}: expected a line with `{required} VERSION`, found none", file.display())
            })
            .map(Into::into)
    }

    /// The path of the program: that in its variable, or that in `.tools`, which is built first if
    /// necessary.
    ///
    /// # Errors
    /// When the variable does not name a file, or the program cannot be built; the message says
    /// what to do.
    pub(crate) fn program(&self, program: &Program) -> Result<PathBuf> {
        if let Some(path) =
            crate::pointed_at(program.variable, &format!("a {} binary", program.name))?
        {
            return Ok(path);
        }
        let flags = program.flags();
        let own = (program.package == ".").then_some("main.go");
        let folder = tools().join(format!("{}-{}", program.name, self.hash(&flags, own)?));
        let binary = folder.join(program.name);
        made_once(program.name, &binary, |partial| self.build(program, &flags, partial))?;
        Ok(binary)
    }

    /// The folder of a required module. Go downloads it first if necessary.
    ///
    /// # Errors
    /// When Go is missing or the module cannot be downloaded.
    pub(crate) fn files_of(&self, required: &str) -> Result<PathBuf> {
        run(self.go()?.args(["mod", "download", required]))?;
        let output = self
            .go()?
            .args(["list", "-m", "-f", "{{.Dir}}", required])
            .stderr(Stdio::inherit())
            .output()?;
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !folder.is_dir() {
            bail!(
                "`go list -m {required}` printed no folder that exists; run it in {} to see why",
                self.folder.display()
            );
        }
        Ok(folder)
    }

    fn build(&self, program: &Program, flags: &[String], binary: &Path) -> Result<()> {
        let Program { name, package, variable, takes, .. } = program;
        eprintln!("xtask: building {name}, the first time only ({takes} on two cores)");
        let build = |mut go: Command| {
            run(go
                .arg("build")
                .args(flags)
                .arg("-o")
                .arg(binary)
                .arg(package)
                .env("CGO_ENABLED", "0"))
        };
        let advice = || {
            format!("cannot build {name}; to use an existing binary, set {variable} to its path")
        };
        self.go().and_then(build).with_context(advice)
    }

    /// The `go` command in the module's folder.
    fn go(&self) -> Result<Command> {
        let found =
            Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            bail!(
                "cannot run `go`; install Go 1.26 or later (https://go.dev/doc/install) and put it on the PATH"
            );
        }
        let mut go = Command::new("go");
        go.current_dir(&self.folder);
        Ok(go)
    }

    /// A hash of a build's inputs: another version, flag or source gives another folder.
    fn hash(&self, flags: &[String], own: Option<&str>) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"].into_iter().chain(own).map(|name| self.folder.join(name)) {
            hash.update(
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
            );
        }
        hash.update(flags.join(" "));
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The version of a module that a `go.mod` requires, in a block or on a line of its own.
fn version_in<'a>(text: &'a str, required: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.trim_start();
        let mut words = line.strip_prefix("require ").unwrap_or(line).split_whitespace();
        (words.next() == Some(required)).then(|| words.next())?
    })
}

impl Program<'_> {
    fn flags(&self) -> Vec<String> {
        let stamps: String = self.stamps.iter().map(|stamp| format!(" -X {stamp}")).collect();
        let mut flags = vec![
            "-trimpath".into(),
            "-buildvcs=false".into(),
            // The linker drops it (-w). Not making it saves a tenth of the compiler's time.
            "-gcflags=all=-dwarf=false".into(),
            "-ldflags".into(),
            format!("-s -w{stamps}"),
        ];
        if !self.tags.is_empty() {
            flags.extend(["-tags".into(), self.tags.into()]);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_version_is_found_in_a_block_and_on_a_line() {
        let text = "module m\n\nrequire a.b/c v1.2.3\n\nrequire (\n\ta.b/d v2.0.0 // indirect\n)\n\n\
             replace a.b/e => a.b/e v0.1.0\n";
        assert_eq!(version_in(text, "a.b/c"), Some("v1.2.3"));
        assert_eq!(version_in(text, "a.b/d"), Some("v2.0.0"));
        assert_eq!(version_in(text, "a.b"), None);
    }
}
