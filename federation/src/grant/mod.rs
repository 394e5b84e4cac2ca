//! Who may reach an export. The Service's owner and the administrator must both agree.
//!
//! The owner exports a Service by the label and may narrow the export to some peers by an
//! annotation. The administrator narrows it by policies: a peer that some policy selects gets only
//! what a policy allows. Every verdict says who decided it, so that `explain` can report it without
//! computing it again.
//!
//! The number of grants is that of exports times that of peers. So exports with the same annotation
//! to which the same policies apply share one list of grants.

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
    /// Whether denials of this peer are enforced or only audited.
    pub mode: Mode,
    /// The decision.
    pub verdict: Verdict,
}

/// The decision for a peer and an export, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The owner exports it, and no policy selects the peer: any caller may.
    Public,
    /// Policies allow it.
    Allowed {
        /// These callers of the peer.
        callers: Callers,
        /// The names of the policies that allow it.
        policies: Vec<Arc<str>>,
    },
    /// The owner's annotation leaves the peer out.
    OwnerExcludes,
    /// Policies select the peer, and none of them allows this export.
    NoPolicyAllows {
        /// The names of the policies that select the peer.
        selected_by: Vec<Arc<str>>,
    },
}

impl PeerGrant {
    /// Returns the peer's callers for the table; `None` if the peer has no grant. In audit mode a
    /// peer that only policies keep out gets an empty set of callers, so that the filter reports
    /// the denial and lets the call through.
    pub fn callers(&self) -> Option<Callers> {
        match (&self.verdict, self.mode) {
            (Verdict::Public, _) => Some(Callers::Any),
            (Verdict::Allowed { callers, .. }, _) => Some(callers.clone()),
            (Verdict::NoPolicyAllows { .. }, Mode::Audit) => Some(Callers::Only(BTreeSet::new())),
            (Verdict::NoPolicyAllows { .. }, Mode::Enforce) | (Verdict::OwnerExcludes, _) => None,
        }
    }

    /// Returns true if some caller of the peer may reach it.
    pub fn is_granted(&self) -> bool {
        match &self.verdict {
            Verdict::Public => true,
            Verdict::Allowed { callers, .. } => !callers.is_nobody(),
            Verdict::OwnerExcludes | Verdict::NoPolicyAllows { .. } => false,
        }
    }

    /// Returns true if the export is announced to the peer.
    pub fn is_visible(&self) -> bool {
        match (&self.verdict, self.mode) {
            (Verdict::Public | Verdict::Allowed { .. }, _)
            | (Verdict::NoPolicyAllows { .. }, Mode::Audit) => true,
            (Verdict::NoPolicyAllows { .. }, Mode::Enforce) | (Verdict::OwnerExcludes, _) => false,
        }
    }
}

impl std::fmt::Display for PeerGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.verdict {
            Verdict::Public => {
                f.write_str("the Service is exported, and no policy selects the peer")
            }
            Verdict::Allowed { policies, .. } => write!(f, "allowed by {}", listed(policies)),
            Verdict::OwnerExcludes => {
                f.write_str("the Service's annotation fedgate.dev/peers leaves the peer out")
            }
            Verdict::NoPolicyAllows { selected_by } => {
                write!(
                    f,
                    "no policy allows it, and the peer is selected by {}",
                    listed(selected_by)
                )
            }
        }
    }
}

fn listed(policies: &[Arc<str>]) -> String {
    let names = policies.iter().map(|policy| policy.as_ref()).collect::<Vec<_>>().join(", ");
    format!("FederationPolicy {names}")
}

/// Computes the grants of all peers for each export.
pub(crate) struct Granter<'a> {
    policies: &'a Policies,
    peers: Vec<Selected<'a>>,
    known: BTreeMap<Class, Arc<[PeerGrant]>>,
    findings: BTreeSet<Finding>,
}

/// What determines the grants on an export: its owner's annotation, and the policies that allow it.
type Class = (Admitted, Vec<usize>);

/// A peer, its mode, and the policies that select it.
struct Selected<'a> {
    peer: &'a PeerName,
    mode: Mode,
    policies: Vec<usize>,
}

impl<'a> Granter<'a> {
    /// Creates a granter for these peers, in their order.
    pub(crate) fn new(policies: &'a Policies, peers: impl Iterator<Item = &'a PeerName>) -> Self {
        let selected = |peer| Selected {
            peer,
            mode: policies.mode_of(peer),
            policies: policies.selecting(peer),
        };
        Self {
            policies,
            peers: peers.map(selected).collect(),
            known: BTreeMap::new(),
            findings: BTreeSet::new(),
        }
    }

    /// Returns the peers and their modes.
    pub(crate) fn modes(&self) -> impl Iterator<Item = (&'a PeerName, Mode)> + '_ {
        self.peers.iter().map(|selected| (selected.peer, selected.mode))
    }

    /// Returns the grants on one port of a Service.
    pub(crate) fn grants(
        &mut self,
        admitted: &Admitted,
        subject: &Subject<'_>,
    ) -> Arc<[PeerGrant]> {
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

    /// Returns the grants on something that is open to every caller of every peer.
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

fn verdict(
    policies: &Policies,
    selected: &Selected<'_>,
    (admitted, allowing): &Class,
) -> (Verdict, Option<Finding>) {
    if !admitted.admits(selected.peer) {
        return (Verdict::OwnerExcludes, None);
    }
    if selected.policies.is_empty() {
        return (Verdict::Public, None);
    }
    let speaking: Vec<usize> =
        selected.policies.iter().copied().filter(|policy| allowing.contains(policy)).collect();
    if speaking.is_empty() {
        return (Verdict::NoPolicyAllows { selected_by: policies.names(&selected.policies) }, None);
    }
    let (callers, finding) = union(policies, &speaking);
    (Verdict::Allowed { callers, policies: policies.names(&speaking) }, finding)
}

/// Joins the callers of all these policies. A grant holds only so many patterns. A policy whose
/// patterns no longer fit is left out, which denies callers and never admits any.
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
