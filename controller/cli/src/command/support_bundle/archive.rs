//! The file of a bundle. Everything in it is bounded.

use super::Removal;
use super::allow::{unquoted, unquoted_value};
use super::guard::Guard;
use anyhow::{Context, Result};
use fedgate_process::words::{chain, io};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest file in a bundle, in bytes.
pub(super) const LARGEST: usize = 4 << 20;
/// The largest log in a bundle: its end.
const LARGEST_LOG: usize = 1 << 20;
/// All files together, before they are packed.
const LARGEST_BUNDLE: usize = 32 << 20;
/// The folder in the archive.
const FOLDER: &str = "fedgate-support";

/// What was collected.
pub(super) struct Bundle {
    pub(super) removal: Removal,
    /// The secrets that are known.
    pub(super) guard: Guard,
    files: Vec<(String, Vec<u8>)>,
    /// What is not in it, and why.
    missing: Vec<String>,
}

/// Makes the file, for its owner's eyes.
///
/// # Errors
/// If it exists, or cannot be made.
pub(super) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| anyhow::anyhow!("{}", io(&error))).with_context(|| {
        format!("cannot make {}: name a file that is not there yet, with --out", path.display())
    })
}

impl Bundle {
    pub(super) fn new(removal: Removal) -> Self {
        Self { removal, guard: Guard::default(), files: Vec::new(), missing: Vec::new() }
    }

    /// How many files it has.
    pub(super) fn len(&self) -> usize {
        self.files.len() + 1
    }

    /// What is not in it, and why.
    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.missing.iter()
    }

    /// Adds a document whose fields are all listed somewhere, with the quotes taken out of its
    /// texts.
    pub(super) fn add_json(&mut self, name: &str, value: Result<Value>) {
        let document = value.and_then(|mut value| {
            unquoted_value(&mut value, self.removal);
            Ok(serde_json::to_string_pretty(&value)? + "\n")
        });
        match document {
            Ok(text) if self.removal == Removal::On && self.guard.finds(&text) => {
                self.leave_out(name, "it would have had a secret; please report that");
            }
            Ok(text) => self.add(name, text.into_bytes(), false),
            Err(error) => self.leave_out(name, &chain(&error)),
        }
    }

    /// Adds a text of lines, such as metrics, without those that have secrets.
    pub(super) fn add_lines(&mut self, name: &str, text: Result<(Vec<u8>, bool)>) {
        match text {
            Ok((bytes, cut)) => {
                let text = self.without_secrets(&String::from_utf8_lossy(&bytes));
                self.add(name, text.into_bytes(), cut);
            }
            Err(error) => self.leave_out(name, &chain(&error)),
        }
    }

    /// Adds the end of a log.
    pub(super) fn add_log(&mut self, number: usize, path: &Path) {
        let base = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.add_lines(&format!("logs/{number}-{base}"), end_of(path));
    }

    /// A text without the lines that have secrets. What is between the first and the last line of a
    /// PEM block is one of its lines.
    fn without_secrets(&self, text: &str) -> String {
        if self.removal != Removal::On {
            return text.to_owned();
        }
        let (mut out, mut in_key) = (String::new(), false);
        for line in text.lines() {
            let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
            in_key |= begins;
            match in_key || self.guard.finds(line) {
                true => out += "(a line with a secret was left out)\n",
                false => out += &format!("{line}\n"),
            }
            in_key &= !line.contains("-----END");
        }
        out
    }

    /// Notes that something is not in it.
    pub(super) fn leave_out(&mut self, name: &str, why: &str) {
        let why = unquoted(why, self.removal);
        let why = if self.guard.finds(&why) { "the reason has a secret".to_owned() } else { why };
        self.missing.push(format!("{name}: {why}"));
    }

    fn add(&mut self, name: &str, mut bytes: Vec<u8>, cut: bool) {
        let so_far: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        let room = LARGEST.min(LARGEST_BUNDLE.saturating_sub(so_far));
        if cut || bytes.len() > room {
            self.missing.push(format!("{name}: only its first {room} bytes are there"));
        }
        bytes.truncate(room);
        self.files.push((name.to_owned(), bytes));
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// If the disk is full.
    pub(super) fn write(&self, file: File, path: &Path) -> Result<()> {
        let written = self.write_to(file);
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn write_to(&self, to: impl Write) -> Result<()> {
        let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
        let names: Vec<_> = self.files.iter().map(|(name, _)| name).collect();
        let index = json!({ "files": names, "missing": self.missing });
        let index = serde_json::to_vec_pretty(&index)?;
        let index = ("index.json".to_owned(), index);
        for (name, bytes) in [&index].into_iter().chain(&self.files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len().try_into()?);
            header.set_mode(0o600);
            header.set_cksum();
            archive.append_data(&mut header, format!("{FOLDER}/{name}"), bytes.as_slice())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        Ok(())
    }
}

/// The end of a file.
fn end_of(path: &Path) -> Result<(Vec<u8>, bool)> {
    let read = || {
        let mut file = File::open(path)?;
        let most = LARGEST_LOG as u64;
        let start = file.metadata()?.len().saturating_sub(most);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        // The first line may be half of one, without what would show that it has a secret.
        let whole = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) if start > 0 => bytes.split_off(end + 1),
            _ => bytes,
        };
        std::io::Result::Ok((whole, false))
    };
    read().map_err(|error| anyhow::anyhow!("{}", io(&error)))
}
