use crate::finding::shown;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// What identifies an issuer: the names of subject and issuer, and the identifiers of their keys
/// (RFC 5280, sections 4.2.1.1 and 4.2.1.2).
#[derive(Clone)]
pub(crate) struct Names {
    subject: Arc<[u8]>,
    issuer: Arc<[u8]>,
    subject_key: Option<Arc<[u8]>>,
    authority_key: Option<Arc<[u8]>>,
    shown_issuer: Arc<str>,
}

impl Names {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let (mut subject_key, mut authority_key) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(key) => subject_key = Some(key.0.into()),
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    authority_key = key.key_identifier.as_ref().map(|key| key.0.into());
                }
                _ => {}
            }
        }
        Self {
            subject: certificate.subject().as_raw().into(),
            issuer: certificate.issuer().as_raw().into(),
            subject_key,
            authority_key,
            shown_issuer: shown(&certificate.issuer().to_string()).to_string().into(),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.shown_issuer
    }

    /// Returns true if it names itself as its issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.may_be_issued_by(self)
    }

    /// Returns true if `issuer` may be the issuer, judging by names and key identifiers.
    pub(crate) fn may_be_issued_by(&self, issuer: &Self) -> bool {
        let keys = self.authority_key.as_ref().zip(issuer.subject_key.as_ref());
        self.issuer == issuer.subject
            && keys.is_none_or(|(authority, subject)| authority == subject)
    }
}
