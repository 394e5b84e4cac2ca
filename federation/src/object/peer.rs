//! `IstioFederation` (`deckhouse.io/v1alpha1`): one object for each peer.

use super::endpoint::{EndpointTls, MetadataEndpoint, parse_endpoint, parse_tls};
use super::trust::{self, ACCEPT_DOCUMENT_ANNOTATION, TrustPolicy};
use super::{Named, advertise};
use crate::document::Advertised;
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use crate::form::{self, FormError, Step, no_such_field};
use crate::knowledge::AtExpiry;
use fedgate_core::{Hostname, PeerName, TrustDomain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The spec of an `IstioFederation`. The kind is not ours, so unknown fields are ignored with a
/// warning ([`Self::unknown_fields`]).
///
/// `kubectl explain` shows the comments of the fields. The lengths limit what an API server
/// accepts, and the cost of its validation rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioFederationSpec {
    /// The peer's trust domain in lower case, for example beta.example. It is also the peer's
    /// cluster domain: its Services are called NAME.NAMESPACE.svc.TRUSTDOMAIN, and all other names
    /// that it offers are refused. An object with this cluster's own trust domain is ignored, so
    /// the same objects can be applied to every cluster. cluster.local is refused.
    #[schemars(length(min = 1, max = 253))]
    pub trust_domain: String,
    /// The URL of the peer's metadata, for example https://fedgate.beta.example/metadata. It must
    /// begin with https:// and have no query and no fragment.
    #[allow(rustdoc::bare_urls, reason = "kubectl explain shows the text as it is")]
    #[schemars(length(min = 1, max = 2048))]
    pub metadata_endpoint: String,
    /// How to verify the TLS certificate of metadataEndpoint. By default, only the system's root
    /// certificates are trusted.
    #[serde(default)]
    pub metadata: MetadataSpec,
}

/// How to verify the TLS certificate of a metadata endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataSpec {
    /// CA certificates in PEM that are trusted for metadataEndpoint, in addition to the system's
    /// root certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca: Option<String>,
    /// Accepts any certificate. Then anyone who can intercept the connection can replace the
    /// peer's root certificates and keys. Ignored if ca is set.
    pub insecure_skip_verify: bool,
}

impl IstioFederationSpec {
    const FIELDS: [&str; 3] = ["trustDomain", "metadataEndpoint", "metadata"];

    /// Reads the spec of an object, given as JSON. A field without a value is an error: an empty
    /// `ca:` would mean the system's roots, not the CA that the operator had in mind.
    ///
    /// # Errors
    /// The first field that is wrong, with its path from the object.
    pub fn of_object(object: &serde_json::Value) -> Result<Self, FormError> {
        let spec = object.get("spec").unwrap_or(&serde_json::Value::Null);
        let read = match (spec, form::empty_field(spec)) {
            (serde_json::Value::Null, _) => Err(FormError::new(
                Vec::new(),
                "expected trustDomain and metadataEndpoint of the peer, found nothing",
            )),
            (_, Some(path)) => {
                Err(FormError::new(path, "expected a value, found nothing; write the value"))
            }
            (spec, None) => form::read(spec),
        };
        read.map_err(|error| error.below("spec"))
    }

    /// Returns the unknown fields, each with the field that was probably meant. They are ignored.
    pub fn unknown_fields(object: &serde_json::Value) -> Vec<FormError> {
        let below = |path: &[&str], known: &[&str]| {
            let fields = path
                .iter()
                .try_fold(object, |value, name| value.get(name))
                .and_then(|value| value.as_object());
            let unknown = fields
                .into_iter()
                .flat_map(|fields| fields.keys())
                .filter(|name| !known.contains(&name.as_str()));
            unknown.map(|name| unknown_field(path, name, known)).collect::<Vec<_>>()
        };
        let top_level = ["apiVersion", "kind", "metadata", "spec", "status"];
        let mut unknown = below(&[], &top_level);
        unknown.extend(below(&["spec"], &Self::FIELDS));
        unknown.extend(below(&["spec", "metadata"], &MetadataSpec::FIELDS));
        unknown
    }
}

fn unknown_field(path: &[&str], name: &str, known: &[&str]) -> FormError {
    let elsewhere = match (path, name) {
        ([], name) if IstioFederationSpec::FIELDS.contains(&name) => Some(format!("spec.{name}")),
        (_, name) if MetadataSpec::FIELDS.contains(&name) => Some(format!("spec.metadata.{name}")),
        _ => None,
    };
    let message = match elsewhere {
        Some(field) => format!("there is no such field; did you mean {field}?"),
        None => no_such_field(name, known),
    };
    let message = message.replacen("no such field;", "no such field, so it is not used;", 1);
    let path = path.iter().chain([&name]).map(|name| Step::Field((*name).to_owned())).collect();
    FormError::new(path, message)
}

impl MetadataSpec {
    const FIELDS: [&str; 2] = ["ca", "insecureSkipVerify"];
}

/// A peer whose object is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of its object.
    pub name: PeerName,
    /// Its trust domain and cluster domain.
    pub trust_domain: TrustDomain,
    /// The endpoint where it serves its metadata.
    pub endpoint: MetadataEndpoint,
    /// How that endpoint is verified.
    pub tls: EndpointTls,
    /// The file that its object comes from, in files mode.
    pub source: Option<String>,
    /// The ID of the document that its operator accepts without further checks; see
    /// [`ACCEPT_DOCUMENT_ANNOTATION`].
    pub accepted_document: Option<String>,
    /// What its operator says about trust in it.
    pub trust: TrustPolicy,
    /// What happens when its documents expire; `None` for the cluster's setting.
    pub at_expiry: Option<AtExpiry>,
    /// The gateway addresses that it is told; `None` for those that all peers are told.
    pub advertise: Option<Vec<Advertised>>,
}

