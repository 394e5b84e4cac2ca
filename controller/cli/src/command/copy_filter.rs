use super::ExitStatus;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use fedgate_disk::{Readers, ReplaceError, replace};
use fedgate_envoy::FilterKind;
use fedgate_process::filter_module::default_path;
use fedgate_process::words::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct CopyFilter {
    /// Folder for the native filter, such as a volume that the gateway mounts
    folder: PathBuf,
    /// The native filter [default: libfedgate_filter_native.so beside this program]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl CopyFilter {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let name = FilterKind::Native.file_name();
        let from = self.from.unwrap_or_else(|| default_path(name));
        let to = self.folder.join(name);
        copy(&from, &to)?;
        println!("copied the native filter to {}", to.display());
        Ok(ExitStatus::Success)
    }
}

/// Replaces the file as a whole: an Envoy may have the old one mapped.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| {
        format!(
            "cannot read {}: put the native filter beside the fedgate program, or name it with --from",
            from.display()
        )
    })?;
    ensure!(
        FilterKind::Native.is_module(&bytes),
        "{}: expected {}, as `cargo xtask native` builds it, found something else",
        from.display(),
        FilterKind::Native.format()
    );
    // The volume is mounted there. A folder made here would be lost.
    let folder = to.parent().unwrap_or(to);
    ensure!(folder.is_dir(), "cannot write {}: name a folder that exists", to.display());
    replace(to, &bytes, Readers::All).map_err(|ReplaceError { action, path, error }| {
        anyhow!("cannot {action} {}: {}", path.display(), io(&error))
    })
}
