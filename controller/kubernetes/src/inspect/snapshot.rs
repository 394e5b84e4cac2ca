//! What is in force in a cluster, for the command line. It lists each kind once with the user's own
//! kubeconfig, and runs the same `federate` as the controller. It does not ask the controller,
//! which may be down.

use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::leader::confirmations;
use crate::leader::election::LEASE;
use crate::settings::Namespaces;
use crate::sinks::gateway::table_object;
use crate::sources::memory::{self, ClusterRecord, STATE};
use crate::sources::selection::{self, Selection};
use crate::sources::{Observed, federated, federation, mcs, policy, service, slices};
use anyhow::{Context, Result};
use fedgate_core::{PeerName, Table, TableBuilder, read_configuration};
use fedgate_engine::confirmations::Confirmations;
use fedgate_engine::in_force::InForce;
use fedgate_engine::status::Status;
use fedgate_envoy::plugin::find_configuration;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType, Published};
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::object::PODS_ANNOTATION;
use fedgate_federation::{
    Federation, Finding, FindingReason, Inputs, LocalCluster, ObjectRef, federate,
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DynamicObject;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};

/// A cluster at one moment.
pub struct Snapshot {
    /// The result of `federate`, with the table that the gateway gets.
    pub in_force: InForce,
    /// What the controller stored about the cluster.
    pub(crate) record: ClusterRecord,
    /// What is known of the peers.
    pub(crate) knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// The Lease of the leader.
    pub(crate) lease: Option<Lease>,
    /// Whether the gateway's Pods have the table, as the controller last reported.
    pub(crate) table_loaded: Option<Condition>,
}

/// What was listed in a cluster.
pub(crate) struct Listed {
    pub(crate) observed: Observed,
    pub(crate) lease: Option<Lease>,
    pub(crate) record: ClusterRecord,
    /// The object with the table.
    pub(crate) table: Option<DynamicObject>,
}

impl Snapshot {
    /// The status of the federation.
    pub fn status(&self) -> Status {
        let mut status = self.in_force.status();
        status.table.loaded = self.table_loaded.clone();
        status
    }

    /// Takes a snapshot of the cluster whose fedgate is in `namespace`.
    ///
    /// # Errors
    /// If no controller has run there, or something cannot be listed; the message names the missing
    /// permission.
    pub async fn take(client: &Client, namespace: &str, now: Timestamp) -> Result<Self> {
        // `join` instead of `try_join`: of several refusals, the same one is always reported,
        // whichever comes first.
        let (observed, lease) = tokio::join!(observed(client, namespace), lease(client, namespace));
        let (observed, lease) = (observed?, lease?);
        let record =
            memory::record(&observed.memory).cloned().with_context(|| no_controller(namespace))?;
        let table = table(client, &record).await?;
        Self::of(Listed { observed, lease, record, table }, now)
    }

    /// The snapshot that results from what was listed.
    pub(crate) fn of(listed: Listed, now: Timestamp) -> Result<Self> {
        let Listed { observed, lease, record, table } = listed;
        let local = record.cluster().with_context(|| {
            let namespace = record.namespaces.own();
            format!("ConfigMap {namespace}/{STATE} is invalid; delete it, and the controller writes it again")
        })?;
        let mut knowledge = observed.knowledge();
        if let Some(lease) = &lease {
            confirmations::apply(lease, &mut knowledge);
        }
        let previous = observed.published().unwrap_or_default();
        assume_newest_documents(&mut knowledge, &previous);
        let mut objects = observed.objects();
        objects.findings.extend(record.findings.iter().cloned());
        let federation = federate(&Inputs {
            local: &local,
            objects: &objects,
            knowledge: &knowledge,
            previous: &previous,
            times: record.times,
            now,
        });
        let too_large = observed.too_large();
        let (table, findings) = judge(table, &record, &federation, &local, too_large)?;
        let in_force = InForce {
            local,
            federation,
            table,
            egress: None,
            named: BTreeMap::new(),
            running: None,
            member_health: Default::default(),
            findings,
            // The times on the Lease are in the knowledge.
            confirmations: Confirmations::default(),
        };
        let table_loaded = observed
            .federations
            .values()
            .find_map(|object| object.condition(ConditionType::TableLoaded));
        Ok(Self { in_force, record, knowledge, lease, table_loaded })
    }
}

/// Which of our documents a peer has is not saved each time it changes, so the saved sequence is
/// often older than what the peer has. The leader knows, and its condition `FarSideDiffers` tells.
fn assume_newest_documents(knowledge: &mut BTreeMap<PeerName, PeerKnowledge>, ours: &Published) {
    for (peer, known) in knowledge {
        let extension = known.private.as_mut().and_then(|known| known.document.extension.as_mut());
        let view = extension.and_then(|extension| extension.view.as_mut());
        if let Some((view, ours)) = view.zip(ours.documents.get(peer)) {
            view.sequence = view.sequence.map(|has| has.max(ours.sequence));
        }
    }
}

