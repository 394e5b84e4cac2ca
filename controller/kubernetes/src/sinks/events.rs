//! Events: each change that matters to an operator, reported once, on the object concerned.

use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::settings::ControllerSettings;
use crate::status::Transition;
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::{Finding, ObjectRef, Severity};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::mpsc;

/// How many Events may wait. Further ones are dropped; the status shows the same information.
const WAITING: usize = 256;
/// How many new findings of one compilation get an Event each.
const AT_ONCE: usize = 50;
/// How many different messages are remembered, so that a repeated one is counted.
const MESSAGES: usize = 256;
/// The maximum length of a message in bytes (Kubernetes: 1 kB).
const LONGEST: usize = 1000;

/// Something to report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PendingEvent {
    regarding: ObjectReference,
    warning: bool,
    reason: String,
    note: String,
}

/// The queue of Events.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<PendingEvent>);

impl Events {
    /// Queues an Event, without waiting.
    pub(crate) fn queue(&self, event: PendingEvent) {
        if self.0.try_send(event).is_err() {
            tracing::warn!("too many Events; dropping one");
        }
    }
}

/// Reports the new findings. `reported` holds those that were reported before, and is updated.
pub(crate) fn of_findings<'a>(
    findings: impl Iterator<Item = &'a Finding>,
    reported: &mut BTreeSet<Finding>,
    settings: &ControllerSettings,
    uids: &Uids,
) -> Vec<PendingEvent> {
    let now: BTreeSet<Finding> = findings.cloned().collect();
    let new: Vec<_> = now.difference(reported).cloned().collect();
    let more = new.len().saturating_sub(AT_ONCE);
    let mut happened: Vec<_> =
        new.iter().take(AT_ONCE).map(|finding| of_finding(finding, settings, uids)).collect();
    if more > 0 {
        happened.push(PendingEvent {
            regarding: this_pod(settings),
            warning: true,
            reason: "MoreFindings".to_owned(),
            note: format!("{more} more findings; `fedgate status` lists them all"),
        });
    }
    *reported = now;
    happened
}

/// The `metadata.uid` of objects, by which `kubectl describe` finds their Events.
type Uids = BTreeMap<(Kind, Key), String>;

/// Reports that a peer's condition has a new status. A first status is not reported, nor is trouble
/// for which there is a finding.
pub(crate) fn of_transition(
    name: &str,
    uid: &str,
    transition: &Transition,
) -> Option<PendingEvent> {
    let condition = &transition.condition;
    if condition.kind == format!("{:?}", ConditionType::TableLoaded) {
        // It is the same for all peers; a finding reports it once.
        return None;
    }
    let before = transition.before.filter(|_| !is_a_finding(&condition.kind, condition.status))?;
    let message = if condition.message.is_empty() {
        String::new()
    } else {
        format!(": {}", condition.message)
    };
    Some(PendingEvent {
        regarding: reference(Kind::IstioFederation, None, name, Some(uid)),
        warning: is_bad(&condition.kind, condition.status),
        reason: condition.reason.clone(),
        note: cut(format!("{} is {:?}, was {before:?}{message}", condition.kind, condition.status)),
    })
}

/// Returns true if a finding reports the same as this condition. There are no findings for the
/// results of exchanges and probes.
fn is_a_finding(kind: &str, status: ConditionStatus) -> bool {
    is_bad(kind, status) && !is_a_result(kind)
}

fn is_a_result(kind: &str) -> bool {
    kind.ends_with("Ready") || kind.ends_with("Acknowledged")
}

/// Acceptance and results are good if they are True; all other conditions report trouble.
fn is_bad(kind: &str, status: ConditionStatus) -> bool {
    let good = kind == "Accepted" || is_a_result(kind);
    match status {
        ConditionStatus::True => !good,
        ConditionStatus::False => good,
        ConditionStatus::Unknown => false,
    }
}

fn of_finding(finding: &Finding, settings: &ControllerSettings, uids: &Uids) -> PendingEvent {
    let object = &finding.object;
    let regarding = regarding(object, uids).unwrap_or_else(|| this_pod(settings));
    let field = finding.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
    let about = if regarding == this_pod(settings) { format!("{object}: ") } else { String::new() };
    PendingEvent {
        regarding,
        warning: finding.severity != Severity::Info,
        reason: finding.reason.camel_case(),
        note: cut(format!("{about}{field}{}", finding.message)),
    }
}

/// The object, if it exists. Findings about this cluster or about a missing object are reported on
/// the Pod.
fn regarding(object: &ObjectRef, uids: &Uids) -> Option<ObjectReference> {
    let kinds =
        [Kind::IstioFederation, Kind::FederationPolicy, Kind::Service, Kind::FederatedService];
    let kind = kinds.into_iter().find(|kind| kind.name() == object.kind)?;
    let key =
        Key { namespace: object.namespace.clone().unwrap_or_default(), name: object.name.clone() };
    let uid = uids.get(&(kind, key))?;
    Some(reference(kind, object.namespace.as_deref(), &object.name, Some(uid)))
}

