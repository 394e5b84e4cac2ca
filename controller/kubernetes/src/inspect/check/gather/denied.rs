//! Explains why a request failed.

use crate::api::client::describe;
use crate::inspect::snapshot::refused;

/// Names the missing permission, if that is the reason.
pub(super) fn denied(
    error: &kube::Error,
    verb: &str,
    what: &str,
    namespace: Option<&str>,
) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("{:#}", refused(error, verb, what, namespace))
        }
        error => describe(error),
    }
}
