//! Completions for shells and manual pages, which the program itself makes.

use super::staging::Stage;
use crate::run;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shell, the file of its completions in Debian, and that in an archive.
const SHELLS: [(&str, &str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/fedgate", "completions/fedgate.bash"),
    ("zsh", "usr/share/zsh/vendor-completions/_fedgate", "completions/_fedgate"),
    ("fish", "usr/share/fish/vendor_completions.d/fedgate.fish", "completions/fedgate.fish"),
];

/// The folder of the manual pages in Debian.
pub(super) const PAGES: &str = "usr/share/man/man1";

/// What a program of this release has made.
pub(super) struct Help {
    completions: Vec<String>,
    pages: Vec<PathBuf>,
}

impl Help {
    /// Asks a program that runs on this machine.
    pub(super) fn of(program: &Path, stages: &Path) -> Result<Self> {
        let completions = |shell: &str| {
            let output = Command::new(program).args(["completions", shell]).output();
            let output = output.with_context(|| format!("cannot start {}", program.display()))?;
            let text = String::from_utf8(output.stdout)?;
            ensure!(output.status.success() && !text.is_empty(), "no completions for {shell}");
            Ok(text)
        };
        let folder = stages.join("man");
        std::fs::create_dir_all(&folder)?;
        run(Command::new(program).arg("man").arg(&folder))?;
        let pages = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
        let help = Self {
            completions: SHELLS.iter().map(|shell| completions(shell.0)).collect::<Result<_>>()?,
            pages: pages.collect::<Result<_>>()?,
        };
        ensure!(!help.pages.is_empty(), "{} has written no manual pages", program.display());
        Ok(help)
    }

    /// Puts everything where Debian looks for it.
    pub(super) fn put_for_debian(&self, stage: &Stage) -> Result<()> {
        self.put(stage, |shell| shell.1, PAGES)
    }

    /// Puts everything into folders of an archive.
    pub(super) fn put_into_folders(&self, stage: &Stage) -> Result<()> {
        self.put(stage, |shell| shell.2, "man")
    }

    fn put(
        &self,
        stage: &Stage,
        place: impl Fn(&(&'static str, &'static str, &'static str)) -> &'static str,
        pages: &str,
    ) -> Result<()> {
        for (shell, text) in SHELLS.iter().zip(&self.completions) {
            stage.write(place(shell), text)?;
        }
        for page in &self.pages {
            let name = page.file_name().unwrap_or_default().to_string_lossy();
            stage.put(page, &format!("{pages}/{name}"))?;
        }
        Ok(())
    }
}
