//! The objects that exist, ours and those of others, of the kinds and in the namespaces that we
//! write to.

use super::reserved::{self, HostAddress};
use super::table::InObject;
use crate::api::fingerprint::{Fingerprint, of_object};
use crate::api::kind::Kind;
use crate::api::owner::{OWNER, PEER};
use crate::api::watch::{Key, Watch, Watched};
use crate::module::{MODULES, Shipped};
use crate::settings::{ControllerSettings, Delivery, Namespaces};
use crate::sinks::gateway::table_object;
use crate::sources::Wakes;
use crate::sources::selection::{self, Selection};
use fedgate_core::{Hostname, Table};
use fedgate_process::tasks::Tasks;
use kube::api::DynamicObject;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What is kept of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Existing {
    /// `metadata.uid`, so that a write cannot hit another object of the same name.
    pub uid: String,
    /// The value of the owner label.
    pub owner: Option<String>,
    /// The peer that the object belongs to.
    pub peer: Option<String>,
    /// The fingerprint of its content.
    pub fingerprint: Fingerprint,
    /// The modules in it, if it is the ConfigMap with modules.
    pub shipped: Option<Arc<Shipped>>,
    /// The table in it, if it can hold one.
    pub table: Option<InObject>,
    /// The address of an imported host, if it is a ServiceEntry with one.
    pub address: Option<IpAddr>,
    /// The addresses of hosts that are no longer imported, if it is the ConfigMap of their peer.
    pub reserved: Arc<HostAddress>,
}

/// The objects of one kind in one namespace.
#[derive(Clone)]
pub(crate) struct Output {
    /// The existing objects.
    pub watched: Watched<Existing>,
    /// The API to write them.
    pub api: Api<DynamicObject>,
    /// Whether the watch shows only objects with our label, so that others' objects have to be
    /// asked for.
    pub sees_ours_only: bool,
}

/// The kinds that are written, each with its namespaces; without objects in namespaces that are not
/// known in advance.
pub(crate) fn written(namespaces: &Namespaces) -> BTreeSet<(Kind, &str)> {
    [
        (Kind::ConfigMap, namespaces.own()),
        (Kind::ConfigMap, namespaces.gateway()),
        (Kind::EnvoyFilter, namespaces.gateway()),
        (Kind::WasmPlugin, namespaces.gateway()),
        (Kind::Gateway, namespaces.gateway()),
        (Kind::VirtualService, namespaces.gateway()),
        (Kind::ServiceEntry, namespaces.gateway()),
        (Kind::ServiceEntry, namespaces.imports()),
        (Kind::DestinationRule, namespaces.imports()),
        (Kind::VirtualService, namespaces.imports()),
        (Kind::EnvoyFilter, namespaces.root.as_str()),
    ]
    .into()
}

/// All objects of the kinds and in the namespaces that are written.
pub(crate) struct Outputs {
    outputs: BTreeMap<(Kind, String), Output>,
    /// The objects in namespaces that are not known in advance.
    elsewhere: BTreeMap<Kind, Elsewhere>,
}

/// The objects of one kind that belong to objects of operators or of owners of Services, and are in
/// the same namespace: for TLS passthrough, and for the Multi-Cluster Services API.
struct Elsewhere {
    client: Client,
    /// All of ours, in all namespaces.
    watched: Watched<Existing>,
}

impl Outputs {
    /// Starts watching, for as long as `tasks` lives.
    pub(crate) fn start(
        client: &Client,
        settings: &ControllerSettings,
        wakes: &Wakes,
        tasks: &mut Tasks,
    ) -> Self {
        let namespaces = &settings.namespaces;
        let watch = |name, api, config| Watch {
            name,
            api,
            config,
            keep,
            is_news: |_: &Existing, _: &Existing| false,
            wake: Arc::clone(&wakes.outputs),
            otherwise: Arc::clone(&wakes.outputs),
            rollbacks: wakes.rollbacks.clone(),
        };
        let output = |tasks: &mut Tasks, (kind, namespace): (Kind, &str)| {
            let api = kind.within(client, namespace);
            // There are many large ConfigMaps, and most do not concern us.
            let sees_ours_only = kind == Kind::ConfigMap;
            let ours = Config::default().labels(&format!("{OWNER}={}", namespaces.own()));
            let config = if sees_ours_only { ours } else { Config::default() };
            let watch = watch(kind.plural(), api.clone(), config);
            (
                (kind, namespace.to_owned()),
                Output { watched: Watched::start(watch, tasks), api, sees_ours_only },
            )
        };
        let elsewhere = |tasks: &mut Tasks, selection: Selection| {
            let watch = watch(selection.name, selection.api(client), selection.watched());
            let watched = Watched::start(watch, tasks);
            (selection.kind, Elsewhere { client: client.clone(), watched })
        };
        let all = written(namespaces).into_iter().map(|written| output(tasks, written)).collect();
        let selections = [
            settings.gateway.passthrough.then(|| selection::passthrough(namespaces.own())),
            settings.mcs_imports.then(|| selection::service_imports(namespaces.own())),
        ];
        let others = selections.into_iter().flatten();
        let others = others.map(|selection| elsewhere(tasks, selection)).collect();
        Self { outputs: all, elsewhere: others }
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn of(&self, kind: Kind, namespace: &str) -> Option<Cow<'_, Output>> {
        let known = self.outputs.get(&(kind, namespace.to_owned())).map(Cow::Borrowed);
        known.or_else(|| {
            let elsewhere = self.elsewhere.get(&kind)?;
            let (api, watched) =
                (kind.within(&elsewhere.client, namespace), elsewhere.watched.clone());
            Some(Cow::Owned(Output { watched, api, sees_ours_only: true }))
        })
    }