fn no_controller(namespace: &str) -> String {
    format!(
        "no controller has run in the namespace {namespace} (it has no ConfigMap {namespace}/{STATE}): set fedgate's namespace with \
         -n, or read the log of the controller there"
    )
}

/// Does not list the gateway's addresses and this cluster's roots: the controller has stored what
/// it derived from them.
async fn observed(client: &Client, namespace: &str) -> Result<Observed> {
    let memory = list(client, selection::memory(namespace), memory::keep).await?;
    // Only the controller's setting says whether ServiceExports count.
    let mcs_exports = memory::record(&memory).is_some_and(|record| record.mcs_exports);
    let (federations, policies, federated_services, service_exports) = tokio::try_join!(
        list(client, selection::federations(), federation::keep),
        list(client, selection::policies(), policy::keep),
        list_if_defined(client, selection::federated_services(), federated::keep),
        async {
            match mcs_exports {
                true => list_if_defined(client, selection::service_exports(), mcs::keep).await,
                false => Ok(BTreeMap::new()),
            }
        },
    )?;
    // Most clusters have many more Services than exports.
    let selected = selection::services(!service_exports.is_empty());
    let services = list(client, selected, service::keep).await?;
    let services = mcs::split(services, &service_exports, &BTreeSet::new()).exported;
    let names_pods = |read: &service::Read| {
        read.service.as_ref().is_ok_and(|service| service.annotations.contains_key(PODS_ANNOTATION))
    };
    let slices = match services.values().any(names_pods) {
        true => {
            let selected = selection::slices(!service_exports.is_empty());
            list(client, selected, slices::keep).await?
        }
        false => BTreeMap::new(),
    };
    let observed = Observed {
        memory,
        federations,
        policies,
        services,
        service_exports,
        slices,
        ..Observed::default()
    };
    let local_services = local_services(client, &observed, &federated_services).await?;
    Ok(Observed { federated_services, local_services, ..observed })
}

/// Without their definition there are none, as after an upgrade that left it out.
async fn list_if_defined<T>(
    client: &Client,
    selection: Selection,
    keep: fn(DynamicObject) -> T,
) -> Result<BTreeMap<Key, T>> {
    match selection.api(client).list(&selection.listed()).await {
        Ok(listed) => {
            let kept = |object: DynamicObject| (Key::of(&object), keep(object));
            Ok(listed.items.into_iter().map(kept).collect())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(BTreeMap::new()),
        Err(error) => Err(refused(&error, "list", &selection.kind.qualified(), None)),
    }
}

/// The local members without the export label, one by one: there are few.
async fn local_services(
    client: &Client,
    observed: &Observed,
    objects: &BTreeMap<Key, federated::FederatedObject>,
) -> Result<BTreeMap<Key, federated::Local>> {
    let mut found = BTreeMap::new();
    for key in federated::named(objects.values()) {
        if observed.services.contains_key(&key) {
            continue;
        }
        let service = Kind::Service.within(client, &key.namespace).get_opt(&key.name).await;
        let service =
            service.map_err(|error| refused(&error, "get", "services", Some(&key.namespace)))?;
        found.extend(service.map(|service| (key, federated::keep_local(service))));
    }
    Ok(found)
}

async fn lease(client: &Client, namespace: &str) -> Result<Option<Lease>> {
    let found = Api::<Lease>::namespaced(client.clone(), namespace).get_opt(LEASE).await;
    found.map_err(|error| refused(&error, "get", "leases.coordination.k8s.io", Some(namespace)))
}

/// The namespaces that the controller stored; `None` if it has stored none, or if they
/// cannot be read.
pub async fn namespaces(client: &Client, namespace: &str) -> Option<Namespaces> {
    let object = Kind::ConfigMap.within(client, namespace).get_opt(STATE).await.ok()??;
    match memory::keep(object) {
        memory::Memory::Cluster { record, .. } => record.map(|record| record.namespaces),
        _ => None,
    }
}

/// Lists objects, and keeps what is needed of each.
pub(crate) async fn list<T>(
    client: &Client,
    selection: Selection,
    keep: fn(DynamicObject) -> T,
) -> Result<BTreeMap<Key, T>> {
    let listed = selection.api(client).list(&selection.listed()).await;
    let listed = listed.map_err(|error| {
        refused(&error, "list", &selection.kind.qualified(), selection.namespace.as_deref())
    })?;
    Ok(listed.items.into_iter().map(|object| (Key::of(&object), keep(object))).collect())
}

/// An error that says what to do. `what` is a plural with its group.
pub(crate) fn refused(
    error: &kube::Error,
    verb: &str,
    what: &str,
    namespace: Option<&str>,
) -> anyhow::Error {
    let location = namespace.map_or("in the whole cluster".to_owned(), |namespace| {
        format!("in the namespace {namespace}")
    });
    let hint = match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("; you need a role that lets you {verb} {what} {location}")
        }
        kube::Error::Api(status) if status.is_not_found() => {
            format!(
                "; is the CustomResourceDefinition of {what} installed? `fedgate check` says which version is expected"
            )
        }
        _ => String::new(),
    };
    anyhow::anyhow!("cannot {verb} {what} {location}: {}{hint}", describe(error))
}

