//! Why something was not told.

use crate::api::client::told;
use crate::inspect::snapshot::refused;

/// Names the permission that is missing, if that is why.
pub(super) fn denied(error: &kube::Error, verb: &str, what: &str, namespace: Option<&str>) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => format!("{:#}", refused(error, verb, what, namespace)),
        error => told(error),
    }
}
