//! Which objects differ from the last compilation, by kind and name: what a trace says about its
//! cause.

use fedgate_federation::object::Objects;
use std::collections::BTreeMap;

/// How many objects a trace names.
const MOST: usize = 8;

/// The objects of the last compilation that was traced.
#[derive(Debug, Default)]
pub(crate) struct LastObjects(Option<Objects>);

impl LastObjects {
    /// The names of the first few objects that are new, changed or gone, and how many there are.
    /// None at the first call, when everything is new.
    pub(crate) fn changed(&mut self, now: &Objects) -> (Vec<String>, usize) {
        let Some(before) = self.0.replace(now.clone()) else { return Default::default() };
        let mut names =
            differing("IstioFederation", &before.federations, &now.federations, |one| {
                one.name.clone()
            });
        names.extend(differing("FederationPolicy", &before.policies, &now.policies, |one| {
            one.name.clone()
        }));
        names.extend(differing("Service", &before.services, &now.services, |one| {
            format!("{}/{}", one.namespace, one.name)
        }));
        names.extend(differing(
            "FederatedService",
            &before.federated_services,
            &now.federated_services,
            |one| format!("{}/{}", one.namespace, one.name),
        ));
        let count = names.len();
        names.truncate(MOST);
        (names, count)
    }
}

/// The names of the objects that are not in both lists.
fn differing<T: PartialEq>(
    kind: &str,
    before: &[T],
    now: &[T],
    name: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut known: BTreeMap<String, &T> = before.iter().map(|one| (name(one), one)).collect();
    let mut names: Vec<_> =
        now.iter().filter(|one| known.remove(&name(one)) != Some(one)).map(&name).collect();
    names.extend(known.into_keys());
    names.into_iter().map(|name| format!("{kind} {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::ServiceObject;

    fn services<const N: usize>(names: [(&str, &str); N]) -> Objects {
        let service = |(name, label): (&str, &str)| ServiceObject {
            namespace: "shop".into(),
            name: name.into(),
            labels: BTreeMap::from([("label".to_owned(), label.to_owned())]),
            ..ServiceObject::default()
        };
        Objects { services: names.into_iter().map(service).collect(), ..Objects::default() }
    }

    #[test]
    fn new_changed_and_removed_objects_are_named_and_others_are_not() {
        let mut last = LastObjects::default();
        assert_eq!(last.changed(&services([("same", ""), ("gone", "")])), (vec![], 0));
        let (names, count) = last.changed(&services([("same", ""), ("new", ""), ("late", "")]));
        assert_eq!(names, ["Service shop/new", "Service shop/late", "Service shop/gone"]);
        assert_eq!(count, 3);
        let (names, _) = last.changed(&services([("same", "x"), ("new", ""), ("late", "")]));
        assert_eq!(names, ["Service shop/same"]);
        assert_eq!(last.changed(&services([("same", "x"), ("new", ""), ("late", "")])).1, 0);
    }

    #[test]
    fn only_a_few_are_named() {
        let (mut last, many) = (LastObjects::default(), (0..100).map(|n| n.to_string()));
        last.changed(&Objects::default());
        let service = |name| ServiceObject { name, ..ServiceObject::default() };
        let now = Objects { services: many.map(service).collect(), ..Objects::default() };
        let (names, count) = last.changed(&now);
        assert_eq!((names.len(), count), (MOST, 100));
    }
}
