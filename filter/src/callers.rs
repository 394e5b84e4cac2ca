//! Who called: passed connections by peer, by the caller's namespace and by export. Off unless the
//! operator sets how many combinations are counted by name ([`Options::named_callers`]).
//!
//! A peer chooses its namespaces, and can use new ones at any time. The proxy never forgets a name.
//! So the first combinations of a VM's life have names of their own, and all others of a peer count
//! as [`OVERFLOW`]. A namespace that is no Kubernetes name counts as [`OVERFLOW`], too.
//!
//! [`Options::named_callers`]: fedgate_core::Options::named_callers

use crate::host::Host;
use crate::metrics::{Counter, OVERFLOW};
use fedgate_core::{ServiceName, SpiffeId};
use std::collections::BTreeMap;

/// The longest namespace of Kubernetes (an RFC 1123 label).
const LONGEST_NAMESPACE: usize = 63;

/// The counters of one gateway in one thread.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    /// The maximum number of combinations that the VM names over its life; 0 counts none.
    limit: usize,
    named: BTreeMap<String, Counter>,
    /// One for each label of a peer, which are few.
    others: BTreeMap<String, Counter>,
}

impl Callers {
    pub(crate) fn limit(&mut self, named_callers: u32) {
        self.limit = usize::try_from(named_callers).unwrap_or(usize::MAX);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// Counts a connection of a caller. `peer` is the label of its peer.
    pub(crate) fn count(
        &mut self,
        host: &impl Host,
        peer: &str,
        uri_san: &str,
        service: &ServiceName,
    ) {
        let name = name(peer, namespace(uri_san), &service.text());
        let known = self.named.contains_key(&name) || self.named.len() < self.limit;
        let (series, name) = match known {
            true => (&mut self.named, name),
            false => (&mut self.others, other_name(peer)),
        };
        let counter = series.entry(name.clone()).or_default();
        counter.increment(host, || name);
    }
}

/// The caller's namespace. A dot in it would make the counter's name ambiguous.
fn namespace(uri_san: &str) -> &str {
    let id = SpiffeId::parse(uri_san).ok();
    let namespace = id.and_then(|id| id.caller()).map(|(namespace, _)| namespace);
    let is_label = |namespace: &&str| {
        namespace.len() <= LONGEST_NAMESPACE
            && namespace.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    namespace.filter(is_label).unwrap_or(OVERFLOW)
}

fn other_name(peer: &str) -> String {
    name(peer, OVERFLOW, OVERFLOW)
}

/// Peers' names and hosts contain dots, but no underscore, except for [`OVERFLOW`].
fn name(peer: &str, namespace: &str, export: &str) -> String {
    format!("fedgate.callers.peer.{peer}._namespace.{namespace}._export.{export}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_kubernetes_name_or_it_is_not_named() {
        let of = |path: &str| namespace(&format!("spiffe://alpha.example/{path}")).to_owned();
        assert_eq!(of("ns/shop-2/sa/web"), "shop-2");
        let long = format!("ns/{}/sa/web", "a".repeat(64));
        for path in ["ns/a.peer.b/sa/web", "ns/Shop/sa/web", "ns/a_b/sa/web", "workload", &long] {
            assert_eq!(of(path), OVERFLOW, "{path}");
        }
        assert_eq!(namespace("no SPIFFE ID"), OVERFLOW);
    }
}
