use super::issuer::Issuer;
use crate::finding::{Finding, FindingReason, ObjectRef};

/// Bytes that an adapter read, and where they come from.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The object that findings are about.
    pub object: ObjectRef,
    /// The field of that object.
    pub field: &'a str,
    /// The bytes, or why they cannot be read.
    pub bytes: Result<&'a [u8], String>,
}

impl Source<'_> {
    pub(super) fn error(&self, reason: FindingReason, message: impl Into<String>) -> Finding {
        Finding::error(reason, self.object.clone(), self.field, message)
    }

    /// An error that advises to put the right file in place.
    pub(super) fn misplaced(&self, reason: FindingReason, why: &str) -> Finding {
        self.error(reason, format!("{why}; put the right file there"))
    }

    /// An error about a certificate that is intact but that peers refuse.
    pub(super) fn unfit(&self, why: &str) -> Finding {
        self.error(
            FindingReason::InvalidCertificate,
            format!("{why}; {}", Issuer::of(&self.object).reissue()),
        )
    }

    pub(super) fn warning(&self, reason: FindingReason, message: impl Into<String>) -> Finding {
        Finding::warning(reason, self.object.clone(), self.field, message)
    }
}
