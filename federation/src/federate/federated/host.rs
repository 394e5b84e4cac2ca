//! Who has which host name, and whose name it must not be.

use super::Known;
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use crate::object::{FederatedServiceObject, FederatedSuffix, is_dns_label, is_within};
use fedgate_core::Hostname;
use std::collections::{BTreeMap, BTreeSet};

/// Every cluster's alias for itself.
const CLUSTER_LOCAL: &str = "cluster.local";

/// The trust domains that no federated name may be in, each with its owner in words.
fn trust_domains<'a>(known: &Known<'a, '_>) -> impl Iterator<Item = (&'a str, String)> {
    let ours = known.inputs.local.trust_domain.as_str();
    let own = [(ours, "this cluster".to_owned()), (CLUSTER_LOCAL, "every cluster".to_owned())];
    let peers = known.candidates.iter().map(|candidate| {
        let peer = &candidate.peer;
        (peer.trust_domain.as_str(), format!("IstioFederation {}", peer.name))
    });
    own.into_iter().chain(peers)
}

/// Says which trust domains the suffix overlaps.
pub(super) fn suffix_clashes(known: &Known<'_, '_>) -> Vec<Finding> {
    let suffix = known.inputs.local.federated_suffix.as_str();
    let clash = |(domain, owner): (&str, String)| {
        let all = is_within(suffix, domain);
        if !all && !is_within(domain, suffix) {
            return None;
        }
        let cluster = ObjectRef::cluster(known.inputs.local.trust_domain.as_str());
        let lost = match all {
            true => "no FederatedService is in force",
            false => "no FederatedService with a name in that trust domain is in force",
        };
        let message = format!(
            "the suffix {suffix} and the trust domain {domain} of {owner} must not overlap; {lost}: choose another suffix"
        );
        let field = "federatedServices.suffix";
        Some(match all {
            true => Finding::error(FindingReason::SuffixClash, cluster, field, message),
            false => Finding::warning(FindingReason::SuffixClash, cluster, field, message),
        })
    };
    trust_domains(known).filter_map(clash).collect()
}

/// Returns the object that has each host name, in order of host name. The others are reported.
///
/// Of several objects that claim one name, the one that has it by default wins, so that no other
/// namespace can take it away. Then the first by namespace and name.
pub(super) fn claims<'a>(
    known: &Known<'a, '_>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<Hostname, &'a FederatedServiceObject> {
    let suffix = &known.inputs.local.federated_suffix;
    let domains: BTreeMap<_, _> = trust_domains(known).collect();
    let mut claims: Vec<_> = known
        .inputs
        .objects
        .federated_services
        .iter()
        .filter_map(|object| match host(object, suffix, &domains) {
            Ok((host, is_default)) => Some((!is_default, object, host)),
            Err(finding) => {
                findings.push(*finding);
                None
            }
        })
        .collect();
    claims.sort_by(|(rank, object, _), (other_rank, other, _)| {
        let key = |object: &FederatedServiceObject| {
            (object.namespace.clone(), object.name.clone(), object.source.clone())
        };
        (rank, key(object)).cmp(&(other_rank, key(other)))
    });
    let mut objects = BTreeSet::new();
    let mut hosts: BTreeMap<Hostname, &FederatedServiceObject> = BTreeMap::new();
    for (_, object, host) in claims {
        if !objects.insert((&object.namespace, &object.name)) {
            let message = "another FederatedService has this namespace and name and is in force; remove one of the two";
            findings.push(object.error(FindingReason::DuplicateObject, "metadata.name", message));
        } else if let Some(owner) = hosts.get(&host) {
            let message = format!(
                "the host {host} is already that of FederatedService {}/{}; choose another name",
                shown(&owner.namespace),
                shown(&owner.name)
            );
            findings.push(object.error(FindingReason::HostClaimed, "spec.host", message));
        } else {
            hosts.insert(host, object);
        }
    }
    hosts
}

/// Returns an object's host name, and whether it is the default one.
fn host(
    object: &FederatedServiceObject,
    suffix: &FederatedSuffix,
    domains: &BTreeMap<&str, String>,
) -> Result<(Hostname, bool), Box<Finding>> {
    for (field, name) in
        [("metadata.name", &object.name), ("metadata.namespace", &object.namespace)]
    {
        if !is_dns_label(name) {
            let message = format!(
                "expected a name of lower-case letters, digits and '-', found {:?}; rename the object",
                shown(name)
            );
            return Err(object.error(FindingReason::InvalidName, field, message).into());
        }
    }
    let default = format!("{}.{}.{suffix}", object.name, object.namespace);
    let invalid =
        |message: String| Box::new(object.error(FindingReason::InvalidHost, "spec.host", message));
    let text = object.spec.host.as_deref().unwrap_or(&default);
    let host = Hostname::parse(text).map_err(|error| {
        invalid(format!(
            "expected a host name that ends in .{suffix}, found {:?} ({error}); correct it",
            shown(text)
        ))
    })?;
    if let Some((domain, owner)) =
        domains.iter().find(|(domain, _)| is_within(host.as_str(), domain))
    {
        return Err(invalid(format!(
            "{host} must not be in the trust domain {domain} of {owner}; choose another name"
        )));
    }
    if !suffix.owns(&host) {
        return Err(invalid(format!(
            "expected a host name that ends in .{suffix}, found {host}; change it, or the suffix of this cluster's federated names"
        )));
    }
    let is_default = host.as_str() == default;
    Ok((host, is_default))
}
