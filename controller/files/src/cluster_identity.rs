//! What peers know this cluster by: its UUID, and the key that signs its tokens.
//!
//! Both are created once, at the first start. If one is damaged or lost later, the controller
//! refuses to start until an operator restores it or decides for a new one. To peers, a new UUID is
//! another cluster, and a new key may be a thief's. If the whole folder `state/` is gone, there is
//! nothing to restore from. Then both are created again. The log says so before anything is signed
//! with them, and a finding for three days.

use crate::settings::Settings;
use crate::state::StateFolder;
use anyhow::{Context, Result, bail};
use fedgate_exchange::new_key::{REPLACED_IS_SHOWN_FOR, new_key};
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::SigningKey;
use fedgate_federation::{Finding, FindingReason, ObjectRef, shown};
use fedgate_process::regular_file::{self, MOST_PEM};
use fedgate_process::words;
use jiff::Timestamp;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file in `state/`, with the UUID as a JSON string.
const UUID_FILE: &str = "cluster-uuid.json";

/// Traces of a controller that has told peers who it is: in `state/` and in Envoy's folder.
const PUBLISHED: &str = "published.json";
const TABLE: &str = "gateway/filter/filter.json";

/// The file in `state/` that says when the identity was replaced because the folder was gone.
const REPLACED: &str = "identity-replaced.json";

/// Reads the UUID and the key. Creates what is missing at the first start.
///
/// # Errors
/// When one is damaged or unreadable, or is missing while other files of `state/` exist. The
/// message names the file, what was found, and what to do.
pub(crate) fn load_or_create(
    settings: &Settings,
    state: &StateFolder,
) -> Result<(ClusterUuid, SigningKey)> {
    let kept = read_uuid(&state.path(UUID_FILE))?;
    let key = read_key(&settings.key_file)?;
    let uuid = settings.cluster_uuid.clone().or_else(|| kept.clone());
    if let (Some(uuid), Some(key)) = (&uuid, &key) {
        return Ok((uuid.clone(), key.clone()));
    }
    let rest = kept
        .map(|_| state.path(UUID_FILE))
        .or_else(|| Some(state.path(PUBLISHED)).filter(|path| path.exists()));
    match (&key, rest) {
        (None, Some(rest)) => bail!(lost_key(&settings.key_file, &rest)),
        (Some(_), Some(rest)) => bail!(lost_uuid(&state.path(UUID_FILE), &rest)),
        (_, None) => {}
    }
    let trace = settings.envoy.join(TABLE);
    if trace.exists() {
        note_replaced(state, &trace)?;
    }
    let key = key.map_or_else(|| make_key(&settings.key_file, state), Ok)?;
    Ok((uuid.map_or_else(|| make_uuid(state), Ok)?, key))
}

/// Reads the key in the second slot (`otherKeyFile`), where there is one. It is never created: an
/// empty slot is no loss.
///
/// # Errors
/// If it is set and holds no other key: what is wrong, and what to do.
pub(crate) fn read_other(
    settings: &Settings,
    current: &SigningKey,
) -> Result<Option<SigningKey>, Box<Finding>> {
    let Some(path) = &settings.other_key_file else { return Ok(None) };
    let invalid = |message: String| {
        let cluster = ObjectRef::cluster(settings.trust_domain.as_str())
            .with_source(Some(path.display().to_string()));
        Box::new(Finding::error(FindingReason::InvalidKey, cluster, OTHER_KEY_FILE, message))
    };
    let remedy =
        "put the other key there, or remove otherKeyFile from fedgate.yaml if there is none";
    let pem = match read(path) {
        Ok(Some(pem)) => pem,
        Ok(None) => {
            return Err(invalid(format!("expected a private key in PEM, found no file; {remedy}")));
        }
        Err(error) if regular_file::is_refusal(&error) => {
            return Err(invalid(format!("{}; {remedy}", words::io(&error))));
        }
        Err(error) => {
            let why = words::io(&error);
            return Err(invalid(format!(
                "expected a private key in PEM, found a file that cannot be read: {why}; {remedy}"
            )));
        }
    };
    let key = SigningKey::from_pem(&pem).map_err(|_| {
        let found = if pem.trim().is_empty() { "an empty file" } else { "something else" };
        invalid(format!("expected one Ed25519 private key in PEM, found {found}; {remedy}"))
    })?;
    match key == *current {
        true => Err(invalid(format!(
            "expected another key than that in keyFile, found the same; {remedy}"
        ))),
        false => Ok(Some(key)),
    }
}

/// The setting that names the file of the second key.
pub(crate) const OTHER_KEY_FILE: &str = "otherKeyFile";

/// Reports that the whole identity is gone, before it is created again.
fn note_replaced(state: &StateFolder, trace: &Path) -> Result<()> {
    tracing::error!("{}, though this cluster ran before ({} is there)", GONE, trace.display());
    state.save(REPLACED, &Timestamp::now())?;
    Ok(())
}

