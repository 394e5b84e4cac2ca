//! Rules in CEL by which the API server checks more than the types of fields. Their messages say
//! what to do.
//!
//! The controller checks the same again: an object may be older than the rules, or the definition
//! may not be ours.

/// A rule for one field.
pub(super) struct Rule {
    /// The field, in the form `spec.services[].ports`.
    pub(super) field: &'static str,
    /// The condition in CEL; `self` is the field's value.
    pub(super) rule: &'static str,
    /// What was expected, and what to do.
    pub(super) message: &'static str,
}

const fn rule(field: &'static str, rule: &'static str, message: &'static str) -> Rule {
    Rule { field, rule, message }
}

const ENDPOINT: &str = "spec.metadataEndpoint";

/// The rules of `IstioFederation`.
pub(super) const ISTIO_FEDERATION: &[Rule] = &[
    rule(
        "spec.trustDomain",
        "self.matches('^[0-9a-z._-]+$')",
        "expected a trust domain such as beta.example, of lower-case letters, digits, '.', '-' and '_'; \
         give the peer's own, without spiffe:// and without a port",
    ),
    rule(ENDPOINT, "isURL(self)", "expected a URL such as https://fedgate.beta.example/metadata"),
    rule(
        ENDPOINT,
        "!isURL(self) || url(self).getScheme() == 'https'",
        "expected a URL that begins with https://; the peer's roots and keys come from there, so it has to prove who it is",
    ),
    rule(
        ENDPOINT,
        "!isURL(self) || url(self).getHostname() != ''",
        "expected a URL with a host, such as https://fedgate.beta.example/metadata",
    ),
    rule(
        ENDPOINT,
        "!self.contains('?') && !self.contains('#')",
        "expected a URL without '?' and '#'; leave out what follows them, the names of the documents are appended to the URL",
    ),
    rule(
        ENDPOINT,
        "!self.matches('^[^/]*//[^/?#]*@')",
        "expected a URL without user name and password; they would be visible to everyone who reads this object, and peers don't ask for them",
    ),
    rule(
        "spec.metadata.ca",
        "self.contains('-----BEGIN CERTIFICATE-----')",
        "expected CA certificates in PEM, which begin with -----BEGIN CERTIFICATE-----; give the certificate of the CA that issues the endpoint's certificate",
    ),
];

const ONE_ENTRY: &str = "expected at least one entry, found an empty list; add an entry, or write services: [] under spec to allow nothing";
const ONE_PEER: &str =
    "expected at least one peer, found an empty list; name the peers that the policy is about";
const PATTERN: &str = "self.matches('^[0-9a-z.*-]+$')";
const PATTERN_EXPECTED: &str = "expected a pattern of lower-case letters, digits, '-', '.' and '*', where '*' stands for any run of characters";

/// The rules of `FederationPolicy`.
pub(super) const FEDERATION_POLICY: &[Rule] = &[
    // Refuses an empty list: some tools write it instead of leaving the field out, which has the
    // opposite meaning. `services: []`, by which a policy denies everything, stays valid.
    rule("spec.peers", "self.size() > 0", ONE_PEER),
    rule("spec.callers", "self.size() > 0", ONE_ENTRY),
    rule("spec.services[].namespaces", "self.size() > 0", ONE_ENTRY),
    rule("spec.services[].ports", "self.size() > 0", ONE_ENTRY),
    rule(
        "spec.peers[]",
        "self.matches('^[0-9a-z]([0-9a-z-]*[0-9a-z])?([.][0-9a-z]([0-9a-z-]*[0-9a-z])?)*$')",
        "expected the name of an IstioFederation object; it is neither a trust domain nor a pattern",
    ),
    rule("spec.services[].namespaces[]", PATTERN, PATTERN_EXPECTED),
    rule("spec.callers[].namespace", PATTERN, PATTERN_EXPECTED),
    rule("spec.callers[].serviceAccount", PATTERN, PATTERN_EXPECTED),
    rule(
        "spec.services[].selector.matchLabels",
        "self.all(label, label != '')",
        "expected the names of labels, found an empty one",
    ),
    rule(
        "spec.services[].selector.matchExpressions[]",
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
        "In and NotIn need one value at least; Exists and DoesNotExist take none",
    ),
];

/// The rules of `FederatedService`.
pub(super) const FEDERATED_SERVICE: &[Rule] = &[
    rule(
        "spec.host",
        "self.matches('^[0-9a-z]([0-9a-z-]*[0-9a-z])?([.][0-9a-z]([0-9a-z-]*[0-9a-z])?)+$')",
        "expected a host name such as web.shop.global, of lower-case letters, digits, '-' and '.'",
    ),
    rule(
        "spec.ports",
        "self.size() > 0",
        "expected the ports that callers use, found none; add one",
    ),
    rule(
        "spec.ports[].name",
        "self.matches('^[0-9a-z]([0-9a-z-]*[0-9a-z])?$')",
        "expected a name such as http or tcp-sql, of lower-case letters, digits and '-', which says the protocol",
    ),
    rule(
        "spec.ports[]",
        "!has(self.healthCheck) || !self.name.matches('^([^-]*https|tls)')",
        "a TLS port cannot be checked, because its TLS ends at the workload; remove healthCheck, or name the port tcp",
    ),
    rule(
        "spec.ports[].healthCheck",
        "has(self.path) != has(self.tcp)",
        "expected exactly one of path and tcp; add or remove one",
    ),
    rule(
        "spec.ports[].healthCheck.path",
        "self.matches('^/[!-\"$-~]*$')",
        "expected a path such as /healthz, of visible ASCII characters",
    ),
    rule(
        "spec.ports[].healthCheck.interval",
        "self.matches('^([0-9]{1,4}m)?([0-9]{1,4}s)?([0-9]{1,5}ms)?$') && duration(self) >= duration('500ms') && duration(self) <= duration('60s')",
        "expected a time from 500ms to 1m, such as 2s",
    ),
    rule(
        "spec.members",
        "self.size() > 0",
        "expected the Services behind the name, found none; add this cluster's (local: {}) or those of peers",
    ),
    rule(
        "spec.members[]",
        "[has(self.local), has(self.peers), has(self.allPeers)].filter(one, one).size() == 1",
        "expected exactly one of local: {}, peers: [NAME] and allPeers: {}; add or remove one",
    ),
    rule(
        "spec.members[].peers",
        "self.size() > 0",
        "expected at least one peer, found an empty list; name the peers, or write allPeers: {} for all of them",
    ),
    rule(
        "spec.members[].peers[]",
        "self.matches('^[0-9a-z]([0-9a-z-]*[0-9a-z])?([.][0-9a-z]([0-9a-z-]*[0-9a-z])?)*$')",
        "expected the name of an IstioFederation object; it is neither a trust domain nor a pattern",
    ),
];
