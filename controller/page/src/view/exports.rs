//! The exports: who may call what, by which policy, and what a policy in Audit would change.

use super::{Query, Rows, Words, cut};
use crate::feed::Look;
use fedgate_core::{Callers, Mode};
use fedgate_federation::federate::Export;
use fedgate_federation::grant::{Access, PeerGrant};
use fedgate_federation::object::GatewayMode;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many names are listed where a number follows for the rest.
const MOST_NAMES: usize = 50;

/// An export in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportRow {
    service: String,
    namespace: String,
    name: String,
    port: String,
    passthrough: bool,
    /// How many peers may reach it, at least with some callers.
    granted: usize,
    peers: usize,
    /// The policies that allow it to some peer.
    policies: Vec<String>,
    /// How many peers reach it only because a policy is in Audit.
    audited: usize,
}

/// What the exports with the same grants have in common.
struct Summary {
    granted: usize,
    audited: usize,
    policies: Vec<String>,
}

impl Summary {
    fn of(grants: &[PeerGrant]) -> Self {
        let policies: BTreeSet<&str> = grants
            .iter()
            .filter_map(|grant| match &grant.access {
                Access::Allowed { policies, .. } => Some(policies.iter().map(AsRef::as_ref)),
                _ => None,
            })
            .flatten()
            .collect();
        Self {
            granted: grants.iter().filter(|grant| grant.is_granted()).count(),
            audited: grants.iter().filter(|grant| grant.is_only_audited()).count(),
            policies: policies.into_iter().take(MOST_NAMES).map(str::to_owned).collect(),
        }
    }
}

/// Some rows of the list of exports. The states are `granted`, `nobody`, `audited` and
/// `passthrough`; `peers` is the name of a peer that must be granted them.
pub(crate) fn exports(look: &Look, query: &Query) -> Rows<ExportRow> {
    let all = &look.in_force.federation.exports;
    let mut summaries: HashMap<*const PeerGrant, Summary> = HashMap::new();
    for export in all {
        let summary = || Summary::of(&export.grants);
        summaries.entry(export.grants.as_ptr()).or_insert_with(summary);
    }
    let words = Words::of(&query.search);
    let is_found = |export: &&Export| {
        let Some(summary) = summaries.get(&export.grants.as_ptr()) else { return false };
        let fits = match query.state.as_str() {
            "granted" => summary.granted > 0,
            "nobody" => summary.granted == 0,
            "audited" => summary.audited > 0,
            "passthrough" => export.mode == GatewayMode::Passthrough,
            _ => true,
        };
        let is_peers = query.peers.is_empty()
            || find(&export.grants, &query.peers).is_some_and(PeerGrant::is_granted);
        let policies: Vec<_> = summary.policies.iter().map(String::as_str).collect();
        fits && is_peers
            && words.are_in(
                &[&[export.service.host.as_str(), &export.port_name], policies.as_slice()].concat(),
            )
    };
    let found: Vec<_> = all.iter().filter(is_found).collect();
    cut(all.len(), &found, query, |export| {
        let summary = Summary::of(&export.grants);
        ExportRow {
            service: export.service.to_string(),
            namespace: export.namespace.clone(),
            name: export.name.clone(),
            port: export.port_name.clone(),
            passthrough: export.mode == GatewayMode::Passthrough,
            granted: summary.granted,
            peers: export.grants.len(),
            policies: summary.policies,
            audited: summary.audited,
        }
    })
}

/// A peer's grant. Grants are in order of peer.
pub(super) fn find<'a>(grants: &'a [PeerGrant], peer: &str) -> Option<&'a PeerGrant> {
    let at = grants.binary_search_by(|grant| grant.peer.as_str().cmp(peer)).ok()?;
    grants.get(at)
}

/// Everything about one export.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportDetail {
    service: String,
    sni: String,
    passthrough: bool,
    /// The peers, grouped by who decided.
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    /// Who decided, in the words of `fedgate explain`.
    decided: String,
    /// `granted`, `some`, `audited` or `refused`.
    verdict: &'static str,
    callers: Vec<String>,
    peers: Vec<String>,
    more: usize,
}