    /// All outputs in namespaces that are known in advance.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&(Kind, String), &Output)> {
        self.outputs.iter()
    }

    /// The table that we gave to istiod; `None` if there is no readable one. Right after a
    /// change of the delivery there may be two; then the newest one counts.
    pub(crate) fn table(&self, namespaces: &Namespaces) -> Option<Arc<Table>> {
        let found = |(kind, name): (Kind, &str)| {
            let key = Key { namespace: namespaces.gateway().to_owned(), name: name.to_owned() };
            let found = self.outputs.get(&(kind, key.namespace.clone()))?.watched.get(&key)?;
            found
                .table
                .filter(|_| found.owner.as_deref() == Some(namespaces.own()))
                .map(|table| table.0)
        };
        Delivery::ALL
            .into_iter()
            .map(table_object)
            .filter_map(found)
            .max_by_key(|table| table.generation())
    }

    /// Returns true once it is known which table the cluster has.
    pub(crate) fn knows_table(&self, namespaces: &Namespaces) -> bool {
        let listed = |kind| {
            self.outputs
                .get(&(kind, namespaces.gateway().to_owned()))
                .is_some_and(|output| output.watched.is_listed())
        };
        Delivery::ALL.into_iter().all(|delivery| listed(table_object(delivery).0))
    }

    /// The addresses of the hosts in our ServiceEntries for imports.
    pub(crate) fn addresses(&self, namespaces: &Namespaces) -> Vec<(Hostname, IpAddr)> {
        let entries = self.of(Kind::ServiceEntry, namespaces.imports());
        let all = entries.map(|entries| entries.watched.all()).unwrap_or_default();
        let ours =
            all.into_iter().filter(|(_, found)| found.owner.as_deref() == Some(namespaces.own()));
        ours.filter_map(|(key, found)| Some((Hostname::parse(&key.name).ok()?, found.address?)))
            .collect()
    }

    /// The addresses that are stored for hosts which are no longer imported.
    pub(crate) fn reserved(&self, namespaces: &Namespaces) -> Vec<(Hostname, IpAddr)> {
        let memory = self.of(Kind::ConfigMap, namespaces.own());
        let all = memory.map(|memory| memory.watched.all()).unwrap_or_default();
        let of_peer = |found: Existing| (*found.reserved).clone();
        all.into_values().flat_map(of_peer).collect()
    }

    /// Our objects in namespaces that are not known in advance, by kind.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (Kind, &Watched<Existing>)> {
        self.elsewhere.iter().map(|(kind, elsewhere)| (*kind, &elsewhere.watched))
    }

    /// Returns true if ServiceImports are written, and the cluster has their definition.
    pub(crate) fn has_service_imports(&self) -> bool {
        let watched = self.elsewhere.get(&Kind::ServiceImport).map(|found| &found.watched);
        watched.is_some_and(|watched| watched.is_listed() && !watched.is_unknown_kind())
    }

    /// What is not listed yet, with the reason if there is one.
    pub(crate) fn missing(&self) -> Vec<String> {
        let missing = |((_, namespace), output): (&(Kind, String), &Output)| {
            crate::sources::missing(&output.watched).map(|what| format!("{namespace}: {what}"))
        };
        self.outputs.iter().filter_map(missing).collect()
    }

    /// What is being listed again because the API server's data went back.
    pub(crate) fn relisting(&self) -> Vec<String> {
        let again = self.outputs.iter().filter(|(_, output)| output.watched.is_relisting());
        again
            .map(|((_, namespace), output)| format!("{namespace}: {}", output.watched.name()))
            .collect()
    }
}

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> Existing {
    let label = object.labels().get(OWNER).cloned();
    let peer = object.annotations().get(PEER).cloned();
    let uid = object.uid().unwrap_or_default();
    let json = serde_json::to_value(&object).unwrap_or_default();
    let shipped = (object.name_any() == MODULES && object.data.get("binaryData").is_some())
        .then(|| Arc::new(Shipped::of(&object)));
    let table = InObject::of(&object);
    let address = json["spec"]["addresses"][0].as_str().and_then(|text| text.parse().ok());
    let reserved = Arc::new(reserved::of_object(&object));
    let fingerprint = of_object(&json);
    Existing { uid, owner: label, peer, fingerprint, shipped, table, address, reserved }
}