fn this_pod(settings: &ControllerSettings) -> ObjectReference {
    reference(Kind::Pod, Some(settings.namespaces.own()), &settings.pod_name, None)
}

fn reference(
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
    uid: Option<&str>,
) -> ObjectReference {
    ObjectReference {
        api_version: Some(kind.api_version()),
        kind: Some(kind.name().to_owned()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

fn cut(text: String) -> String {
    match text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= LONGEST)
        .last()
    {
        Some(end) if end < text.len() => text[..end].to_owned(),
        _ => text,
    }
}

/// Writes Events until all senders are gone.
pub(crate) fn start(
    client: Client,
    settings: &ControllerSettings,
) -> (Events, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut waiting) = mpsc::channel::<PendingEvent>(WAITING);
    let reporter =
        Reporter { controller: "fedgate".to_owned(), instance: Some(settings.pod_name.clone()) };
    let mut recorders = Recorders { client, reporter, of_note: HashMap::new() };
    let write = async move {
        while let Some(happened) = waiting.recv().await {
            let PendingEvent { regarding, warning, reason, note } = happened;
            let type_ = if warning { EventType::Warning } else { EventType::Normal };
            let recorder = recorders.of(&note);
            let event = Event {
                type_,
                reason,
                note: Some(note),
                action: "Federate".to_owned(),
                secondary: None,
            };
            if let Err(error) = recorder.publish(&event, &regarding).await {
                tracing::warn!(
                    reason = event.reason,
                    "an Event cannot be written, dropping it: {}",
                    describe(&error)
                );
            }
        }
    };
    (Events(sender), write)
}

/// One recorder for each message. A recorder treats all Events with the same reason and object as
/// one, whatever their message, and writes only the first message.
struct Recorders {
    client: Client,
    reporter: Reporter,
    of_note: HashMap<String, Recorder>,
}

impl Recorders {
    fn of(&mut self, note: &str) -> Recorder {
        if self.of_note.len() >= MESSAGES && !self.of_note.contains_key(note) {
            self.of_note.clear();
        }
        let new = || Recorder::new(self.client.clone(), self.reporter.clone());
        self.of_note.entry(note.to_owned()).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("ä".repeat(2000)).len(), LONGEST);
        assert_eq!(cut("short".to_owned()), "short");
    }

    #[test]
    fn an_event_about_a_problem_is_a_warning_and_about_its_end_is_not() {
        assert!(
            is_bad("PrivateMetadataExchangeReady", ConditionStatus::False)
                && !is_bad("PrivateMetadataExchangeReady", ConditionStatus::True)
        );
        assert!(
            is_bad("Stale", ConditionStatus::True)
                && !is_bad("Stale", ConditionStatus::False)
                && !is_bad("Accepted", ConditionStatus::Unknown)
        );
    }

    #[test]
    fn a_peers_new_key_is_one_event_on_its_object() {
        use fedgate_federation::FindingReason;
        let settings = crate::settings::tests::read(&[]).unwrap();
        let key = Key { namespace: String::new(), name: "beta".to_owned() };
        let uids = BTreeMap::from([((Kind::IstioFederation, key), "1".to_owned())]);
        let object = ObjectRef::federation("beta");
        let finding = Finding::warning(
            FindingReason::KeyChanged,
            object,
            "",
            "at 2026-01-01T00:00:00Z: it is another one",
        );
        let mut reported = BTreeSet::new();
        let happened = of_findings([&finding].into_iter(), &mut reported, &settings, &uids);
        assert_eq!(
            (happened.len(), happened[0].reason.as_str(), happened[0].warning),
            (1, "KeyChanged", true)
        );
        assert_eq!(happened[0].regarding.name.as_deref(), Some("beta"));
        assert!(of_findings([&finding].into_iter(), &mut reported, &settings, &uids).is_empty());
    }

    #[test]
    fn a_condition_with_a_finding_has_no_event_of_its_own() {
        let has_event = |kind: &str, status| {
            let condition = serde_json::json!({ "type": kind, "status": status, "reason": "Why" });
            let condition = serde_json::from_value(condition).unwrap();
            of_transition(
                "beta",
                "1",
                &Transition { condition, before: Some(ConditionStatus::Unknown) },
            )
            .is_some()
        };
        assert!(!has_event("NamesRefused", "True") && has_event("NamesRefused", "False"));
        assert!(!has_event("Accepted", "False") && has_event("Accepted", "True"));
        assert!(
            has_event("PublicMetadataExchangeReady", "False")
                && has_event("RootsAcknowledged", "False")
        );
    }
}