/// An export by `host:port`.
pub(crate) fn export(look: &Look, name: &str) -> Option<ExportDetail> {
    let exports = &look.in_force.federation.exports;
    let export = exports.iter().find(|export| export.service.to_string() == name)?;
    let mut groups: BTreeMap<_, (Vec<String>, Vec<&str>)> = BTreeMap::new();
    for grant in export.grants.iter() {
        let (verdict, callers) = verdict(grant);
        let group = groups.entry((verdict, decided(grant), callers.clone()));
        group.or_insert_with(|| (callers, Vec::new())).1.push(grant.peer.as_str());
    }
    let group = |((verdict, decided, _), (callers, peers)): ((&'static str, String, _), _)| {
        let (callers, peers): (Vec<String>, Vec<&str>) = (callers, peers);
        Group {
            decided,
            verdict,
            callers,
            more: peers.len().saturating_sub(MOST_NAMES),
            peers: peers.into_iter().take(MOST_NAMES).map(str::to_owned).collect(),
        }
    };
    Some(ExportDetail {
        service: export.service.to_string(),
        sni: export.service.sni(),
        passthrough: export.mode == GatewayMode::Passthrough,
        groups: groups.into_iter().map(group).collect(),
    })
}

/// What becomes of a peer's calls, and which callers a policy names.
pub(super) fn verdict(grant: &PeerGrant) -> (&'static str, Vec<String>) {
    let verdict = match &grant.access {
        Access::Public => "granted",
        Access::Allowed { callers: Callers::Any, .. } => "granted",
        Access::Allowed { callers: Callers::Only(patterns), .. } => {
            let patterns = patterns.iter().take(MOST_NAMES);
            let text =
                |p: &fedgate_core::CallerPattern| format!("{}/{}", p.namespace, p.service_account);
            return ("some", patterns.map(text).collect());
        }
        _ if grant.is_only_audited() => "audited",
        _ => "refused",
    };
    (verdict, Vec::new())
}

/// Who decided, in the words of `fedgate explain`.
pub(super) fn decided(grant: &PeerGrant) -> String {
    let some = matches!(&grant.access, Access::Allowed { callers: Callers::Only(_), .. });
    match grant.mode {
        Mode::Audit if some => format!("{grant}; in audit mode others pass, too, and are reported"),
        _ => grant.to_string(),
    }
}

/// What would change for a peer if its policies were enforced.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditRow {
    peer: String,
    /// The policies that select it.
    policies: Vec<String>,
    /// How many exports it reaches now and would not reach any more.
    refused: usize,
    /// How many it would reach with some callers only.
    narrowed: usize,
    examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
struct Example {
    service: String,
    decided: String,
    narrowed: bool,
}

/// How many examples each peer has, and how many peers are listed.
const MOST_EXAMPLES: usize = 10;
const MOST_PEERS: usize = 200;

/// What the policies in Audit would change.
pub(crate) fn audit(look: &Look) -> Rows<AuditRow> {
    let exports = &look.in_force.federation.exports;
    let mut lists: BTreeMap<*const PeerGrant, (&Arc<[PeerGrant]>, Vec<&Export>)> = BTreeMap::new();
    for export in exports {
        let list = lists.entry(export.grants.as_ptr());
        list.or_insert_with(|| (&export.grants, Vec::new())).1.push(export);
    }
    let mut rows: BTreeMap<&str, AuditRow> = BTreeMap::new();
    for (grants, exports) in lists.values() {
        for grant in grants.iter().filter(|grant| grant.mode == Mode::Audit) {
            add(
                rows.entry(grant.peer.as_str()).or_insert_with(|| AuditRow::new(grant)),
                grant,
                exports,
            );
        }
    }
    let mut found: Vec<_> = rows.into_values().collect();
    found.sort_by(|a, b| (b.refused, b.narrowed, &a.peer).cmp(&(a.refused, a.narrowed, &b.peer)));
    let count = found.len();
    found.truncate(MOST_PEERS);
    Rows { all: count, found: count, offset: 0, rows: found }
}

impl AuditRow {
    fn new(grant: &PeerGrant) -> Self {
        let peer = grant.peer.to_string();
        Self { peer, policies: Vec::new(), refused: 0, narrowed: 0, examples: Vec::new() }
    }
}

fn add(row: &mut AuditRow, grant: &PeerGrant, exports: &[&Export]) {
    let (policies, narrowed) = match &grant.access {
        Access::NoPolicyAllows { selected_by } => (selected_by, false),
        Access::Allowed { callers: Callers::Only(_), policies } => (policies, true),
        _ => return,
    };
    for policy in policies {
        if row.policies.len() < MOST_NAMES && !row.policies.iter().any(|known| **known == **policy)
        {
            row.policies.push(policy.to_string());
        }
    }
    match narrowed {
        true => row.narrowed += exports.len(),
        false => row.refused += exports.len(),
    }
    let room = MOST_EXAMPLES.saturating_sub(row.examples.len());
    row.examples.extend(exports.iter().take(room).map(|export| Example {
        service: export.service.to_string(),
        decided: grant.to_string(),
        narrowed,
    }));
}
