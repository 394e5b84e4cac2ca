//! Files put in place before they are packed, with the modes that they have in the archive.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder to pack.
pub(super) struct Stage {
    pub(super) folder: PathBuf,
}

impl Stage {
    /// An empty folder.
    pub(super) fn new(stages: &Path, name: &str) -> Result<Self> {
        let folder = stages.join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        set_mode(&folder, 0o755)?;
        Ok(Self { folder })
    }

    /// Its name, which is also the archive's top folder.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Copies a file that everyone may read.
    pub(super) fn put(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to, 0o644)
    }

    /// Copies a program.
    pub(super) fn program(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to, 0o755)
    }

    /// Writes a file that everyone may read.
    pub(super) fn write(&self, to: &str, text: &str) -> Result<()> {
        let file = self.place(to)?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        set_mode(&file, 0o644)
    }

    /// Creates a symbolic link at `to`.
    pub(super) fn link(&self, to: &str, target: &str) -> Result<()> {
        Ok(std::os::unix::fs::symlink(target, self.place(to)?)?)
    }

    /// Copies files and folders of the checkout to the same places.
    pub(super) fn checkout(&self, paths: &[&str]) -> Result<()> {
        paths.iter().try_for_each(|path| self.tree(path, path))
    }

    /// Copies a file or a folder of the checkout.
    pub(super) fn tree(&self, from: &str, to: &str) -> Result<()> {
        let source = root().join(from);
        if source.is_file() {
            return self.put(&source, to);
        }
        let folder = std::fs::read_dir(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        for entry in folder {
            let name = entry?.file_name().to_string_lossy().into_owned();
            self.tree(&format!("{from}/{name}"), &format!("{to}/{name}"))?;
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        ensure!(from.is_file(), "{}: no such file to pack", from.display());
        let file = self.place(to)?;
        std::fs::copy(from, &file)
            .with_context(|| format!("cannot copy {} to {}", from.display(), file.display()))?;
        set_mode(&file, mode)
    }

    /// The path of a file. Creates its folders, which everyone may read whatever the umask is.
    fn place(&self, to: &str) -> Result<PathBuf> {
        let mut folder = self.folder.clone();
        for part in Path::new(to).parent().unwrap_or(Path::new("")) {
            folder.push(part);
            if !folder.is_dir() {
                std::fs::create_dir(&folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
                set_mode(&folder, 0o755)?;
            }
        }
        Ok(self.folder.join(to))
    }
}

pub(super) fn set_mode(file: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(file, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", file.display()))
}