impl Observed {
    /// The controller's report that the table is too large. Only the controller knows how large the
    /// object would be.
    fn too_large(&self) -> Option<String> {
        let conditions = self
            .federations
            .values()
            .filter_map(|object| object.condition(ConditionType::TableTooLarge));
        let mut found = conditions.filter(|condition| condition.status == ConditionStatus::True);
        found.next().map(|condition| condition.message)
    }
}

async fn table(client: &Client, record: &ClusterRecord) -> Result<Option<DynamicObject>> {
    let (kind, name) = table_object(record.namespaces.delivery);
    let namespace = record.namespaces.gateway();
    let found = kind.within(client, namespace).get_opt(name).await;
    found.map_err(|error| refused(&error, "get", &kind.qualified(), Some(namespace)))
}

/// The table that the gateway gets, and what is wrong with it. Without a table nothing is exported.
fn judge(
    object: Option<DynamicObject>,
    record: &ClusterRecord,
    federation: &Federation,
    local: &LocalCluster,
    too_large: Option<String>,
) -> Result<(Table, Vec<Finding>)> {
    let (kind, name) = table_object(record.namespaces.delivery);
    let about = ObjectRef {
        namespace: Some(record.namespaces.gateway().to_owned()),
        ..ObjectRef::new(kind.name(), name)
    };
    let none = || {
        Ok::<_, anyhow::Error>(Table::read(
            TableBuilder::new(local.trust_domain.clone()).build(0)?,
        )?)
    };
    let error = |message: String| {
        vec![Finding::error(FindingReason::NotWritten, about.clone(), "spec", message)]
    };
    let Some(object) = object else {
        return Ok((
            none()?,
            error(
                "it does not exist, so the gateway has no table; see the controller's log".into(),
            ),
        ));
    };
    let Some(configuration) = find_configuration(&object.data) else {
        return Ok((
            none()?,
            error("it contains no table; delete it, and the controller writes it again".into()),
        ));
    };
    match (read_configuration(configuration.as_bytes()), &federation.table) {
        (Err(why), _) => {
            Ok((none()?, error(format!("{why}; delete it, and the controller writes it again"))))
        }
        (Ok((table, _)), Ok(made)) if made.hash() != table.hash() => {
            if let Some(message) = too_large {
                let about = ObjectRef::cluster(local.trust_domain.as_str());
                return Ok((
                    table,
                    vec![Finding::error(FindingReason::TableTooLarge, about, "", message)],
                ));
            }
            let message = format!(
                "it has generation {}, expected {}: the controller is about to write it, or cannot; its log says \
                 which",
                table.generation(),
                made.generation()
            );
            Ok((table, vec![Finding::warning(FindingReason::NotWritten, about, "spec", message)]))
        }
        (Ok((table, _)), _) => Ok((table, Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use fedgate_engine::explain::{Caller, Question};
    use jiff::SignedDuration;

    #[test]
    fn the_snapshot_agrees_with_what_the_controller_wrote() {
        let status = Sample::healthy().snapshot().in_force.status();
        assert!(
            status.peers.iter().all(|peer| peer.ready) && status.findings.is_empty(),
            "{status:#?}"
        );
        assert_eq!((status.exports.len(), status.imports.len(), status.table.exports), (1, 1, 1));
        assert!(status.imports[0].in_mesh && !status.table.outdated);
    }

    /// What is stored of a peer's view may be older than our newest document for it.
    #[test]
    fn a_peer_with_a_document_is_taken_to_have_the_newest_one() {
        let mut sample = Sample::healthy();
        let mismatches = |sample: &mut Sample, sequence: Option<u64>| {
            sample.change_knowledge(|knowledge| {
                let document = &mut knowledge.private.as_mut().unwrap().document;
                let view = document.extension.as_mut().unwrap().view.as_mut().unwrap();
                view.sequence = sequence;
            });
            let status = sample.snapshot().in_force.status();
            status.peers[0].far_side.clone().unwrap().mismatches.len()
        };
        assert_eq!(mismatches(&mut sample, Some(1)), 0);
        assert_eq!(mismatches(&mut sample, None), 1);
    }

    #[test]
    fn a_peers_stored_key_change_is_reported() {
        let mut sample = Sample::healthy();
        let now = sample.now;
        sample.change_knowledge(|knowledge| {
            let json = serde_json::json!([{ "since": now, "reason": "key_changed", "message": "another one" }]);
            knowledge.notices = serde_json::from_value(json).unwrap();
        });
        let has_key_changed = |sample: &Sample| {
            let findings = sample.snapshot().in_force.status().findings;
            findings.iter().any(|finding| finding.reason == FindingReason::KeyChanged)
        };
        assert!(has_key_changed(&sample));
        sample.change_knowledge(|knowledge| knowledge.notices.clear());
        assert!(!has_key_changed(&sample));
    }

    #[test]
    fn explanations_use_the_table_in_the_cluster() {
        let mut sample = Sample::healthy();
        let passes = |sample: &Sample, to: &str, from: Caller| {
            let question = Question { to: to.parse().unwrap(), from };
            sample.snapshot().in_force.explain(&question).passes
        };
        let caller = || Caller::Identity("spiffe://beta.example/ns/shop/sa/cart".to_owned());
        assert!(passes(&sample, "web.shop.svc.alpha.example:80", caller()));
        assert!(passes(&sample, "web.shop.svc.beta.example:80", Caller::Unknown));
        sample.table = None;
        assert!(!passes(&sample, "web.shop.svc.alpha.example:80", caller()));
    }

    /// The table in the cluster is older than this view of the objects.
    #[test]
    fn explanations_say_that_a_silent_peer_was_dropped() {
        let detail = |at_expiry: &str| {
            let mut sample = Sample::healthy();
            sample.now += SignedDuration::from_hours(25);
            sample.annotate("fedgate.dev/at-expiry", at_expiry);
            let mut in_force = sample.snapshot().in_force;
            in_force.table = in_force.federation.table.clone().unwrap();
            let caller = Caller::Identity("spiffe://beta.example/ns/shop/sa/cart".to_owned());
            let to = "web.shop.svc.alpha.example:80".parse().unwrap();
            let explanation = in_force.explain(&Question { to, from: caller });
            let status = in_force.status();
            assert!(!status.peers[0].ready, "{at_expiry}");
            assert_eq!(format!("{:?}", status.peers[0].at_expiry), at_expiry);
            assert_eq!(status.imports.is_empty(), at_expiry != "Keep");
            assert!(status.imports.iter().all(|import| import.confirmed.is_some()));
            (explanation.reason, format!("{:?}", explanation.steps))
        };
        let (reason, steps) = detail("Drop");
        assert_eq!(reason.as_deref(), Some("unknown_peer"));
        assert!(steps.contains("was silent for too long"), "{steps}");
        // Drained, its handshakes fail.
        for (other, expected) in [("Keep", Some("granted")), ("Drain", None)] {
            let (reason, steps) = detail(other);
            assert_eq!(reason.as_deref(), expected, "{other}");
            assert_eq!(steps.contains("its handshakes fail"), other == "Drain", "{steps}");
            assert!(!steps.contains("was silent for too long"), "{steps}");
        }
    }

    #[test]
    fn a_missing_or_outdated_table_is_reported() {
        let mut sample = Sample::healthy();
        sample.observed.services.clear();
        let status = sample.snapshot().in_force.status();
        assert!(
            status.table.outdated && status.findings[0].message.contains("generation 1"),
            "{status:#?}"
        );
        sample.table = None;
        let status = sample.snapshot().in_force.status();
        assert_eq!(
            (status.table.generation, status.findings[0].severity),
            (0, fedgate_federation::Severity::Error)
        );
    }

    #[test]
    fn confirmations_on_the_lease_keep_a_peer_fresh() {
        let mut sample = Sample::healthy();
        let confirmations = Confirmations::default();
        sample.now += SignedDuration::from_mins(10);
        let later = sample.now;
        sample.change_knowledge(|knowledge| {
            let mut confirmed = knowledge.clone();
            confirmed
                .record_not_modified(fedgate_federation::knowledge::DocumentKind::Public, later);
            confirmed
                .record_not_modified(fedgate_federation::knowledge::DocumentKind::Private, later);
            confirmations.note(&PeerName::parse("beta").unwrap(), &confirmed);
        });
        assert!(!sample.snapshot().in_force.status().peers[0].ready);
        confirmations::write(&confirmations, sample.lease.as_mut().unwrap());
        assert!(sample.snapshot().in_force.status().peers[0].ready);
    }
}
