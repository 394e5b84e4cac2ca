//! Trust bundles: whose roots are trusted.

use super::{Candidate, Inputs};
use crate::bundle::{Root, TrustBundle, dangling};
use crate::credentials::intermediate;
use crate::finding::{Finding, FindingReason};
use fedgate_core::TrustDomain;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the usable roots of the accepted peers. A peer's document lists which of its roots are in
/// force, so certificates from those must be accepted. Hence roots that are not valid now are left out,
/// and so are intermediates without their root, which Envoy cannot use. A trust domain without any
/// usable root is left out as well.
pub(super) fn bundles<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<TrustDomain, TrustBundle> {
    let mut bundles = BTreeMap::new();
    for candidate in accepted {
        let Some(document) = candidate.public(inputs) else { continue };
        let mut roots = Vec::new();
        for root in &document.roots {
            match invalid_now(root, inputs.now) {
                None => roots.push(root.clone()),
                Some((reason, why)) => {
                    let message = format!("root {} ({}) {why}", root.fingerprint(), root.subject());
                    findings.push(Finding::error(
                        reason,
                        candidate.peer.object(),
                        "rootCA",
                        message,
                    ));
                }
            }
        }
        let unusable: BTreeSet<_> =
            dangling(&roots).into_iter().map(|root| root.fingerprint()).collect();
        let (unusable, roots): (Vec<_>, Vec<_>) =
            roots.into_iter().partition(|root| unusable.contains(&root.fingerprint()));
        for root in unusable {
            let message = format!(
                "root {}. It is not used; its operator has to do that",
                intermediate(&root)
            );
            findings.push(Finding::error(
                FindingReason::IntermediateRoot,
                candidate.peer.object(),
                "rootCA",
                message,
            ));
        }
        if !roots.is_empty() {
            let trust_domain = candidate.peer.trust_domain.clone();
            bundles.insert(trust_domain.clone(), TrustBundle { trust_domain, roots });
        }
    }
    bundles
}

/// Returns why a root cannot be used at `now`, and what to do about it.
fn invalid_now(root: &Root, now: Timestamp) -> Option<(FindingReason, String)> {
    let (begins, ends) = (root.not_before(), root.not_after());
    match () {
        () if root.is_expired(now) => {
            let why = format!(
                "expired at {ends} and is not used; the peer's operator must publish one that is valid"
            );
            Some((FindingReason::ExpiredRoot, why))
        }
        () if now < begins => {
            let why = format!(
                "is valid from {begins} on and not used before; compare the clocks, or wait"
            );
            Some((FindingReason::RootNotYetValid, why))
        }
        () => None,
    }
}
