//! Ships the filter's module to the gateway, and chooses the module that the table names.
//!
//! The controller writes its built-in module into a ConfigMap that the gateway's Pods mount. During
//! an upgrade the ConfigMap holds the old and the new module. The table keeps naming the old one
//! until every Pod is certain to have the new one.

use super::super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::module::{ADDED, MODULES, Module, Shipped};
use crate::settings::{GatewaySettings, Namespaces};
use crate::sources::pod::GatewayPod;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::clock::whole_seconds;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// After this time every working kubelet has updated its mounts, even without a notification. It
/// checks each Pod at least every 90 seconds, and caches a ConfigMap for at most five minutes.
const MOUNTED: SignedDuration = SignedDuration::from_mins(10);

/// What to do about the module now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shipping {
    /// The URL in the gateway of the module that the table must name.
    pub(crate) url: String,
    /// The ConfigMap; `None` if the operator provides the module.
    pub(super) config_map: Option<Desired>,
    /// Whether the ConfigMap loses a module, so that the table has to be written first.
    pub(crate) drops: bool,
    /// The finding about the Pods that hold back the newest module.
    pub(crate) held_back: Option<Finding>,
    /// When to decide again, even without a change.
    pub(crate) again: Option<Timestamp>,
}

impl Shipping {
    /// For a module that the gateway already has, at this URL.
    pub(crate) fn by_operator(url: &str) -> Self {
        Self { url: url.to_owned(), config_map: None, drops: false, held_back: None, again: None }
    }

    /// For the native filter, which the gateway's Pods already have at this URL. The proxy-wasm
    /// module is shipped all the same, so that the gateway can change to it at any time.
    pub(crate) fn beside_native(self, url: String) -> Self {
        Self { url, held_back: None, ..self }
    }

    /// For the module that ships with this program.
    pub(crate) fn of(
        own: &Module,
        (settings, namespaces): (&GatewaySettings, &Namespaces),
        shipped: &Shipped,
        pods: &BTreeMap<Key, GatewayPod>,
        now: Timestamp,
    ) -> Self {
        let added = |file: &str| shipped.0.get(file).map(|(_, added)| *added);
        let since = added(&own.file).flatten().unwrap_or(now);
        let others = shipped.0.iter().filter(|(file, _)| **file != own.file);
        // A module without a time counts as always present: nothing else is known of it.
        let others = others
            .map(|(file, (_, added))| (added.unwrap_or(Timestamp::UNIX_EPOCH), file.as_str()));
        let choice = choose((since, &own.file), &others.collect::<Vec<_>>(), pods, now);

        let mut kept = BTreeMap::from([(own.file.as_str(), (&*own.packed, since))]);
        if let Some((module, added)) =
            shipped.0.get(choice.file).filter(|_| choice.file != own.file)
        {
            kept.insert(choice.file, (&*module.packed, added.unwrap_or(Timestamp::UNIX_EPOCH)));
        }
        let config_map = config_map(&kept, namespaces);
        let drops = added(&own.file).is_some()
            && shipped.0.keys().any(|file| !kept.contains_key(file.as_str()));
        let folder = settings.filter_folder.trim_end_matches('/');
        Self {
            url: format!("file://{folder}/{}", choice.file),
            drops,
            held_back: choice.held_back(namespaces, since),
            again: (!choice.waits_for.is_empty())
                .then_some(since + MOUNTED)
                .filter(|then| *then > now),
            config_map: Some(config_map),
        }
    }

    /// The path of the module.
    pub(super) fn path(&self) -> &str {
        self.url.strip_prefix("file://").unwrap_or(&self.url)
    }
}

/// The ConfigMap with these modules, each with the time at which it was added. Times are rounded to
/// whole seconds, as in the status of Pods: a Pod that started in the same second did not start
/// later.
fn config_map(modules: &BTreeMap<&str, (&str, Timestamp)>, namespaces: &Namespaces) -> Desired {
    let files: BTreeMap<_, _> = modules.iter().map(|(file, (packed, _))| (file, packed)).collect();
    let added: BTreeMap<_, _> =
        modules.iter().map(|(file, (_, added))| (file, whole_seconds(*added))).collect();
    let (namespace, owner) = (namespaces.gateway(), namespaces.own());
    let head = Head { kind: Kind::ConfigMap, namespace, name: MODULES, owner, peer: None };
    Desired::new(head, json!({ "binaryData": files })).annotated(ADDED, &json!(added).to_string())
}

/// The choice of the module that the table names.
#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    /// The file of the chosen module.
    file: &'a str,
    /// The file of the newest module.
    own: &'a str,
    /// The Pods that may not have the newest module.
    waits_for: Vec<&'a str>,
}

