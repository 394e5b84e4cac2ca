//! The documents that clusters exchange (peer protocol, section 2): the public and the private
//! document, and the SPIFFE bundle.
//!
//! A document is untrusted bytes until `parse` has accepted it. Parsing limits everything that the
//! sender chooses, ignores unknown keys, and drops a bad row with a finding instead of refusing the
//! whole document. The result consists of validated types only. Writing produces what DKP clusters
//! read, byte for byte the same for the same content.
//!
//! fedgate clusters add one key, `fedgate`, which DKP ignores; see [`PublicExtension`] and
//! [`PrivateExtension`].

mod advertised;
mod cluster_uuid;
mod gateway;
mod locality;
mod network;
mod private;
mod public;
mod spiffe;
mod trust_id;

pub use advertised::{Advertised, InvalidAdvertised};
pub use cluster_uuid::{ClusterUuid, InvalidUuid};
pub(crate) use gateway::is_host;
pub use gateway::{GatewayAddress, GatewayHost, InvalidGateway, WorkloadIdentity};
pub use locality::{InvalidLocality, Locality};
pub use network::Network;
pub(crate) use private::is_port_name;
pub use private::{
    LocatedGateway, Outcome, PrivateDocument, PrivateExtension, PublicService, PublicServicePort,
    View,
};
pub use public::{PublicDocument, PublicExtension};
pub use spiffe::SpiffeBundle;
pub use trust_id::{InvalidTrustId, TrustId};

use crate::finding::Finding;
use crate::json::read_object;
use fedgate_core::Hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Path of the public document, relative to the metadata endpoint.
pub const PUBLIC_PATH: &str = "/public/public.json";
/// Path of the SPIFFE bundle, relative to the metadata endpoint.
pub const SPIFFE_BUNDLE_PATH: &str = "/public/spiffe-bundle-endpoint";
/// Path of the private document, relative to the metadata endpoint.
pub const PRIVATE_PATH: &str = "/private/federation.json";

/// Returns the entity tag (RFC 9110, section 8.8.3) that a body with this hash is served with, without
/// its quotes: half of the hash in hexadecimal.
pub fn entity_tag(hash: Sha256) -> String {
    let hash = hash.finalize();
    Hex(hash.get(..16).unwrap_or(&hash)).to_string()
}

/// How much of a peer's document is accepted. What exceeds a limit is refused, never truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a body (default 8 MiB, enough for 20,000 services with long names).
    pub body_bytes: usize,
    /// Rows of `publicServices` (default 20,000).
    pub services: usize,
    /// Ports of one service (default 64).
    pub ports_per_service: usize,
    /// Rows of `ingressGateways` (default 64).
    pub gateways: usize,
    /// Certificates in `rootCA` (default 16).
    pub roots: usize,
    /// Bytes of one certificate (default 16 KiB).
    pub certificate_bytes: usize,
    /// Gateway identities, and CIDRs of each kind (default 64).
    pub extension_rows: usize,
    /// Findings kept for one document (default 20); the rest are counted.
    pub findings: usize,
}

impl Limits {
    /// What fedgate accepts from a peer. It reports whatever it publishes itself beyond these
    /// limits.
    pub const DEFAULT: Self = Self {
        body_bytes: 8 << 20,
        services: 20_000,
        ports_per_service: 64,
        gateways: 64,
        roots: 16,
        certificate_bytes: 16 << 10,
        extension_rows: 64,
        findings: 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An accepted document, and what was dropped from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The document.
    pub document: T,
    /// Findings about dropped rows and the like, at most [`Limits::findings`].
    pub findings: Vec<Finding>,
}

/// Why a document is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It has more bytes than are read.
    #[error("the document: expected at most {1} bytes, found {0}")]
    TooLarge(usize, usize),
    /// It is not a JSON object of the expected form.
    #[error("the document: {0}")]
    Json(String),
    /// It is JSON but has an invalid value.
    #[error("{field}: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What was expected, and what was found.
        why: String,
    },
}

impl DocumentError {
    fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }

    fn too_many(field: &'static str, count: usize, most: usize) -> Self {
        Self::invalid(field, format!("expected at most {most} rows, found {count}"))
    }
}

fn read_body<'a, T: Deserialize<'a>>(body: &'a [u8], limits: &Limits) -> Result<T, DocumentError> {
    match body.len() <= limits.body_bytes {
        true => read_object(body).map_err(|error| DocumentError::Json(error.to_string())),
        false => Err(DocumentError::TooLarge(body.len(), limits.body_bytes)),
    }
}
