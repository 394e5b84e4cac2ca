//! The files with this cluster's certificates and keys, as they are checked.

use crate::settings::{MetadataTransport, Settings};
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::{Credentials, RootSource, Source};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use std::fs;
use std::path::Path;

/// Reads the certificates and keys that the settings name, and says what is wrong with them. `roots` have been read before.
pub(super) fn read(settings: &Settings, roots: &[Root]) -> Credentials {
    let object =
        |path: &Path| ObjectRef::cluster(settings.trust_domain.as_str()).from_source(Some(path.display().to_string()));
    let files = &settings.identity;
    let chain = File::read("identity.certificateChain", &files.certificate_chain);
    let key = File::read("identity.privateKey", &files.private_key);
    let roots = RootSource { roots, object: object(&files.roots), field: "identity.roots" };
    let mut credentials =
        Credentials::of_identity(&chain.source(&object), &key.source(&object), &roots, &settings.trust_domain);
    // Envoy may run as another user of the same group; nobody else needs it.
    credentials.faults.extend(exposed(&key, OTHERS, &object));
    if let MetadataTransport::Tls { certificate, key } = &settings.metadata.transport {
        let chain = File::read("metadata.tls.certificate", certificate);
        let key = File::read("metadata.tls.key", key);
        credentials.add(Credentials::of_endpoint(&chain.source(&object), &key.source(&object)));
        credentials.faults.extend(exposed(&key, OTHERS, &object));
    }
    // Read by the controller alone.
    let authn = File::read("keyFile", &settings.key_file);
    credentials.faults.extend(exposed(&authn, GROUP_AND_OTHERS, &object));
    credentials
}

struct File<'a> {
    field: &'static str,
    path: &'a Path,
    bytes: Result<Vec<u8>, String>,
}

impl<'a> File<'a> {
    fn read(field: &'static str, path: &'a Path) -> Self {
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "expected a file in PEM, found none; put it there".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "it cannot be read: permission denied; let the controller's user read it".to_owned()
            }
            _ => format!("it cannot be read: {error}"),
        });
        Self { field, path, bytes }
    }

    fn source(&self, object: &impl Fn(&Path) -> ObjectRef) -> Source<'_> {
        let bytes = self.bytes.as_deref().map_err(Clone::clone);
        Source { object: object(self.path), field: self.field, bytes }
    }
}

const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;

/// A key that somebody may read or write who should not.
fn exposed(key: &File<'_>, forbidden: u32, object: &impl Fn(&Path) -> ObjectRef) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt;
    const LABEL: &[u8] = b"PRIVATE KEY";
    key.bytes.as_ref().ok()?.windows(LABEL.len()).find(|part| *part == LABEL)?;
    let mode = fs::metadata(key.path).ok()?.permissions().mode() & 0o777;
    let most = 0o660 & !forbidden;
    (mode & forbidden != 0).then(|| {
        let message = format!(
            "other users of this machine may read or change this private key: expected mode {most:04o} at most, found {mode:04o}; \
             run `chmod {:o} {}`, and replace the key if somebody may have read it",
            mode & !forbidden,
            key.path.display()
        );
        Finding::warning(FindingReason::ExposedKey, object(key.path), key.field, message)
    })
}
