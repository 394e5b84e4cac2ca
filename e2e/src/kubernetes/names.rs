//! What an installation has, by name, and how soon something is there.

use std::time::Duration;

/// fedgate's own namespace, which is the gateway's and that of the imports as well.
pub const NAMESPACE: &str = "fedgate-system";

/// The mesh's root namespace.
pub const MESH_NAMESPACE: &str = "istio-system";

/// The namespace of the workloads.
pub const SHOP: &str = "shop";

/// The ServiceAccount of the controller.
pub const SERVICE_ACCOUNT: &str = "fedgate";

/// The user of the controller's requests, for [`super::AuditLog`].
pub const CONTROLLER: &str = "system:serviceaccount:fedgate-system:fedgate";

/// How long it may take until what was applied is in force or what was asked for has happened.
pub const SOON: Duration = Duration::from_secs(30);
