//! The obvious alternatives to the table, with the same answers.

use crate::exports::{Exports, trust_domain};
use fedgate_core::{Callers, Outcome, Sni, SpiffeId};
use std::collections::HashMap;

/// A map from `host:port` to a map from trust domain to callers. It must be built before it can be
/// read: in each VM, at each update.
#[derive(Debug)]
pub struct HashTwin {
    exports: HashMap<(String, u16), HashMap<String, Callers>>,
}

impl HashTwin {
    pub fn new(exports: &Exports) -> Self {
        let grants = |set: usize| {
            exports.sets[set]
                .iter()
                .map(|(&peer, callers)| (trust_domain(peer), callers.clone()))
                .collect()
        };
        let row = |(service, &set): (&fedgate_core::ServiceName, &usize)| {
            ((service.host.to_string(), service.port.get()), grants(set))
        };
        Self { exports: exports.services.iter().zip(&exports.set_of).map(row).collect() }
    }

    pub fn decide(&self, server_name: &str, uri_san: &str) -> Outcome {
        let granted = || {
            let sni = Sni::parse(server_name).ok()?;
            let grants = self.exports.get(&(sni.host().to_owned(), sni.port().get()))?;
            let id = SpiffeId::parse(uri_san).ok()?;
            grants.get(id.trust_domain())?.admit(&id).then_some(())
        };
        granted().map_or(Outcome::Refused, |()| Outcome::Allowed)
    }
}

/// A list of rules, tried one after the other, with one rule for each export and its principals.
/// Native RBAC, to which Istio compiles AuthorizationPolicies, has this shape.
#[derive(Debug)]
pub struct RuleList {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    server_name: String,
    /// `spiffe://<trust domain>/`, and the callers in it.
    principals: Vec<(String, Callers)>,
}

impl RuleList {
    pub fn new(exports: &Exports) -> Self {
        let principal = |(&peer, callers): (&usize, &Callers)| {
            (format!("spiffe://{}/", trust_domain(peer)), callers.clone())
        };
        let rule = |(service, &set): (&fedgate_core::ServiceName, &usize)| Rule {
            server_name: service.sni(),
            principals: exports.sets[set].iter().map(principal).collect(),
        };
        Self { rules: exports.services.iter().zip(&exports.set_of).map(rule).collect() }
    }

    pub fn decide(&self, server_name: &str, uri_san: &str) -> Outcome {
        let matches = |rule: &Rule| {
            rule.server_name == server_name
                && rule.principals.iter().any(|(prefix, callers)| {
                    uri_san.starts_with(prefix.as_str())
                        && SpiffeId::parse(uri_san).is_ok_and(|id| callers.admit(&id))
                })
        };
        if self.rules.iter().any(matches) { Outcome::Allowed } else { Outcome::Refused }
    }
}
