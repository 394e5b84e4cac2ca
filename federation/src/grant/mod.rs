//! Who may reach an export: the Service's owner and the administrator, who must both agree.
//!
//! The owner exports by the label, and may narrow to some peers by an annotation. The administrator narrows by policies: a peer
//! that some policy selects gets only what a policy allows. Every answer comes with who decided it, so that `explain` can say
//! so and nothing has to be computed twice.
//!
//! Exports by peers is a product. Exports with the same annotation for which the same policies speak share one list of grants.

mod owner;
mod policy;
mod selector;

pub(crate) use owner::Admitted;
pub(crate) use policy::{KnownPeers, Policies, Subject};

use crate::finding::{Finding, FindingReason};
use fedgate_core::{Callers, MAX_CALLER_PATTERNS, Mode, PeerName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one peer may do with an export, and who decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerGrant {
    /// The peer.
    pub peer: PeerName,
    /// Whether refusals of this peer take effect.
    pub mode: Mode,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided for a peer and an export, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The owner exports it, and no policy selects the peer: all of its callers may.
    Public,
    /// Policies allow it.
    Allowed {
        /// To these callers.
        callers: Callers,
        /// The policies that do, by name.
        policies: Vec<Arc<str>>,
    },
    /// The owner's annotation leaves the peer out.
    OwnerExcludes,
    /// Policies select the peer, and none allows this export.
    NoPolicyAllows {
        /// The policies that select the peer, by name.
        selected_by: Vec<Arc<str>>,
    },
}

impl PeerGrant {
    /// What goes into the table: who of the peer may; `None` for nobody. In audit mode, where the owner admits the peer, an empty
    /// set of callers stands for nobody, so that the filter reports and lets through.
    pub fn callers(&self) -> Option<Callers> {
        match (&self.verdict, self.mode) {
            (Verdict::Public, _) => Some(Callers::Any),
            (Verdict::Allowed { callers, .. }, _) => Some(callers.clone()),
            (Verdict::NoPolicyAllows { .. }, Mode::Audit) => Some(Callers::Only(BTreeSet::new())),
            (Verdict::NoPolicyAllows { .. }, Mode::Enforce) | (Verdict::OwnerExcludes, _) => None,
        }
    }

    /// Whether some caller of the peer may reach it.
    pub fn is_granted(&self) -> bool {
        match &self.verdict {
            Verdict::Public => true,
            Verdict::Allowed { callers, .. } => !callers.is_nobody(),
            Verdict::OwnerExcludes | Verdict::NoPolicyAllows { .. } => false,
        }
    }

    /// Whether the peer gets to know of the export.
    pub fn is_visible(&self) -> bool {
        match (&self.verdict, self.mode) {
            (Verdict::Public | Verdict::Allowed { .. }, _) | (Verdict::NoPolicyAllows { .. }, Mode::Audit) => true,
            (Verdict::NoPolicyAllows { .. }, Mode::Enforce) | (Verdict::OwnerExcludes, _) => false,
        }
    }
}

impl std::fmt::Display for PeerGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.verdict {
            Verdict::Public => f.write_str("the Service is exported, and no policy selects the peer"),
            Verdict::Allowed { policies, .. } => write!(f, "allowed by {}", listed(policies)),
            Verdict::OwnerExcludes => f.write_str("the Service's annotation fedgate.dev/peers leaves the peer out"),
            Verdict::NoPolicyAllows { selected_by } => {
                write!(f, "no policy allows it, and the peer is selected by {}", listed(selected_by))
            }
        }
    }
}

fn listed(policies: &[Arc<str>]) -> String {
    let names = policies.iter().map(|policy| policy.as_ref()).collect::<Vec<_>>().join(", ");
    format!("FederationPolicy {names}")
}

/// Answers for each export what each peer may do with it.
pub(crate) struct Granter<'a> {
    policies: &'a Policies,
    peers: Vec<Selected<'a>>,
    known: BTreeMap<Class, Arc<[PeerGrant]>>,
    findings: BTreeSet<Finding>,
}

