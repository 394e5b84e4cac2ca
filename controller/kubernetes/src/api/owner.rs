//! Distinguishes our objects from those of others, by labels. Objects without our label are never
//! touched.

use kube::ResourceExt;

/// The owner of an object: the namespace of the fedgate that wrote it. So two of them in one
/// cluster do not delete each other's objects.
pub(crate) const OWNER: &str = "fedgate.dev/owner";
/// The annotation with the peer that an object belongs to.
pub(crate) const PEER: &str = "fedgate.dev/peer";
/// The annotation with the `FederatedService` that an object belongs to, `NAMESPACE/NAME`.
pub(crate) const FEDERATED_SERVICE: &str = "fedgate.dev/federated-service";
/// Our field manager.
pub(crate) const FIELD_MANAGER: &str = "fedgate";

/// The label on all of fedgate's objects, for people.
pub(crate) fn managed_by() -> (String, String) {
    ("app.kubernetes.io/managed-by".to_owned(), "fedgate".to_owned())
}

/// Returns true if the fedgate in this namespace wrote the object.
pub(crate) fn is_ours(object: &impl ResourceExt, namespace: &str) -> bool {
    object.labels().get(OWNER).is_some_and(|owner| owner == namespace)
}
