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

    pub(super) fn warning(&self, reason: FindingReason, message: impl Into<String>) -> Finding {
        Finding::warning(reason, self.object.clone(), self.field, message)
    }
}
