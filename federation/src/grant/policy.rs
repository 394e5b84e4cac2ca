pub(crate) use super::selector::Subject;
use super::selector::{Rule, empty_list};
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use crate::object::{
    CallerSpec, FederationPolicySpec, PeerSelection, PolicyBody, PolicyObject, ServiceRule,
};
use crate::spelling::nearest;
use fedgate_core::{
    CallerPattern, Callers, MAX_CALLER_PATTERNS, Mode, Pattern, PeerName, TrustDomain,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All policies, in order of name.
#[derive(Debug, Default)]
pub(crate) struct Policies(Vec<Policy>);

/// A policy, as far as it is valid.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) object: ObjectRef,
    name: Arc<str>,
    peers: PeerSelection,
    mode: Mode,
    /// `None` if the policy is not valid; then it allows nothing.
    allows: Option<Allowance>,
}

#[derive(Debug)]
struct Allowance {
    services: Option<Vec<Rule>>,
    callers: Callers,
}

/// A field of the spec, and what is wrong with it.
type FieldError = (String, String);

impl Policies {
    pub(crate) fn compile(
        objects: &[PolicyObject],
        known: &KnownPeers<'_>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut ordered: Vec<_> = objects.iter().collect();
        ordered.sort_by(|a, b| (&a.name, &a.source).cmp(&(&b.name, &b.source)));
        let mut names = BTreeSet::new();
        let policies = ordered.into_iter().map(|object| {
            let policy = Policy::compile(object, findings);
            match names.insert(&object.name) {
                true => policy,
                false => {
                    let message = "another policy has this name and is in force; this one allows nothing to the peers that it selects; \
                                   rename or remove one of the two";
                    findings.push(Finding::error(FindingReason::DuplicateObject, object.object(), "metadata.name", message));
                    policy.closed()
                }
            }
        });
        let policies = Self(policies.collect());
        let open: Vec<_> =
            known.peers.iter().filter(|(peer, _)| policies.selecting(peer).is_empty()).collect();
        findings.extend(objects.iter().flat_map(|object| unknown_peers(object, known, &open)));
        policies
    }

    pub(crate) fn selecting(&self, peer: &PeerName) -> Vec<usize> {
        self.indices_where(|policy| policy.peers.selects(peer))
    }

    /// Returns the policies that allow some caller on an export.
    pub(crate) fn allowing(&self, subject: &Subject<'_>) -> Vec<usize> {
        self.indices_where(|policy| {
            policy.allows.as_ref().is_some_and(|allowed| allowed.matches(subject))
        })
    }

    /// Returns audit if at least one policy selects the peer and all such policies say so.
    pub(crate) fn mode_of(&self, peer: &PeerName) -> Mode {
        let mut modes = self
            .0
            .iter()
            .filter(|policy| policy.peers.selects(peer))
            .map(|policy| policy.mode)
            .peekable();
        match modes.peek().is_some() && modes.all(|mode| mode == Mode::Audit) {
            true => Mode::Audit,
            false => Mode::Enforce,
        }
    }

    pub(crate) fn names(&self, indices: &[usize]) -> Vec<Arc<str>> {
        indices
            .iter()
            .filter_map(|index| self.0.get(*index))
            .map(|policy| Arc::clone(&policy.name))
            .collect()
    }

    pub(crate) fn callers<'a>(
        &'a self,
        indices: &'a [usize],
    ) -> impl Iterator<Item = (&'a Policy, &'a Callers)> {
        let policies = indices.iter().filter_map(|index| self.0.get(*index));
        policies
            .filter_map(|policy| policy.allows.as_ref().map(|allowed| (policy, &allowed.callers)))
    }

    fn indices_where(&self, condition: impl Fn(&Policy) -> bool) -> Vec<usize> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, policy)| condition(policy))
            .map(|(index, _)| index)
            .collect()
    }
}

impl Allowance {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.services.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.matches(subject)))
    }
}

impl Policy {
    fn compile(object: &PolicyObject, findings: &mut Vec<Finding>) -> Self {
        let name: Arc<str> = shown(&object.name).to_string().into();
        let closed = |peers| Self {
            object: object.object(),
            name: Arc::clone(&name),
            peers,
            mode: Mode::Enforce,
            allows: None,
        };
        let spec = match &object.body {
            PolicyBody::Spec(spec) => spec,
            PolicyBody::Unreadable(peers) => return closed(peers.clone()),
        };
        match compile_spec(spec) {
            Ok((peers, allowed, mode)) => Self { mode, allows: Some(allowed), ..closed(peers) },
            Err((field, why)) => {
                findings.push(object.invalid(format!("spec.{field}"), why));
                closed(PeerSelection::readable(spec.peers.as_deref()))
            }
        }
    }

    fn closed(self) -> Self {
        Self { mode: Mode::Enforce, allows: None, ..self }
    }
}

