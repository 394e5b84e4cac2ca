//! The names in an installation.

/// fedgate's namespace, which also contains the gateway and the imports.
pub const NAMESPACE: &str = "fedgate-system";

/// The mesh's root namespace.
pub const MESH_NAMESPACE: &str = "istio-system";

/// The namespace of the workloads.
pub const SHOP: &str = "shop";

/// The ServiceAccount of the controller.
pub const SERVICE_ACCOUNT: &str = "fedgate";

/// The user name in the controller's requests, for [`super::AuditLog`].
pub const CONTROLLER: &str = "system:serviceaccount:fedgate-system:fedgate";