/// What decides over an export: its owner's annotation, and the policies that speak for it.
type Class = (Admitted, Vec<usize>);

/// A peer, its mode, and the policies that select it.
struct Selected<'a> {
    peer: &'a PeerName,
    mode: Mode,
    policies: Vec<usize>,
}

impl<'a> Granter<'a> {
    /// For these peers, in their order.
    pub(crate) fn new(policies: &'a Policies, peers: impl Iterator<Item = &'a PeerName>) -> Self {
        let selected = |peer| Selected { peer, mode: policies.mode_of(peer), policies: policies.selecting(peer) };
        Self { policies, peers: peers.map(selected).collect(), known: BTreeMap::new(), findings: BTreeSet::new() }
    }

    /// The peers and their modes.
    pub(crate) fn modes(&self) -> impl Iterator<Item = (&'a PeerName, Mode)> + '_ {
        self.peers.iter().map(|selected| (selected.peer, selected.mode))
    }

    /// The grants on one port of a Service.
    pub(crate) fn grants(&mut self, admitted: &Admitted, subject: &Subject<'_>) -> Arc<[PeerGrant]> {
        let class = (admitted.clone(), self.policies.allowing(subject));
        if let Some(known) = self.known.get(&class) {
            return Arc::clone(known);
        }
        let grants = self.peers.iter().map(|selected| {
            let (verdict, finding) = verdict(self.policies, selected, &class);
            self.findings.extend(finding);
            PeerGrant { peer: selected.peer.clone(), mode: selected.mode, verdict }
        });
        let grants: Arc<[PeerGrant]> = grants.collect();
        self.known.insert(class, Arc::clone(&grants));
        grants
    }

    /// The grants on what nobody narrows: every peer, every caller.
    pub(crate) fn public(&self) -> Arc<[PeerGrant]> {
        let public = |selected: &Selected<'_>| PeerGrant {
            peer: selected.peer.clone(),
            mode: selected.mode,
            verdict: Verdict::Public,
        };
        self.peers.iter().map(public).collect()
    }

    pub(crate) fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.findings.into_iter()
    }
}

fn verdict(policies: &Policies, selected: &Selected<'_>, (admitted, allowing): &Class) -> (Verdict, Option<Finding>) {
    if !admitted.admits(selected.peer) {
        return (Verdict::OwnerExcludes, None);
    }
    if selected.policies.is_empty() {
        return (Verdict::Public, None);
    }
    let speaking: Vec<usize> = selected.policies.iter().copied().filter(|policy| allowing.contains(policy)).collect();
    if speaking.is_empty() {
        return (Verdict::NoPolicyAllows { selected_by: policies.names(&selected.policies) }, None);
    }
    let (callers, finding) = union(policies, &speaking);
    (Verdict::Allowed { callers, policies: policies.names(&speaking) }, finding)
}

/// The callers of all these policies together. A grant holds so many patterns only; those of the policies that come too late
/// are left out, which closes and does not open.
fn union(policies: &Policies, speaking: &[usize]) -> (Callers, Option<Finding>) {
    let mut patterns = BTreeSet::new();
    let mut finding = None;
    for (policy, callers) in policies.callers(speaking) {
        let Callers::Only(more) = callers else { return (Callers::Any, None) };
        let new = more.difference(&patterns).count();
        match patterns.len() + new <= MAX_CALLER_PATTERNS {
            true => patterns.extend(more.iter().cloned()),
            false => finding = Some(too_many(policy)),
        }
    }
    (Callers::Only(patterns), finding)
}

fn too_many(policy: &policy::Policy) -> Finding {
    let message = format!(
        "with the callers of other policies for the same export there are more than {MAX_CALLER_PATTERNS}, so this policy's are \
         refused; use patterns"
    );
    Finding::error(FindingReason::TooManyCallers, policy.object.clone(), "spec.callers", message)
}
