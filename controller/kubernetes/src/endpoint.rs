//! The metadata endpoint's certificate, as this replica's Pod has it.

use fedgate_core::TrustDomain;
use fedgate_federation::ObjectRef;
use fedgate_federation::credentials::{Credentials, Source};
use fedgate_process::words::io;
use std::path::Path;

/// The setting that names the folder.
const FIELD: &str = "--metadata-tls";

/// Reads the folder of a mounted Secret, and finds what is wrong with it.
pub(super) fn read(folder: &Path, ours: &TrustDomain) -> Credentials {
    let read = |name| {
        let file = std::fs::read(folder.join(name));
        file.map_err(|error| format!("cannot read {name}: {}", io(&error)))
    };
    let (chain, key) = (read("tls.crt"), read("tls.key"));
    let object = |name| {
        ObjectRef::cluster(ours.as_str()).with_source(Some(folder.join(name).display().to_string()))
    };
    Credentials::of_endpoint(&source(&chain, object("tls.crt")), &source(&key, object("tls.key")))
}

fn source(bytes: &Result<Vec<u8>, String>, object: ObjectRef) -> Source<'_> {
    Source { object, field: FIELD, bytes: bytes.as_deref().map_err(Clone::clone) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_exchange::loopback::TestCa;
    use fedgate_federation::FindingReason;
    use jiff::Timestamp;

    #[test]
    fn a_mounted_secret_is_checked() {
        let (folder, ours) =
            (tempfile::tempdir().unwrap(), TrustDomain::parse("alpha.example").unwrap());
        let found = || {
            let findings = read(folder.path(), &ours).findings(Timestamp::now());
            findings.iter().map(|finding| finding.reason).collect::<Vec<_>>()
        };
        assert_eq!(found(), [FindingReason::InvalidCertificate]);
        let findings = read(folder.path(), &ours).findings(Timestamp::now());
        assert!(findings[0].message.contains("there is no such file"), "{:?}", findings[0]);
        let ca = TestCa::new();
        let put = |chain: &str, key: &str| {
            std::fs::write(folder.path().join("tls.crt"), chain).unwrap();
            std::fs::write(folder.path().join("tls.key"), key).unwrap();
        };
        let (leaf, expired) = (ca.leaf(), ca.expired_leaf());
        put(&leaf.chain, &leaf.key);
        assert_eq!(found(), []);
        put(&expired.chain, &expired.key);
        assert_eq!(found(), [FindingReason::CertificateExpired]);
        put(&leaf.chain, &expired.key);
        assert_eq!(found(), [FindingReason::KeyMismatch]);
    }
}
