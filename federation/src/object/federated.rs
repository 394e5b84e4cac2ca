//! `FederatedService` (`fedgate.dev/v1alpha1`, namespaced): one name for the same service in several
//! clusters. The cluster that calls it decides what is behind the name; peers know nothing of it.

use super::HealthCheckSpec;
use crate::finding::{Finding, FindingReason, ObjectRef};
use crate::form::{self, FormError, Step};
use fedgate_core::{Hostname, InvalidName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The most entries of `spec.members`.
pub const MAX_MEMBER_ENTRIES: usize = 16;
/// The most entries of `spec.ports`.
pub const MAX_FEDERATED_PORTS: usize = 16;
/// The most peers that one entry of `spec.members` names.
pub const MAX_MEMBER_PEERS: usize = 64;
/// The greatest weight of a member.
pub const MAX_WEIGHT: u32 = 100;
/// The greatest number for `priority` in an entry of `spec.members`.
pub const MAX_PRIORITY: u32 = 100;

/// The spec of a `FederatedService`.
///
/// `kubectl explain` shows the comments of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedServiceSpec {
    /// The host name that callers use. It must end in the cluster's suffix for such names, and must
    /// not be in any cluster's trust domain. By default NAME.NAMESPACE.SUFFIX, for example
    /// web.shop.global.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = 240))]
    pub host: Option<String>,
    /// The ports that callers use.
    #[schemars(length(min = 1, max = MAX_FEDERATED_PORTS))]
    pub ports: Vec<FederatedPortSpec>,
    /// The Services behind the name, in order of preference. Calls go to the first members that are
    /// ready.
    #[schemars(length(min = 1, max = MAX_MEMBER_ENTRIES))]
    pub members: Vec<MemberSpec>,
}

/// A port that callers use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedPortSpec {
    /// Its name. As in a Service, the part before the first '-' says the protocol: http, grpc, tcp,
    /// tls.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its number.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// How callers find out whether the peers among its members work. By default they only see
    /// whether a peer's gateways do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_check: Option<HealthCheckSpec>,
}

/// Members with the same priority: a Service of this cluster, or that of some peers, or that of all
/// peers. Set exactly one of local, peers and allPeers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberSpec {
    /// This cluster's own Service. Write {}.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<Everything>,
    /// The Service of these peers: the names of their IstioFederation objects.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = MAX_MEMBER_PEERS), inner(length(max = 253)))]
    pub peers: Option<Vec<String>>,
    /// The Service of every peer that offers it to this cluster. Write {}. Peers that another entry
    /// names are left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub all_peers: Option<Everything>,
    /// The Service's name, if it is not that of this object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<ServiceRefSpec>,
    /// The Service's port for a port of this object, by the latter's name, if the two numbers
    /// differ: {http: 8080}.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schemars(extend("maxProperties" = MAX_FEDERATED_PORTS))]
    pub ports: BTreeMap<String, u16>,
    /// The priority of the entry's members; 0 comes first. By default one more than that of the
    /// entry before. Entries with the same number share the calls.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(range(min = 0, max = MAX_PRIORITY))]
    pub priority: Option<u32>,
    /// The share of each of the entry's members in the calls of its priority, in proportion to the
    /// weights of the others. By default 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(range(min = 1, max = MAX_WEIGHT))]
    pub weight: Option<u32>,
}

/// A selection without conditions, written `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Everything {}

/// A Service by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRefSpec {
    /// Its name; by default that of this object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// Its namespace; by default that of this object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A `FederatedService` as an adapter hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedServiceObject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The file that it comes from, in files mode.
    pub source: Option<String>,
    /// Its spec, not yet checked.
    pub spec: FederatedServiceSpec,
}

impl FederatedServiceObject {
    /// Returns the object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::federated_service(&self.namespace, &self.name).with_source(self.source.clone())
    }

    pub(crate) fn error(
        &self,
        reason: FindingReason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        Finding::error(reason, self.object(), field, message)
    }
}

impl FederatedServiceSpec {
    /// Reads the spec of an object, given as JSON. A field without a value is an error: `local:`
    /// with nothing after it would count as left out.
    ///
    /// # Errors
    /// The first field that is wrong, with its path from the object.
    pub fn of_object(object: &serde_json::Value) -> Result<Self, FormError> {
        let spec = object.get("spec").unwrap_or(&serde_json::Value::Null);
        let read = match (spec, form::empty_field(spec)) {
            (serde_json::Value::Null, _) => {
                Err(FormError::new(Vec::new(), "expected ports and members, found nothing"))
            }
            (_, Some(path)) => Err(FormError::new(path.clone(), without_value(&path))),
            (spec, None) => form::read(spec),
        };
        read.map_err(|error| error.below("spec"))
    }
}

fn without_value(path: &[Step]) -> &'static str {
    match path.last() {
        Some(Step::Field(name)) if name == "local" || name == "allPeers" => {
            "expected {}, found nothing; write {}"
        }
        _ => "expected a value, found nothing; write the value, or remove the field",
    }
}

/// The suffix of the names of `FederatedService`s. It belongs to this cluster alone: no peer can
/// offer a name that ends in it, unless the peer's trust domain does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FederatedSuffix(Cow<'static, str>);

impl FederatedSuffix {
    /// The suffix unless another is set.
    pub const DEFAULT: &'static str = "global";

    /// Validates a suffix: a host name without a dot before or after it.
    ///
    /// # Errors
    /// [`InvalidName`] if it is not a host name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        Hostname::parse(text).map(|name| Self(Cow::Owned(name.into())))
    }

    /// The suffix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if `host` ends in the suffix and has a name before it.
    pub fn owns(&self, host: &Hostname) -> bool {
        host.as_str() != self.as_str() && is_within(host.as_str(), self.as_str())
    }
}

impl Default for FederatedSuffix {
    fn default() -> Self {
        Self(Cow::Borrowed(Self::DEFAULT))
    }
}

impl std::fmt::Display for FederatedSuffix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for FederatedSuffix {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<FederatedSuffix> for String {
    fn from(suffix: FederatedSuffix) -> Self {
        suffix.0.into_owned()
    }
}

impl std::str::FromStr for FederatedSuffix {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Returns true if `name` is `domain` or ends in `.domain`.
pub(crate) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
