use super::ExitStatus;
use anyhow::{Context, Result, ensure};
use clap::Args;
use fedgate_envoy::FilterKind;
use fedgate_process::filter_module::default_path;
use std::path::{Path, PathBuf};

/// The first bytes of every shared library.
const MAGIC: &[u8] = b"\x7fELF";

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
        println!("{} has the native filter", to.display());
        Ok(ExitStatus::Success)
    }
}

/// Replaces the file as a whole: an Envoy may have the old one mapped.
#[expect(
    clippy::disallowed_methods,
    reason = "it is renamed once it is complete; a power cut ends the Pod, and with it the volume"
)]
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| {
        format!(
            "cannot read {}: put the native filter beside the fedgate program, or name it with --from",
            from.display()
        )
    })?;
    ensure!(
        bytes.starts_with(MAGIC),
        "{}: expected a shared library, as `cargo xtask native` builds it, found something else",
        from.display()
    );
    let partial = to.with_extension("partial");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, to))
        .with_context(|| format!("cannot write {}: name a folder that exists", to.display()))
}
