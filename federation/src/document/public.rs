use super::{ClusterUuid, DocumentError, Limits, Parsed, read_body};
use crate::bundle::{Root, roots_from_pem, roots_to_pem};
use crate::finding::{FindingReason, Findings, ObjectRef, Severity, shown};
use crate::json::{JsonError, read_object};
use crate::key::{PublicKey, PublicKeys};
use fedgate_core::TrustDomain;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Who a cluster is. Anybody may fetch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicDocument {
    /// The cluster's UUID.
    pub cluster_uuid: ClusterUuid,
    /// The key that its tokens are verified with.
    pub authn_key: PublicKey,
    /// Its roots, in order of fingerprint. Never empty.
    pub roots: Vec<Root>,
    /// What fedgate clusters add.
    pub extension: Option<PublicExtension>,
}

/// What fedgate clusters add to the public document, under the key `fedgate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicExtension {
    /// The cluster's trust domain. A reader refuses the document if its object for this peer has
    /// another one.
    pub trust_domain: TrustDomain,
    /// The cluster's second key while it rotates its keys: the next one, or the last. Its tokens and
    /// documents may be signed with it too. It is a field of fedgate's, so a DKP cluster, which
    /// expects exactly one key in `authnKeyPub`, reads the document as always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_key: Option<PublicKey>,
}

/// The key is read on its own, so that a bad one does not affect the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadExtension<'a> {
    trust_domain: TrustDomain,
    #[serde(borrow, default)]
    other_key: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(rename = "clusterUUID")]
    cluster_uuid: &'a str,
    authn_key_pub: String,
    #[serde(rename = "rootCA")]
    root_ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fedgate: Option<&'a PublicExtension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(rename = "clusterUUID", default)]
    cluster_uuid: String,
    #[serde(default)]
    authn_key_pub: String,
    #[serde(rename = "rootCA", default)]
    root_ca: String,
    #[serde(borrow, default)]
    fedgate: Option<&'a RawValue>,
}

impl PublicDocument {
    /// Parses a body as the public document of the peer whose object is `object`. A bad root is
    /// dropped with a finding.
    ///
    /// # Errors
    /// [`DocumentError`] if it is not a JSON object, is too large, or has no valid UUID, key or
    /// root. This includes the empty strings that DKP exporters publish before they are ready.
    pub fn parse(
        body: &[u8],
        object: &ObjectRef,
        limits: &Limits,
    ) -> Result<Parsed<Self>, DocumentError> {
        let read: Read<'_> = read_body(body, limits)?;
        let mut findings = Findings::new(object.clone(), limits.findings);
        let cluster_uuid = parse_uuid(&read.cluster_uuid)?;
        let authn_key = PublicKey::from_pem(&read.authn_key_pub)
            .map_err(|error| DocumentError::invalid("authnKeyPub", error.to_string()))?;
        let roots = parse_roots(&read.root_ca, limits, &mut findings)?;
        let extension = read.fedgate.and_then(|raw| parse_extension(body, raw, &mut findings));
        let document = Self { cluster_uuid, authn_key, roots, extension };
        Ok(Parsed { document, findings: findings.into_vec() })
    }

    /// Returns the keys that the cluster may sign with.
    pub fn keys(&self) -> PublicKeys {
        let other = self.extension.as_ref().and_then(|extension| extension.other_key);
        PublicKeys::new(self.authn_key, other)
    }

    /// Writes the body.
    pub fn to_json(&self) -> Vec<u8> {
        let written = Written {
            cluster_uuid: self.cluster_uuid.as_str(),
            authn_key_pub: self.authn_key.to_pem(),
            root_ca: roots_to_pem(&self.roots),
            fedgate: self.extension.as_ref(),
        };
        // Strings only, so this cannot fail.
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

fn parse_uuid(text: &str) -> Result<ClusterUuid, DocumentError> {
    let invalid =
        |error| DocumentError::invalid("clusterUUID", format!("{error}, found {:?}", shown(text)));
    ClusterUuid::parse(text).map_err(invalid)
}

fn parse_roots(
    text: &str,
    limits: &Limits,
    findings: &mut Findings,
) -> Result<Vec<Root>, DocumentError> {
    let found = roots_from_pem(text, limits.certificate_bytes);
    if found.len() > limits.roots {
        return Err(DocumentError::invalid(
            "rootCA",
            format!(
                "expected at most {} certificates, found {}; remove roots that sign nothing any more",
                limits.roots,
                found.len()
            ),
        ));
    }
    let first = found.iter().find_map(|root| root.as_ref().err()).copied();
    let mut roots = Vec::new();
    for (index, root) in found.into_iter().enumerate() {
        match root {
            Ok(root) => roots.push(root),
            Err(error) => {
                let message = format!(
                    "block {} of the peer's roots was dropped: {error}; ask its operator to remove or replace it",
                    index + 1
                );
                findings.add(Severity::Error, FindingReason::InvalidRoot, "rootCA", message);
            }
        }
    }
    roots.sort();
    roots.dedup();
    match roots.is_empty() {
        true => {
            let why = first.map_or_else(|| "found nothing".to_owned(), |error| error.to_string());
            Err(DocumentError::invalid(
                "rootCA",
                format!("expected at least one CA certificate in PEM: {why}"),
            ))
        }
        false => Ok(roots),
    }
}

fn parse_extension(
    body: &[u8],
    raw: &RawValue,
    findings: &mut Findings,
) -> Option<PublicExtension> {
    let text = raw.get().as_bytes();
    let mut refused = |field, why: String| {
        let message = format!("it was left out: {why}; ask the peer's operator to correct it");
        findings.add(Severity::Warning, FindingReason::InvalidExtension, field, message);
    };
    let read: ReadExtension<'_> = read_object(text)
        .map_err(|error: JsonError| refused("fedgate", error.within(body, text).to_string()))
        .ok()?;
    let other_key = read.other_key.filter(|raw| raw.get() != "null").and_then(|raw| {
        let pem: Result<String, _> = serde_json::from_str(raw.get());
        let key = pem.map_err(|_| "expected a text with a key in PEM".to_owned());
        let key = key.and_then(|pem| PublicKey::from_pem(&pem).map_err(|error| error.to_string()));
        key.map_err(|why| refused("fedgate.otherKey", why)).ok()
    });
    Some(PublicExtension { trust_domain: read.trust_domain, other_key })
}
