//! The signature of `SHA256SUMS`, made and verified with OpenSSL: Ed25519, detached, 64 bytes.
//!
//! To verify: `openssl pkeyutl -verify -pubin -inkey KEY -rawin -in SHA256SUMS -sigfile
//! SHA256SUMS.sig`.

use super::{checksums, staging};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// The environment variable with the path of the private key (PEM, PKCS #8).
pub(super) const KEY: &str = "FEDGATE_RELEASE_KEY";

const SIGNATURE: &str = "SHA256SUMS.sig";

/// Signs the checksums of a release. Without a key it says so, and signs nothing.
pub(super) fn sign(folder: &Path) -> Result<()> {
    match crate::pointed_at(KEY, "a private Ed25519 key in PEM")? {
        Some(key) => sign_with(folder, &key),
        None => {
            eprintln!("xtask: nothing is signed, because {KEY} is not set");
            Ok(())
        }
    }
}

fn sign_with(folder: &Path, key: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(key);
    openssl.arg("-in").arg(folder.join(checksums::FILE));
    quietly(openssl.arg("-out").arg(folder.join(SIGNATURE))).with_context(|| {
        format!("cannot sign; {KEY} must name a private Ed25519 key in PEM (`openssl genpkey -algorithm ed25519`)")
    })?;
    let length = std::fs::metadata(folder.join(SIGNATURE))?.len();
    ensure!(
        length == 64,
        "{KEY}: expected an Ed25519 key, whose signatures have 64 bytes, found {length}"
    );
    Ok(())
}

fn verify(folder: &Path, public: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]).arg(public);
    openssl.arg("-in").arg(folder.join(checksums::FILE));
    quietly(openssl.arg("-sigfile").arg(folder.join(SIGNATURE)))
}

/// Signs a release with a key made for that, and checks that the signature is valid, and that it is
/// not for another text or another key. Leaves no signature.
pub(super) fn check(folder: &Path) -> Result<()> {
    let keys = folder.with_file_name("check-keys");
    let _ = std::fs::remove_dir_all(&keys);
    std::fs::create_dir_all(&keys)?;
    staging::set_mode(&keys, 0o700)?;
    let outcome = check_with_new_keys(folder, &keys);
    std::fs::remove_dir_all(&keys)?;
    let _ = std::fs::remove_file(folder.join(SIGNATURE));
    outcome
}

fn check_with_new_keys(folder: &Path, keys: &Path) -> Result<()> {
    for name in ["right", "wrong"] {
        let private = keys.join(name);
        quietly(
            Command::new("openssl")
                .args(["genpkey", "-algorithm", "ed25519", "-out"])
                .arg(&private),
        )?;
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-pubout", "-in"]).arg(&private);
        quietly(openssl.arg("-out").arg(keys.join(format!("{name}.pub"))))?;
    }
    sign_with(folder, &keys.join("right"))?;
    verify(folder, &keys.join("right.pub")).context("the signature of the release is not valid")?;
    ensure!(verify(folder, &keys.join("wrong.pub")).is_err(), "another key's signature is valid");
    let list = folder.join(checksums::FILE);
    let text = std::fs::read_to_string(&list)?;
    std::fs::write(&list, format!("{text}\n"))?;
    let of_another_text = verify(folder, &keys.join("right.pub"));
    std::fs::write(&list, text)?;
    ensure!(of_another_text.is_err(), "the signature of another text is valid");
    Ok(())
}

/// Runs a command; shows its output only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| {
        format!("cannot start {}; install it", command.get_program().to_string_lossy())
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("this command failed with {}: {command:?}\n{}", output.status, said.trim_end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(checksums::FILE), "list\n").unwrap();
        let key = folder.path().join("key");
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        quietly(openssl.arg("-out").arg(&key)).unwrap();
        let error = format!("{:#}", sign_with(folder.path(), &key).unwrap_err());
        assert!(error.contains("Ed25519"), "{error}");
        check(folder.path()).unwrap();
        assert!(!folder.path().join(SIGNATURE).exists());
    }
}
