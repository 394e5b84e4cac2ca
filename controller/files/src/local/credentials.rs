//! Checks the files with this cluster's certificates and keys.

use crate::cluster_identity::OTHER_KEY_FILE;
use crate::settings::{IdentityFiles, Settings};
use fedgate_exchange::settings::MetadataTransport;
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::{Credentials, RootSource, Source};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::regular_file::{self, MOST_PEM};
use fedgate_process::words;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Reads the certificates and keys that the settings name, and collects what is wrong with them.
/// The caller has read `roots` already.
pub(super) fn read(settings: &Settings, roots: &[Root]) -> Credentials {
    let object = |path: &Path| {
        ObjectRef::cluster(settings.trust_domain.as_str())
            .with_source(Some(path.display().to_string()))
    };
    let IdentityFiles { certificate_chain, private_key, roots: roots_file } = &settings.identity;
    let chain = File::read("identity.certificateChain", certificate_chain);
    let key = File::read("identity.privateKey", private_key);
    let roots = RootSource { roots, object: object(roots_file), field: "identity.roots" };
    let mut credentials = Credentials::of_identity(
        &chain.source(&object),
        &key.source(&object),
        &roots,
        &settings.trust_domain,
    );
    // Envoy may run as another user of the same group. Others need no access.
    credentials.faults.extend(exposed(&key, OTHERS, &object));
    if let MetadataTransport::Tls { certificate, key } = &settings.metadata.transport {
        let chain = File::read("metadata.tls.certificate", certificate);
        let key = File::read("metadata.tls.key", key);
        credentials.add(Credentials::of_endpoint(&chain.source(&object), &key.source(&object)));
        credentials.faults.extend(exposed(&key, OTHERS, &object));
    }
    // Only the controller reads these keys.
    let authn = File::read("keyFile", &settings.key_file);
    credentials.faults.extend(exposed(&authn, GROUP_AND_OTHERS, &object));
    if let Some(path) = &settings.other_key_file {
        let other = File::read(OTHER_KEY_FILE, path);
        credentials.faults.extend(exposed(&other, GROUP_AND_OTHERS, &object));
    }
    credentials
}

/// Adds one finding for each unreadable root, and drops the findings that merely follow from it.
pub(super) fn without_roots(settings: &Settings, credentials: &mut Credentials, why: &[String]) {
    credentials.faults.retain(|fault| fault.reason != FindingReason::UntrustedCertificate);
    let path = settings.identity.roots.display().to_string();
    let object = ObjectRef::cluster(settings.trust_domain.as_str()).with_source(Some(path));
    let finding = |why: &String| {
        Finding::error(FindingReason::InvalidRoot, object.clone(), "identity.roots", why.as_str())
    };
    credentials.faults.extend(why.iter().map(finding));
}

/// The content of a file with certificates or a key, or what is wrong and what to do.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    regular_file::read(path, MOST_PEM).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "expected a file in PEM, found none; put it there".to_owned(),
        ErrorKind::PermissionDenied => {
            "expected a file that the controller may read, found one that it may not; let its user read it".to_owned()
        }
        _ if regular_file::is_refusal(&error) => {
            format!("{}; put a file in PEM there, or name another one", words::io(&error))
        }
        _ => format!("expected a file in PEM, found one that cannot be read: {}; replace it", words::io(&error)),
    })
}

struct File<'a> {
    field: &'static str,
    path: &'a Path,
    bytes: Result<Vec<u8>, String>,
}

impl<'a> File<'a> {
    fn read(field: &'static str, path: &'a Path) -> Self {
        Self { field, path, bytes: bytes(path) }
    }

    fn source(&self, object: &impl Fn(&Path) -> ObjectRef) -> Source<'_> {
        let bytes = self.bytes.as_deref().map_err(Clone::clone);
        Source { object: object(self.path), field: self.field, bytes }
    }
}

const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;

/// A finding if the file has a private key and its permissions allow more than they should.
fn exposed(
    key: &File<'_>,
    forbidden: u32,
    object: &impl Fn(&Path) -> ObjectRef,
) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt;
    const LABEL: &[u8] = b"PRIVATE KEY";
    key.bytes.as_ref().ok()?.windows(LABEL.len()).find(|part| *part == LABEL)?;
    let mode = fs::metadata(key.path).ok()?.permissions().mode() & 0o777;
    let most = 0o660 & !forbidden;
    (mode & forbidden != 0).then(|| {
        let message = format!(
            "other users of this machine may read or change this private key: expected mode {most:04o} at most, found {mode:04o}; \
             run `chmod {:o} {}`, and replace the key if someone may have read it",
            mode & !forbidden,
            key.path.display()
        );
        Finding::warning(FindingReason::ExposedKey, object(key.path), key.field, message)
    })
}
