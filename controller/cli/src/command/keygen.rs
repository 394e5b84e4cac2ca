use super::{ExitStatus, new_file};
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// File for the private key, readable by its owner only; an existing file is not overwritten
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(new_file))]
    out: PathBuf,
}

impl Keygen {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let key = fedgate_exchange::new_key::new_key()?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.out)
            .with_context(|| {
                format!(
                    "cannot make {}: name a file that is not there yet, in a folder that is",
                    self.out.display()
                )
            })?;
        file.write_all(key.to_pem().as_bytes())?;
        println!(
            "{} has the private key. Its public half, which peers fetch by themselves:",
            self.out.display()
        );
        print!("{}", key.public().to_pem());
        Ok(ExitStatus::Success)
    }
}