fn compile_spec(
    spec: &FederationPolicySpec,
) -> Result<(PeerSelection, Allowance, Mode), FieldError> {
    let FederationPolicySpec { peers, services, callers, mode } = spec;
    let peers = match peers {
        None => PeerSelection::All,
        Some(names) => PeerSelection::Only(peer_names(names)?),
    };
    let services = match services {
        None => None,
        Some(rules) => Some(compile_rules(rules)?),
    };
    let callers = match callers {
        None => Callers::Any,
        Some(callers) => Callers::Only(compile_callers(callers)?),
    };
    Ok((peers, Allowance { services, callers }, mode.unwrap_or(Mode::Enforce)))
}

fn peer_names(names: &[String]) -> Result<BTreeSet<PeerName>, FieldError> {
    if names.is_empty() {
        let why = "expected at least one peer, found an empty list; name the peers that the policy is about";
        return Err(("peers".to_owned(), why.to_owned()));
    }
    let parse = |(index, name): (usize, &String)| {
        let why = |error| {
            format!("expected the name of an IstioFederation, found {:?}: {error}", shown(name))
        };
        PeerName::parse(name).map_err(|error| (format!("peers[{index}]"), why(error)))
    };
    names.iter().enumerate().map(parse).collect()
}

fn compile_rules(rules: &[ServiceRule]) -> Result<Vec<Rule>, FieldError> {
    // An empty list allows nothing. It is how a policy denies everything.
    let compile = |(index, rule)| {
        Rule::compile(rule).map_err(|(field, why)| (format!("services[{index}].{field}"), why))
    };
    rules.iter().enumerate().map(compile).collect()
}

fn compile_callers(callers: &[CallerSpec]) -> Result<BTreeSet<CallerPattern>, FieldError> {
    if callers.is_empty() {
        return Err(("callers".to_owned(), empty_list()));
    }
    if callers.len() > MAX_CALLER_PATTERNS {
        let why = format!(
            "there are {}, at most {MAX_CALLER_PATTERNS} fit in a grant; use patterns",
            callers.len()
        );
        return Err(("callers".to_owned(), why));
    }
    callers.iter().enumerate().map(|(index, caller)| compile_caller(caller, index)).collect()
}

fn compile_caller(caller: &CallerSpec, index: usize) -> Result<CallerPattern, FieldError> {
    let pattern = |field: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or("*");
        let wrong = |error| {
            (format!("callers[{index}].{field}"), format!("{error}, found {:?}", shown(text)))
        };
        Pattern::parse(text).map_err(wrong)
    };
    let CallerSpec { namespace, service_account } = caller;
    Ok(CallerPattern {
        namespace: pattern("namespace", namespace)?,
        service_account: pattern("serviceAccount", service_account)?,
    })
}

#[derive(Debug)]
pub(crate) struct KnownPeers<'a> {
    /// The names of all objects, invalid ones included.
    pub(crate) names: &'a BTreeSet<&'a str>,
    /// The valid peers, with their trust domains.
    pub(crate) peers: Vec<(&'a PeerName, &'a TrustDomain)>,
}

/// Returns findings about names in a policy that no peer has. `open` are the peers that no policy
/// selects. If there are any, the policy may have meant one of them, which now has all exports.
fn unknown_peers<'a>(
    object: &'a PolicyObject,
    known: &'a KnownPeers<'_>,
    open: &'a [&(&PeerName, &TrustDomain)],
) -> impl Iterator<Item = Finding> + 'a {
    let names: Vec<&str> = match &object.body {
        PolicyBody::Spec(spec) => spec.peers.iter().flatten().map(String::as_str).collect(),
        PolicyBody::Unreadable(PeerSelection::Only(names)) => {
            names.iter().map(PeerName::as_str).collect()
        }
        PolicyBody::Unreadable(PeerSelection::All) => Vec::new(),
    };
    let unknown =
        |(_, name): &(usize, &str)| !known.names.contains(name) && PeerName::parse(name).is_ok();
    let finding = |(index, name): (usize, &str)| {
        let field = format!("spec.peers[{index}]");
        let there = format!("there is no IstioFederation {:?}", shown(name));
        match open.is_empty() {
            true => {
                let message = format!("{there}; fix the name, or create the object");
                Finding::warning(FindingReason::UnknownPeer, object.object(), field, message)
            }
            false => {
                let message = format!(
                    "{there}, and no policy is about {}; {}",
                    names_of(open),
                    meant(name, open)
                );
                Finding::error(FindingReason::UnknownPeer, object.object(), field, message)
            }
        }
    };
    names.into_iter().enumerate().filter(unknown).map(finding).collect::<Vec<_>>().into_iter()
}

fn names_of(open: &[&(&PeerName, &TrustDomain)]) -> String {
    crate::finding::messages(open.iter().map(|(peer, _)| format!("peer {peer}")))
}

/// Advises what to do about a name that no peer has.
fn meant(name: &str, open: &[&(&PeerName, &TrustDomain)]) -> String {
    let by_trust_domain = open
        .iter()
        .find(|(_, trust_domain)| trust_domain.as_str() == name)
        .map(|(peer, _)| peer.as_str());
    match by_trust_domain.or_else(|| nearest(name, open.iter().map(|(peer, _)| peer.as_str()))) {
        Some(peer) => format!("did you mean {peer:?}? Until then that peer has all exports"),
        None => {
            "fix the name, or create the object; peers that no policy is about have all exports"
                .to_owned()
        }
    }
}