const GONE: &str = "the folder state was gone: a new UUID or key is made, and peers hold it (uuid_changed, key_changed) until their operators approve it. If it \
                    is only not mounted, stop this controller and mount it; otherwise tell the peers' operators";

/// When the identity was replaced; `None` if never.
pub(crate) fn replaced_at(state: &StateFolder) -> Option<Timestamp> {
    state.load(REPLACED)
}

/// The finding for three days after that.
pub(crate) fn replaced(
    at: Option<Timestamp>,
    cluster: ObjectRef,
    now: Timestamp,
) -> Option<Finding> {
    let at = at.filter(|at| now.duration_since(*at) < REPLACED_IS_SHOWN_FOR)?;
    Some(Finding::warning(
        FindingReason::IdentityReplaced,
        cluster,
        "",
        format!("at {at:.0}: {GONE}"),
    ))
}

fn read_uuid(path: &Path) -> Result<Option<ClusterUuid>> {
    let Some(text) = read(path).with_context(|| {
        format!("cannot read {}; restore it, or fix its permissions", path.display())
    })?
    else {
        return Ok(None);
    };
    let found = match text.trim() {
        "" => "an empty file".to_owned(),
        text => format!("{:?}", shown(text)),
    };
    let uuid = serde_json::from_str(&text).ok();
    uuid.map(Some).with_context(|| {
        format!(
            "{}: expected this cluster's UUID in quotes, found {found}; restore the file, or set clusterUUID in fedgate.yaml to the UUID \
             that the peers know (`fedgate status` of a peer shows it) and remove the file",
            path.display()
        )
    })
}

fn read_key(path: &Path) -> Result<Option<SigningKey>> {
    let Some(pem) = read(path).with_context(|| {
        format!("cannot read keyFile {}; restore it, or fix its permissions", path.display())
    })?
    else {
        return Ok(None);
    };
    let found = if pem.trim().is_empty() { "an empty file" } else { "something else" };
    SigningKey::from_pem(&pem).map(Some).with_context(|| {
        format!(
            "keyFile {}: expected one Ed25519 private key in PEM, found {found}; restore it. A new key, which peers are told of as a change, \
             is made by `fedgate keygen`",
            path.display()
        )
    })
}

/// `None` when there is no such file. A dangling link is an error instead.
fn read(path: &Path) -> std::io::Result<Option<String>> {
    match regular_file::read(path, MOST_PEM) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error)
            if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn make_uuid(state: &StateFolder) -> Result<ClusterUuid> {
    let uuid =
        ClusterUuid::parse(&uuid::Uuid::new_v4().to_string()).context("a new UUID is not one")?;
    state.save(UUID_FILE, &uuid)?;
    tracing::info!(%uuid, "this cluster has a UUID now");
    Ok(uuid)
}

fn make_key(path: &Path, state: &StateFolder) -> Result<SigningKey> {
    let key = new_key()?;
    state.save_secret(path, key.to_pem().as_bytes())?;
    tracing::info!(path = %path.display(), "made a key for signing requests for metadata");
    Ok(key)
}

fn lost_key(path: &Path, trace: &Path) -> String {
    format!(
        "keyFile {}: the key is gone, though this cluster ran before ({} is there): restore it. If it is lost, make a new one with \
         `fedgate keygen --out {}` and tell the peers' operators: they are told that the key has changed",
        path.display(),
        trace.display(),
        path.display()
    )
}

