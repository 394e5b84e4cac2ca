//! Checks what the controller may do. The needs are repeated here from
//! `deploy/kubernetes/rbac.yaml` and `deploy/mcs/rbac.yaml`; a test compares them.

use super::facts::{Facts, NamespaceRole, Need};
use super::report::{Check, Section};
use crate::api::kind::Kind;
use crate::identity::SECRET;
use crate::leader::election::LEASE;
use crate::settings::Namespaces;
use std::collections::BTreeMap;

const WATCH: &[&str] = &["list", "watch"];
const WRITE: &[&str] = &["list", "watch", "create", "patch", "delete"];
/// For kinds of which only our own objects are watched, so that someone else's object with a name
/// of ours has to be asked for.
const LOOK: &[&str] = &["get"];

/// Everything that the controller needs.
pub(super) fn needs(namespaces: &Namespaces) -> Vec<Need> {
    let mut needs = Needs(Vec::new());
    let cluster = (NamespaceRole::Cluster, None);
    for kind in [
        Kind::IstioFederation,
        Kind::FederationPolicy,
        Kind::FederatedService,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Node,
        Kind::ServiceCidr,
    ] {
        needs.of_kind(cluster, kind, WATCH);
    }
    needs.of_kind(cluster, Kind::ServiceEntry, WATCH);
    needs.add(cluster, ("deckhouse.io", "istiofederations", "status"), None, &["patch"]);
    needs.add(cluster, ("fedgate.dev", "federatedservices", "status"), None, &["patch"]);
    needs.add(cluster, ("events.k8s.io", "events", ""), None, &["create", "patch"]);

    let own = (NamespaceRole::Own, Some(namespaces.own()));
    needs.add(own, ("", "secrets", ""), Some(SECRET), &["get", "list", "watch"]);
    needs.add(own, ("", "secrets", ""), None, &["create"]);
    needs.add(own, ("coordination.k8s.io", "leases", ""), Some(LEASE), &["get", "update"]);
    needs.add(own, ("coordination.k8s.io", "leases", ""), None, &["create"]);
    needs.of_kind(own, Kind::ConfigMap, LOOK);
    needs.of_kind(own, Kind::ConfigMap, WRITE);

    let gateway = (NamespaceRole::Gateway, Some(namespaces.gateway()));
    for kind in [Kind::Service, Kind::Pod] {
        needs.of_kind(gateway, kind, WATCH);
    }
    needs.of_kind(gateway, Kind::Pod, &["patch"]);
    needs.of_kind(gateway, Kind::ConfigMap, LOOK);
    for kind in [
        Kind::ConfigMap,
        Kind::EnvoyFilter,
        Kind::WasmPlugin,
        Kind::Gateway,
        Kind::VirtualService,
        Kind::ServiceEntry,
    ] {
        needs.of_kind(gateway, kind, WRITE);
    }
    let imports = (NamespaceRole::Imports, Some(namespaces.imports()));
    for kind in [Kind::ServiceEntry, Kind::DestinationRule, Kind::VirtualService] {
        needs.of_kind(imports, kind, WRITE);
    }
    needs.of_kind((NamespaceRole::Root, Some(&namespaces.root)), Kind::EnvoyFilter, WRITE);
    needs.0
}

/// What it needs in addition for the Multi-Cluster Services API, in both directions.
pub(super) fn needs_of_mcs(exports: bool, imports: bool) -> Vec<Need> {
    let (mut needs, cluster) = (Needs(Vec::new()), (NamespaceRole::Cluster, None));
    if exports {
        needs.of_kind(cluster, Kind::ServiceExport, WATCH);
        let status = (Kind::ServiceExport.group(), Kind::ServiceExport.plural(), "status");
        needs.add(cluster, status, None, &["patch"]);
    }
    if imports {
        needs.of_kind(cluster, Kind::ServiceImport, LOOK);
        needs.of_kind(cluster, Kind::ServiceImport, WRITE);
        let status = (Kind::ServiceImport.group(), Kind::ServiceImport.plural(), "status");
        needs.add(cluster, status, None, &["patch"]);
    }
    needs.0
}

struct Needs(Vec<Need>);

impl Needs {
    fn of_kind(
        &mut self,
        scope: (NamespaceRole, Option<&str>),
        kind: Kind,
        verbs: &[&'static str],
    ) {
        self.add(scope, (kind.group(), kind.plural(), ""), None, verbs);
    }

    fn add(
        &mut self,
        (role, namespace): (NamespaceRole, Option<&str>),
        (group, resource, subresource): (&'static str, &'static str, &'static str),
        name: Option<&'static str>,
        verbs: &[&'static str],
    ) {
        let namespace = namespace.map(str::to_owned);
        let need = |verb| Need {
            role,
            namespace: namespace.clone(),
            group,
            resource,
            subresource,
            name,
            verb,
        };
        self.0.extend(verbs.iter().map(|verb| need(*verb)));
    }
}

pub(super) fn section(facts: &Facts) -> Section {
    let name = "permissions of the controller".to_owned();
    let account = format!("{}/{}", facts.namespace, facts.service_account);
    let answered = match &facts.permissions {
        Ok(answered) => answered,
        Err(why) => {
            let title = format!("the ServiceAccount {account} has the permissions that it needs");
            return Section { name, checks: vec![Check::skipped("permissions", title, why)] };
        }
    };
    let mut by_role: BTreeMap<NamespaceRole, Vec<&(Need, bool)>> = BTreeMap::new();
    for answer in answered {
        by_role.entry(answer.0.role).or_default().push(answer);
    }
    Section { name, checks: by_role.values().map(|answers| line(&account, answers)).collect() }
}

fn line(account: &str, answers: &[&(Need, bool)]) -> Check {
    let location = answers.first().map(|(need, _)| location(need)).unwrap_or_default();
    let title = format!("{account} has the permissions that it needs {location}");
    let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (need, _) in answers.iter().filter(|(_, allowed)| !allowed) {
        missing.entry(object(need)).or_default().push(need.verb);
    }
    if missing.is_empty() {
        return Check::ok("permissions", title, "");
    }
    let missing: Vec<_> =
        missing.iter().map(|(what, verbs)| format!("{} {what}", verbs.join(", "))).collect();
    let hint = "apply the roles of this version (deploy/kubernetes/rbac.yaml, and deploy/mcs/rbac.yaml for the Multi-Cluster \
                Services API), with the namespaces from the controller's flags; use \
                --service-account for another ServiceAccount";
    Check::failed("permissions", title, format!("it may not {}", missing.join("; ")), hint)
}

fn location(need: &Need) -> String {
    let namespace = need.namespace.as_deref().unwrap_or_default();
    match need.role {
        NamespaceRole::Cluster => "in the whole cluster".to_owned(),
        NamespaceRole::Own => format!("in fedgate's namespace {namespace}"),
        NamespaceRole::Gateway => format!("in the gateway's namespace {namespace}"),
        NamespaceRole::Imports => format!("in the namespace of imports, {namespace}"),
        NamespaceRole::Root => format!("in the mesh's root namespace {namespace}"),
    }
}

fn object(need: &Need) -> String {
    let mut object = need.resource.to_owned();
    for part in [need.group, need.subresource, need.name.unwrap_or_default()] {
        match part {
            "" => {}
            part if part == need.group => object += &format!(".{part}"),
            part => object += &format!("/{part}"),
        }
    }
    object
}
