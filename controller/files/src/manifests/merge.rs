//! Merges what a file says now with what it said when it was last good.

use super::kind::{Kind, ObjectId};
use super::manifest::Content;
use super::object::{Broken, Found, Object};
use fedgate_core::PeerName;
use fedgate_federation::Finding;
use fedgate_federation::object::{FederationPolicySpec, PeerSelection, PolicyBody, PolicyObject};
use std::collections::BTreeSet;

/// What is in force of one file.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pub(super) objects: Vec<Found>,
    /// Policies that cannot be read and were never good: they close.
    pub(super) closing: Vec<PolicyObject>,
    pub(super) findings: Vec<Finding>,
}

/// Takes the good objects; for broken ones, takes the last good version from `before`.
///
/// If every broken object is identified, only those are kept from before. Otherwise any object that
/// is now missing may be the broken one, so all of them stay.
pub(super) fn merge(before: Vec<Found>, content: Content) -> InForce {
    let Content { good, broken, mut findings } = content;
    let now: BTreeSet<ObjectId> = good.iter().map(|found| found.id.clone()).collect();
    let named: BTreeSet<&ObjectId> =
        broken.iter().filter_map(|broken| broken.id.as_ref()).collect();
    let nameless = broken.iter().any(|broken| broken.id.is_none());
    let stays = |found: &Found| !now.contains(&found.id) && (nameless || named.contains(&found.id));
    let kept: Vec<Found> = before.into_iter().filter(stays).collect();
    let mut closing = Closing::new(&kept, &named);
    for broken in &broken {
        findings.push(finding_about(broken, &kept));
        closing.add(broken);
    }
    let closing = closing.policies;
    InForce { objects: good.into_iter().chain(kept).collect(), closing, findings }
}

/// The finding, with what is in force in place of the broken document.
fn finding_about(broken: &Broken, kept: &[Found]) -> Finding {
    let last = match &broken.id {
        Some(id) => kept.iter().any(|found| found.id == *id),
        None => !kept.is_empty(),
    };
    let then = match (last, &broken.id, &broken.policy) {
        (true, Some(_), _) => "its last valid version stays in force",
        (true, None, _) => "the objects of the file's last valid version stay in force",
        (false, _, Some(PeerSelection::Only(_))) => {
            "until this is fixed, the peers that it selects get only what other policies allow"
        }
        (false, _, Some(PeerSelection::All)) => {
            "it is or may be a policy for all peers, so until this is fixed, they get only what other policies allow"
        }
        (false, _, None) if broken.finding.object.kind == "File" => "it is left out",
        (false, _, None) => "the object is left out",
    };
    let message = match broken.finding.message.strip_suffix('?') {
        // A question ends its own sentence.
        Some(question) => format!("{question}? Meanwhile: {then}"),
        None => format!("{}; {then}", broken.finding.message),
    };
    Finding { message, ..broken.finding.clone() }
}

/// Collects the policies that must close.
struct Closing<'a> {
    kept: &'a [Found],
    /// Number of earlier policies that may be the ones in documents that cannot be read at all.
    spare: usize,
    policies: Vec<PolicyObject>,
}

impl<'a> Closing<'a> {
    fn new(kept: &'a [Found], named: &BTreeSet<&ObjectId>) -> Self {
        let spare = kept
            .iter()
            .filter(|found| found.id.kind == Kind::Policy && !named.contains(&found.id))
            .count();
        Self { kept, spare, policies: Vec::new() }
    }

    fn add(&mut self, broken: &Broken) {
        let Some(selection) = &broken.policy else { return };
        match &broken.id {
            Some(id) => match self.kept.iter().find(|found| found.id == *id) {
                Some(last) => self.close_more(broken, selection, last),
                None => self.close(broken, &id.name, selection.clone()),
            },
            None if self.spare > 0 => self.spare -= 1,
            None => self.close(broken, "(unreadable)", selection.clone()),
        }
    }

    /// The last good policy stays in force for the peers that it selects. The broken document
    /// closes for peers that it adds; otherwise nothing would limit them meanwhile.
    fn close_more(&mut self, broken: &Broken, selection: &PeerSelection, last: &Found) {
        let (PeerSelection::Only(names), Some(spec)) = (selection, spec_of(last)) else { return };
        let more: BTreeSet<PeerName> =
            names.iter().filter(|name| !selects(spec, name)).cloned().collect();
        if !more.is_empty() {
            self.close(
                broken,
                &format!("{} (as it was changed)", last.id.name),
                PeerSelection::Only(more),
            );
        }
    }

    fn close(&mut self, broken: &Broken, name: &str, selection: PeerSelection) {
        let source = broken.finding.object.source.clone();
        // Names must differ, and two files may each have a policy without a name.
        let name = match &broken.id {
            Some(_) => name.to_owned(),
            None => format!("{name} {}", source.as_deref().unwrap_or_default()),
        };
        self.policies.push(PolicyObject { name, source, body: PolicyBody::Unreadable(selection) });
    }
}

fn spec_of(found: &Found) -> Option<&FederationPolicySpec> {
    match &found.object {
        Object::Policy(PolicyObject { body: PolicyBody::Spec(spec), .. }) => Some(spec),
        _ => None,
    }
}

fn selects(spec: &FederationPolicySpec, name: &PeerName) -> bool {
    spec.peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer == name.as_str()))
}