fn lost_uuid(path: &Path, trace: &Path) -> String {
    format!(
        "{}: this cluster's UUID is gone, though it ran before ({} is there): restore the file, or set clusterUUID in fedgate.yaml to the \
         UUID that the peers know (`fedgate status` of a peer shows it). To begin as a new cluster remove the whole folder state",
        path.display(),
        trace.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use std::path::PathBuf;
    use tempfile::TempDir;

    struct Site {
        folder: TempDir,
        settings: Settings,
        state: StateFolder,
    }

    impl Site {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let text = "trustDomain: alpha.example\ngateway: {listen: 127.0.0.1:1}\nmetadata: {listen: 127.0.0.1:2, plain: true}\n\
                        identity: {certificateChain: a, privateKey: b, roots: c}\n";
            let settings = Settings::parse(folder.path(), text).unwrap();
            let state = StateFolder::open(&settings.state).unwrap();
            Self { folder, settings, state }
        }

        fn load_or_create(&self) -> Result<(String, Vec<u8>), String> {
            let (uuid, key) = load_or_create(&self.settings, &self.state)
                .map_err(|error| format!("{error:#}"))?;
            Ok((uuid.to_string(), key.public().as_bytes().to_vec()))
        }

        /// As after a controller has published something.
        fn ran(&self) {
            self.state.save(PUBLISHED, &1).unwrap();
        }

        fn uuid(&self) -> PathBuf {
            self.state.path(UUID_FILE)
        }
    }

    #[test]
    fn uuid_and_key_are_created_once() {
        let site = Site::new();
        let first = site.load_or_create().unwrap();
        site.ran();
        assert_eq!(site.load_or_create().unwrap(), first);
        // A key from before the first start is used.
        let site = Site::new();
        site.state
            .save_secret(&site.settings.key_file, new_key().unwrap().to_pem().as_bytes())
            .unwrap();
        assert!(site.load_or_create().is_ok());
    }

    #[test]
    fn a_damaged_uuid_is_reported_and_kept() {
        let site = Site::new();
        let first = site.load_or_create().unwrap();
        let good = fs::read(site.uuid()).unwrap();
        for (damage, found) in [
            ("", "an empty file"),
            ("\"1111", "1111"),
            ("{}", "{}"),
            ("\"no-uuid\"", "no-uuid"),
            ("\0\0", "\\u{0}"),
        ] {
            fs::write(site.uuid(), damage).unwrap();
            let error = site.load_or_create().unwrap_err();
            assert!(
                error.contains(UUID_FILE) && error.contains(found) && error.contains("clusterUUID"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(site.uuid()).unwrap(), damage);
        }
        fs::remove_file(site.uuid()).unwrap();
        fs::create_dir(site.uuid()).unwrap();
        assert!(site.load_or_create().unwrap_err().contains("cannot read"));
        fs::remove_dir(site.uuid()).unwrap();
        fs::write(site.uuid(), good).unwrap();
        assert_eq!(site.load_or_create().unwrap(), first);
    }

    #[test]
    fn a_damaged_key_is_reported_without_quoting_or_replacing_it() {
        let site = Site::new();
        let first = site.load_or_create().unwrap();
        let path = &site.settings.key_file;
        let good = fs::read_to_string(path).unwrap();
        let secret = good.lines().nth(1).unwrap();
        for damage in ["", "\n", &good.replace("BEGIN", "BEGUN"), &good[..40]] {
            fs::write(path, damage).unwrap();
            let error = site.load_or_create().unwrap_err();
            assert!(
                error.contains("authn.key")
                    && error.contains("fedgate keygen")
                    && !error.contains(secret),
                "{error}"
            );
            assert_eq!(fs::read_to_string(path).unwrap(), damage);
        }
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(site.folder.path().join("gone"), path).unwrap();
        assert!(
            site.load_or_create().unwrap_err().contains("cannot read"),
            "a link whose target is gone"
        );
        fs::remove_file(path).unwrap();
        fs::write(path, good).unwrap();
        assert_eq!(site.load_or_create().unwrap(), first);
    }

    #[test]
    fn a_lost_uuid_or_key_is_reported_and_not_recreated() {
        let site = Site::new();
        let (uuid, _) = site.load_or_create().unwrap();
        let key = fs::read(&site.settings.key_file).unwrap();
        fs::remove_file(&site.settings.key_file).unwrap();
        assert!(site.load_or_create().unwrap_err().contains("the key is gone"));
        assert!(!site.settings.key_file.exists());
        fs::write(&site.settings.key_file, key).unwrap();
        site.ran();
        fs::remove_file(site.uuid()).unwrap();
        assert!(site.load_or_create().unwrap_err().contains("UUID is gone"));
        assert!(!site.uuid().exists());
        // The operator's setting wins.
        let mut settings = site.settings.clone();
        settings.cluster_uuid = Some(ClusterUuid::parse(&uuid).unwrap());
        assert_eq!(load_or_create(&settings, &site.state).unwrap().0.as_str(), uuid);
    }

    #[test]
    fn a_lost_state_folder_is_detected_by_envoys_files() {
        let site = Site::new();
        let table = site.settings.envoy.join(TABLE);
        fs::create_dir_all(table.parent().unwrap()).unwrap();
        fs::write(&table, "{}").unwrap();
        let made = site.load_or_create().unwrap();
        let at = replaced_at(&site.state);
        let finding_after = |hours| {
            replaced(
                at,
                ObjectRef::cluster("alpha.example"),
                at.unwrap() + SignedDuration::from_hours(hours),
            )
        };
        assert_eq!(finding_after(71).unwrap().reason, FindingReason::IdentityReplaced);
        assert_eq!(finding_after(72), None);
        assert_eq!(site.load_or_create().unwrap(), made, "it is made once");
        assert_eq!(replaced_at(&site.state), at);
        // The counterpart: a new cluster has lost nothing.
        let site = Site::new();
        site.load_or_create().unwrap();
        assert_eq!(replaced_at(&site.state), None);
    }
}
