//! How objects of ours are known from others': by labels. What has not ours is never touched.

use kube::ResourceExt;

/// Whose an object is: the namespace of the fedgate that wrote it. Two in one cluster don't take each other's objects away.
pub const OWNER: &str = "fedgate.dev/owner";
/// The annotation that says which peer an object is there for.
pub const PEER: &str = "fedgate.dev/peer";
/// Our field manager.
pub const FIELD_MANAGER: &str = "fedgate";

/// The label that all of fedgate's objects have, for people.
pub fn managed_by() -> (String, String) {
    ("app.kubernetes.io/managed-by".to_owned(), "fedgate".to_owned())
}

/// Whether the fedgate of this namespace wrote the object.
pub fn is_ours(object: &impl ResourceExt, namespace: &str) -> bool {
    object.labels().get(OWNER).is_some_and(|owner| owner == namespace)
}
