//! Checks the objects of imports and of `FederatedService`s. Each imported host needs a ServiceEntry,
//! a DestinationRule, and an EnvoyFilter, shared with other hosts, that binds it to its owner's
//! roots. Each `FederatedService` needs a ServiceEntry, and such an EnvoyFilter for its members.

use super::facts::{Owned, Written};
use super::report::{Check, Section};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::inspect::snapshot::Snapshot;
use crate::sinks::{bindings, federated};
use std::collections::BTreeSet;

pub(super) fn section(snapshot: &Snapshot, written: &Written) -> Section {
    let namespaces = &snapshot.record.namespaces;
    let imports = &snapshot.in_force.federation.imports;
    let hosts: BTreeSet<_> =
        imports.iter().map(|import| (&import.service.host, &import.trust_domain)).collect();
    let wanted = hosts.iter().flat_map(|(host, trust_domain)| {
        let key = |namespace: &str, name: String| Key { namespace: namespace.to_owned(), name };
        [
            (Kind::ServiceEntry, key(namespaces.imports(), host.to_string())),
            (Kind::DestinationRule, key(namespaces.imports(), host.to_string())),
            (Kind::EnvoyFilter, key(&namespaces.root, bindings::name(host, trust_domain))),
        ]
    });
    let title = "each imported host has its objects";
    let check = written_check("imports-written", title, wanted.collect(), written, || {
        format!("{} hosts", hosts.len())
    });
    let mut checks = vec![check];
    if !snapshot.in_force.federation.federated_services.is_empty() {
        checks.extend([federated_written(snapshot, written), members_ready(snapshot)]);
    }
    Section { name: "imports".to_owned(), checks }
}

fn federated_written(snapshot: &Snapshot, written: &Written) -> Check {
    let namespaces = &snapshot.record.namespaces;
    let services = &snapshot.in_force.federation.federated_services;
    let wanted = services.iter().flat_map(|service| {
        let key = |namespace: &str, name: String| Key { namespace: namespace.to_owned(), name };
        [
            (Kind::ServiceEntry, key(namespaces.imports(), service.host.to_string())),
            (Kind::EnvoyFilter, key(&namespaces.root, federated::filter_name(&service.host))),
        ]
    });
    let title = "each FederatedService has its objects";
    written_check("federated-written", title, wanted.collect(), written, || {
        format!("{} hosts", services.len())
    })
}

/// Calls to a name without a member in use fail.
fn members_ready(snapshot: &Snapshot) -> Check {
    const TITLE: &str = "each FederatedService has a member that takes calls";
    let services = &snapshot.in_force.federation.federated_services;
    let ports = services.iter().flat_map(|service| &service.ports);
    let dead = ports.filter(|port| port.in_use().next().is_none());
    let dead: Vec<_> = dead.map(|port| port.service.to_string()).collect();
    if dead.is_empty() {
        return Check::ok("federated-members", TITLE, "");
    }
    let hint = "`fedgate status` says why each member is passed over";
    Check::failed("federated-members", TITLE, format!("none for {}", some(&dead)), hint)
}

/// Checks that all of `wanted` exist and are ours.
pub(super) fn written_check(
    name: &'static str,
    title: &str,
    wanted: Vec<(Kind, Key)>,
    written: &Written,
    detail: impl FnOnce() -> String,
) -> Check {
    let written = match written {
        Ok(written) => written,
        Err(why) => {
            return Check::warning(
                name,
                title,
                why,
                "this check needs a role that lets you list these objects",
            );
        }
    };
    let named = |(kind, Key { namespace, name }): &(Kind, Key)| {
        format!("{} {namespace}/{name}", kind.name())
    };
    let foreign: Vec<_> = wanted
        .iter()
        .filter(|wanted| written.get(wanted) == Some(&Owned::Foreign))
        .map(named)
        .collect();
    if !foreign.is_empty() {
        let detail =
            format!("without fedgate's label, so fedgate does not change it: {}", some(&foreign));
        return Check::failed(
            name,
            title,
            detail,
            "rename or delete it; fedgate then writes its own",
        );
    }
    let missing: Vec<_> =
        wanted.iter().filter(|wanted| !written.contains_key(wanted)).map(named).collect();
    if !missing.is_empty() {
        let hint = "the controller's log and `kubectl get events` say why it cannot write it";
        return Check::failed(name, title, format!("missing: {}", some(&missing)), hint);
    }
    Check::ok(name, title, detail())
}

/// The first three.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}
