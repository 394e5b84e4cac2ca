//! Who may reach an export. The Service's owner and the administrator must both agree.
//!
//! The owner exports a Service by the label and may narrow the export to some peers by an
//! annotation. The administrator narrows it by policies: a peer that some policy selects gets only
//! what a policy allows. Every grant says who decided it, so that `explain` can report it without
//! computing it again.
//!
//! The number of grants is that of exports times that of peers. So exports with the same annotation
//! to which the same policies apply share one list of grants.

mod owner;
mod policy;
mod selector;

pub(crate) use owner::AdmittedPeers;
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
    /// Whether the peer may reach it.
    pub access: Access,
}

/// Whether a peer may reach an export, and who decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
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
        match (&self.access, self.mode) {
            (Access::Public, _) => Some(Callers::Any),
            (Access::Allowed { callers, .. }, _) => Some(callers.clone()),
            (Access::NoPolicyAllows { .. }, Mode::Audit) => Some(Callers::Only(BTreeSet::new())),
            (Access::NoPolicyAllows { .. }, Mode::Enforce) | (Access::OwnerExcludes, _) => None,
        }
    }

    /// Returns true if some caller of the peer may reach it.
    pub fn is_granted(&self) -> bool {
        match &self.access {
            Access::Public => true,
            Access::Allowed { callers, .. } => !callers.admits_none(),
            Access::OwnerExcludes | Access::NoPolicyAllows { .. } => false,
        }
    }

    /// Returns true if the peer reaches it only because denials are not enforced.
    pub fn is_only_audited(&self) -> bool {
        self.mode == Mode::Audit && !self.is_granted() && self.callers().is_some()
    }

    /// Returns true if the export is announced to the peer.
    pub(crate) fn is_visible(&self) -> bool {
        match (&self.access, self.mode) {
            (Access::Public | Access::Allowed { .. }, _)
            | (Access::NoPolicyAllows { .. }, Mode::Audit) => true,
            (Access::NoPolicyAllows { .. }, Mode::Enforce) | (Access::OwnerExcludes, _) => false,
        }
    }
}

impl std::fmt::Display for PeerGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.access {
            Access::Public => {
                f.write_str("the Service is exported, and no policy selects the peer")
            }
            Access::Allowed { policies, .. } => write!(f, "allowed by {}", listed(policies)),
            Access::OwnerExcludes => {
                f.write_str("the Service's annotation fedgate.dev/peers leaves the peer out")
            }
            Access::NoPolicyAllows { selected_by } => {
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
type Class = (AdmittedPeers, Vec<usize>);

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

    pub(crate) fn modes(&self) -> impl Iterator<Item = (&'a PeerName, Mode)> + '_ {
        self.peers.iter().map(|selected| (selected.peer, selected.mode))
    }

    /// Returns the grants on one port of a Service.
    pub(crate) fn grants(
        &mut self,
        admitted: &AdmittedPeers,
        subject: &Subject<'_>,
    ) -> Arc<[PeerGrant]> {
        let class = (admitted.clone(), self.policies.allowing(subject));
        if let Some(known) = self.known.get(&class) {
            return Arc::clone(known);
        }
        let grants = self.peers.iter().map(|selected| {
            let (access, finding) = access(self.policies, selected, &class);
            self.findings.extend(finding);
            PeerGrant { peer: selected.peer.clone(), mode: selected.mode, access }
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
            access: Access::Public,
        };
        self.peers.iter().map(public).collect()
    }

    pub(crate) fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.findings.into_iter()
    }
}

fn access(
    policies: &Policies,
    selected: &Selected<'_>,
    (admitted, allowing): &Class,
) -> (Access, Option<Finding>) {
    if !admitted.admits(selected.peer) {
        return (Access::OwnerExcludes, None);
    }
    if selected.policies.is_empty() {
        return (Access::Public, None);
    }
    let applicable: Vec<usize> =
        selected.policies.iter().copied().filter(|policy| allowing.contains(policy)).collect();
    if applicable.is_empty() {
        return (Access::NoPolicyAllows { selected_by: policies.names(&selected.policies) }, None);
    }
    let (callers, finding) = union(policies, &applicable);
    (Access::Allowed { callers, policies: policies.names(&applicable) }, finding)
}

/// Joins the callers of all these policies. A grant holds only so many patterns. A policy whose
/// patterns no longer fit is left out, which denies callers and never admits any.
fn union(policies: &Policies, applicable: &[usize]) -> (Callers, Option<Finding>) {
    let mut patterns = BTreeSet::new();
    let mut finding = None;
    for (policy, callers) in policies.callers(applicable) {
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