/// Chooses the newest module once all Pods have it. Until then, chooses the newest of the others
/// that all Pods have; if there is none, the newest of the others.
///
/// If there is no other module (at the first start, or because someone deleted the ConfigMap),
/// there is no choice. An Envoy that does not find the file keeps its module and its table.
fn choose<'a>(
    (since, own): (Timestamp, &'a str),
    others: &[(Timestamp, &'a str)],
    pods: &'a BTreeMap<Key, GatewayPod>,
    now: Timestamp,
) -> Choice<'a> {
    let lack = |added: Timestamp| {
        let pods = pods.iter().filter(move |(_, pod)| !has(pod, added, now));
        pods.map(|(key, _)| key.name.as_str()).collect::<Vec<_>>()
    };
    let waits_for = if others.is_empty() { Vec::new() } else { lack(since) };
    let in_all = others.iter().filter(|(added, _)| lack(*added).is_empty()).max();
    let file = match in_all.or(others.iter().max()) {
        Some((_, other)) if !waits_for.is_empty() => other,
        _ => own,
    };
    Choice { file, own, waits_for }
}

/// Returns true if a Pod is certain to have what was added to the ConfigMap at this time.
fn has(pod: &GatewayPod, added: Timestamp, now: Timestamp) -> bool {
    let started_later = pod.started.is_none_or(|started| started > added);
    let kubelet_works = pod.is_ready();
    pod.ended || started_later || (kubelet_works && now.duration_since(added) >= MOUNTED)
}

impl Choice<'_> {
    fn held_back(&self, namespaces: &Namespaces, since: Timestamp) -> Option<Finding> {
        let (first, more) = self.waits_for.split_at(self.waits_for.len().min(3));
        let pods = match (first, more.len()) {
            ([], _) => return None,
            (first, 0) => first.join(", "),
            (first, more) => format!("{} and {more} more", first.join(", ")),
        };
        let (file, own) = (self.file, self.own);
        let message = format!(
            "the gateway keeps using the filter {file}: {own} was added after these Pods started: {pods}. It is used once they have been \
             restarted, or from {} on if they are ready",
            whole_seconds(since + MOUNTED)
        );
        let about = ObjectRef {
            namespace: Some(namespaces.gateway().to_owned()),
            ..ObjectRef::new(Kind::ConfigMap.name(), MODULES)
        };
        Some(Finding::info(FindingReason::ModuleHeldBack, about, "", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time in seconds.
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn module(name: &str) -> Module {
        Module::new(name.as_bytes())
    }

    /// A ConfigMap's modules, each with the time at which it was added.
    fn shipped(modules: &[(&str, i64)]) -> Shipped {
        let one =
            |(name, added): &(&str, i64)| (module(name).file, (module(name), Some(at(*added))));
        Shipped(modules.iter().map(one).collect())
    }

    /// Pods with these start times; `None` if not started.
    fn pods(starts: &[Option<i64>]) -> BTreeMap<Key, GatewayPod> {
        let pod = |(number, start): (usize, &Option<i64>)| {
            let key = Key { namespace: "fedgate-system".into(), name: format!("gateway-{number}") };
            (key, GatewayPod { started: start.map(at), ..GatewayPod::default() })
        };
        starts.iter().enumerate().map(pod).collect()
    }

    fn ready(mut pods: BTreeMap<Key, GatewayPod>) -> BTreeMap<Key, GatewayPod> {
        pods.values_mut().for_each(|pod| pod.node = Some("a".into()));
        pods
    }

    /// Decides for the module `own` at the time `now`.
    fn shipping(
        own: &str,
        shipped: &Shipped,
        pods: &BTreeMap<Key, GatewayPod>,
        now: i64,
    ) -> Shipping {
        let settings = crate::settings::tests::read(&[]).unwrap();
        Shipping::of(
            &module(own),
            (&settings.gateway, &settings.namespaces),
            shipped,
            pods,
            at(now),
        )
    }

    #[track_caller]
    fn expect(done: &Shipping, named: &str, kept: &[&str], held_back: bool) {
        assert_eq!(done.url, format!("file:///etc/fedgate/filter/{}", module(named).file));
        let body = &done.config_map.as_ref().unwrap().body;
        let files: Vec<_> = body["binaryData"].as_object().unwrap().keys().cloned().collect();
        let mut expected: Vec<_> = kept.iter().map(|name| module(name).file).collect();
        expected.sort();
        assert_eq!(files, expected);
        assert_eq!(
            (done.held_back.is_some(), done.again.is_some()),
            (held_back, held_back),
            "{:?}",
            done.held_back
        );
    }

    /// The modules in the ConfigMap after the decision is carried out.
    fn after(done: &Shipping) -> Shipped {
        Shipped::of(&serde_json::from_value(done.config_map.clone().unwrap().body).unwrap())
    }

    #[test]
    fn fresh_install() {
        expect(&shipping("a", &shipped(&[]), &pods(&[]), 0), "a", &["a"], false);
        // The kubelet knows the Pods, and waits for the ConfigMap.
        let done = shipping("a", &shipped(&[]), &pods(&[Some(-5), None]), 0);
        expect(&done, "a", &["a"], false);
        expect(&shipping("a", &after(&done), &pods(&[Some(-5), None]), 9), "a", &["a"], false);
    }

    #[test]
    fn beside_the_native_filter_the_module_is_shipped_and_not_named() {
        let upgrade = shipping("b", &shipped(&[("a", 0)]), &pods(&[Some(10)]), 100);
        let native = upgrade.clone().beside_native("file:///native.so".to_owned());
        assert_eq!((native.url.as_str(), native.held_back), ("file:///native.so", None));
        assert_eq!(
            (native.config_map, native.drops, native.again),
            (upgrade.config_map, upgrade.drops, upgrade.again)
        );
    }

    #[test]
    fn the_same_module_is_written_once() {
        let first = shipping("a", &shipped(&[]), &pods(&[]), 0);
        let second = shipping("a", &after(&first), &pods(&[Some(3)]), 100);
        assert_eq!(second.config_map, first.config_map);
        assert!(!second.drops);
    }

    #[test]
    fn an_upgrade_waits_for_older_pods_and_names_them() {
        let old = shipped(&[("a", 0)]);
        let begun = shipping("b", &old, &pods(&[Some(10), Some(20)]), 100);
        expect(&begun, "a", &["a", "b"], true);
        let text = begun.held_back.as_ref().unwrap().to_string();
        crate::readable::assert_readable(&[&text], crate::readable::problems);
        assert!(
            text.contains("gateway-0, gateway-1") && text.contains("2027-01-15T08:11:40Z"),
            "{text}"
        );
        assert!(!begun.drops);
        let both = after(&begun);
        for still in [pods(&[Some(101), Some(20)]), pods(&[Some(100)]), ready(pods(&[Some(20)]))] {
            let waiting = shipping("b", &both, &still, 200);
            expect(&waiting, "a", &["a", "b"], true);
            assert_eq!(waiting.config_map, begun.config_map, "nothing is written");
        }
        for finished in [pods(&[Some(101), Some(150)]), pods(&[Some(101), None]), pods(&[])] {
            let done = shipping("b", &both, &finished, 200);
            expect(&done, "b", &["b"], false);
            assert!(done.drops, "after the table");
        }
        let mut ended = pods(&[Some(20), Some(101)]);
        ended.values_mut().next().unwrap().ended = true;
        expect(&shipping("b", &both, &ended, 200), "b", &["b"], false);
    }

    #[test]
    fn an_upgrade_ends_without_restarts_once_kubelets_have_updated_mounts() {
        let begun = shipping("b", &shipped(&[("a", 0)]), &ready(pods(&[Some(20)])), 100);
        assert_eq!(begun.again, Some(at(100 + 600)));
        expect(
            &shipping("b", &after(&begun), &ready(pods(&[Some(20)])), 699),
            "a",
            &["a", "b"],
            true,
        );
        expect(&shipping("b", &after(&begun), &ready(pods(&[Some(20)])), 700), "b", &["b"], false);
        // The state of a Pod is unknown if its node does not answer.
        let lost = shipping("b", &after(&begun), &pods(&[Some(20)]), 900);
        assert!(lost.held_back.is_some() && lost.again.is_none(), "{lost:?}");
    }

    #[test]
    fn a_downgrade_works_like_an_upgrade() {
        let begun = shipping("a", &shipped(&[("b", 100)]), &pods(&[Some(150)]), 200);
        expect(&begun, "b", &["a", "b"], true);
        expect(&shipping("a", &after(&begun), &pods(&[Some(201)]), 300), "a", &["a"], false);
        // Back before the table named b: there is nothing to wait for.
        let both = shipped(&[("a", 0), ("b", 100)]);
        let back = shipping("a", &both, &pods(&[Some(20)]), 120);
        expect(&back, "a", &["a"], false);
    }

    #[test]
    fn an_upgrade_can_start_before_the_previous_one_has_ended() {
        let both = shipped(&[("a", 0), ("b", 100)]);
        // No Pod has started since b was added, so a is named and b makes room.
        let third = shipping("c", &both, &pods(&[Some(20)]), 200);
        expect(&third, "a", &["a", "c"], true);
        // All Pods already have b, although no table has named it.
        expect(&shipping("c", &both, &pods(&[Some(120)]), 200), "b", &["b", "c"], true);
        expect(&shipping("c", &after(&third), &pods(&[Some(201)]), 300), "c", &["c"], false);
    }

    #[test]
    fn a_deleted_config_map_is_created_again() {
        expect(&shipping("a", &shipped(&[]), &ready(pods(&[Some(20)])), 100), "a", &["a"], false);
        // The old module is lost in the middle of an upgrade; the Envoys keep what they have.
        expect(&shipping("b", &shipped(&[]), &ready(pods(&[Some(20)])), 100), "b", &["b"], false);
        // The next upgrade works as usual.
        let again = shipped(&[("a", 100)]);
        expect(&shipping("b", &again, &pods(&[Some(20)]), 200), "a", &["a", "b"], true);
    }
}