impl Peer {
    /// Checks an object.
    ///
    /// # Errors
    /// Every field that is wrong, not only the first. There may be findings even on success.
    pub fn parse(named: &Named<IstioFederationSpec>) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let mut findings = Vec::new();
        let name = parse_name(named, &mut findings);
        let trust_domain = parse_trust_domain(named, &mut findings);
        let endpoint = parse_endpoint(named, &mut findings);
        let tls = parse_tls(named, &mut findings);
        match (name, trust_domain, endpoint, tls) {
            (Some(name), Some(trust_domain), Some(endpoint), Some(tls)) => {
                let source = named.source.clone();
                let accepted_document = parse_accepted(named, &mut findings);
                let trust = trust::parse(named, &mut findings);
                let at_expiry = trust::parse_at_expiry(named, &mut findings);
                let advertise = advertise::parse(named, &mut findings);
                let peer = Self {
                    name,
                    trust_domain,
                    endpoint,
                    tls,
                    source,
                    accepted_document,
                    trust,
                    at_expiry,
                    advertise,
                };
                Ok((peer, findings))
            }
            _ => Err(findings),
        }
    }

    /// Returns its object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::federation(self.name.as_str()).with_source(self.source.clone())
    }
}

/// Returns the peers among the objects, in order of name: those that are valid and do not describe
/// this cluster itself.
///
/// An importer polls all of them. They include peers that [`crate::federate()`] refuses later, so
/// that these can recover.
pub fn peers(
    objects: &[Named<IstioFederationSpec>],
    ours: &TrustDomain,
) -> (Vec<Peer>, Vec<Finding>) {
    let mut ordered: Vec<_> = objects.iter().collect();
    ordered.sort_by(|a, b| (&a.name, &a.source).cmp(&(&b.name, &b.source)));
    let (mut peers, mut findings, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for named in ordered {
        if !names.insert(&named.name) {
            let message = "another object has this name and is in force; remove one of the two";
            findings.push(Finding::error(
                FindingReason::DuplicateObject,
                named.object(),
                "metadata.name",
                message,
            ));
        } else if named.spec.trust_domain == ours.as_str() {
            let message = format!(
                "{ours} is this cluster's own trust domain, so this object is no peer here"
            );
            findings.push(Finding::info(
                FindingReason::ThisCluster,
                named.object(),
                "spec.trustDomain",
                message,
            ));
        } else {
            match Peer::parse(named) {
                Ok((peer, more)) => {
                    peers.push(peer);
                    findings.extend(more);
                }
                Err(more) => findings.extend(more),
            }
        }
    }
    (peers, findings)
}

/// Checks that a cluster of a federation may have this trust domain.
pub(crate) fn check_cluster_domain(
    trust_domain: &TrustDomain,
) -> Result<(), (FindingReason, &'static str)> {
    if trust_domain.as_str() == "cluster.local" {
        const WHY: &str = "cluster.local is the alias of every cluster for itself, so names under it never leave the cluster; \
                           set a cluster domain of its own";
        return Err((FindingReason::ClusterLocal, WHY));
    }
    // Services are named under it, so it has to be a host name too.
    match Hostname::parse(trust_domain.as_str()) {
        Ok(_) => Ok(()),
        Err(_) => Err((
            FindingReason::InvalidTrustDomain,
            "expected a trust domain that is a DNS name as well, such as beta.example",
        )),
    }
}

fn parse_name(named: &Named<IstioFederationSpec>, findings: &mut Vec<Finding>) -> Option<PeerName> {
    let refused = |error| {
        let message = format!(
            "expected an object name (RFC 1123), such as beta, found {:?}: {error}; rename the object",
            shown(&named.name)
        );
        Finding::error(FindingReason::InvalidName, named.object(), "metadata.name", message)
    };
    PeerName::parse(&named.name).map_err(|error| findings.push(refused(error))).ok()
}

fn parse_trust_domain(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<TrustDomain> {
    let text = &named.spec.trust_domain;
    let mut refuse = |reason, message: String| {
        findings.push(Finding::error(reason, named.object(), "spec.trustDomain", message));
    };
    let trust_domain = match TrustDomain::parse(text) {
        Ok(trust_domain) => trust_domain,
        Err(error) => {
            let message = format!(
                "expected the peer's trust domain, such as beta.example, found {:?}: {error}; correct it",
                shown(text)
            );
            refuse(FindingReason::InvalidTrustDomain, message);
            return None;
        }
    };
    match check_cluster_domain(&trust_domain) {
        Ok(()) => Some(trust_domain),
        Err((reason @ FindingReason::ClusterLocal, why)) => {
            refuse(reason, why.to_owned());
            None
        }
        Err((reason, why)) => {
            refuse(reason, format!("{why}, found {:?}; correct it", shown(text)));
            None
        }
    }
}

/// Reads the ID of a document. Anything else accepts nothing.
fn parse_accepted(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let text = named.annotations.get(ACCEPT_DOCUMENT_ANNOTATION)?.trim();
    if text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Some(text.to_owned());
    }
    let message = format!(
        "expected the 16 hexadecimal digits in the finding held_document or replayed_document, found {:?}; nothing is \
         accepted by it",
        shown(text)
    );
    let field = format!("metadata.annotations[{ACCEPT_DOCUMENT_ANNOTATION}]");
    findings.push(Finding::warning(
        FindingReason::InvalidAnnotation,
        named.object(),
        field,
        message,
    ));
    None
}
