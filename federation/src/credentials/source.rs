use crate::finding::{Finding, FindingReason, ObjectRef};

/// Bytes that an adapter read, and where.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The object that findings are about.
    pub object: ObjectRef,
    /// Its field.
    pub field: &'a str,
    /// The bytes; `Err`: why they cannot be read.
    pub bytes: Result<&'a [u8], String>,
}

impl Source<'_> {
    pub(super) fn error(&self, reason: FindingReason, message: impl Into<String>) -> Finding {
        Finding::error(reason, self.object.clone(), self.field, message)
    }

    /// What the file should hold, and to put it there.
    pub(super) fn misplaced(&self, reason: FindingReason, why: &str) -> Finding {
        self.error(reason, format!("{why}; put the right file there"))
    }

    /// A certificate that is whole, and that peers refuse.
    pub(super) fn unfit(&self, why: &str) -> Finding {
        self.error(FindingReason::InvalidCertificate, format!("{why}; have the certificate issued anew"))
    }

    pub(super) fn warning(&self, reason: FindingReason, message: impl Into<String>) -> Finding {
        Finding::warning(reason, self.object.clone(), self.field, message)
    }
}
