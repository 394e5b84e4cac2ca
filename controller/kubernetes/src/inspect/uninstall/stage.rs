//! The order of deletion.

use crate::api::kind::Kind;
use crate::sources::memory::STATE;

/// When an object is deleted. The objects that protect the port go after the port. The object that
/// records the namespaces goes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The names of imports and of `FederatedService`s, and how to call them.
    Import,
    /// The bindings of imports to their owners' roots, and of `FederatedService`s to their members:
    /// once no client calls them.
    Binding,
    /// The port that peers connect to.
    Port,
    /// What was in force at that port.
    Listener,
    /// The mounted ConfigMaps, and the stored knowledge.
    Memory,
    /// The object that records the namespaces; a retry needs it.
    State,
}

impl Stage {
    /// The stage of an object; `is_import` is true if it belongs to one peer, or to a
    /// `FederatedService`.
    pub(super) fn of(kind: Kind, name: &str, is_import: bool) -> Self {
        match kind {
            Kind::DestinationRule | Kind::ServiceImport => Self::Import,
            Kind::ServiceEntry | Kind::VirtualService if is_import => Self::Import,
            Kind::EnvoyFilter if is_import => Self::Binding,
            Kind::Gateway => Self::Port,
            Kind::ConfigMap if name == STATE => Self::State,
            Kind::ConfigMap => Self::Memory,
            _ => Self::Listener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_protect_the_port_are_deleted_after_it() {
        let imports = [
            Stage::of(Kind::ServiceEntry, "web.shop.svc.beta.example", true),
            Stage::of(Kind::EnvoyFilter, "x", true),
            Stage::of(Kind::VirtualService, "web.shop.global", true),
        ];
        let port = Stage::of(Kind::Gateway, "fedgate-gateway", false);
        let closes = [
            (Kind::EnvoyFilter, "fedgate-table"),
            (Kind::VirtualService, "fedgate-black-hole"),
            (Kind::ServiceEntry, "fedgate-black-hole"),
        ];
        assert!(imports.iter().all(|stage| *stage < port));
        assert!(closes.iter().all(|(kind, name)| Stage::of(*kind, name, false) > port));
        assert!(
            Stage::of(Kind::ConfigMap, STATE, false)
                > Stage::of(Kind::ConfigMap, "fedgate-peer-beta", true)
        );
    }
}
