//! What clusters tell each other (peer protocol, section 2): the public and the private document and the SPIFFE bundle.
//!
//! A document is a stranger's bytes until `parse` has taken them. Parsing has limits for everything that a stranger chooses, is
//! indifferent to unknown keys, and drops a bad row with a finding in place of the whole document. What comes out is made of
//! validated types only. Writing gives what DKP clusters read, byte for byte the same for the same content.
//!
//! Clusters of ours add one key, `fedgate`, that DKP passes over; see [`PublicExtension`] and [`PrivateExtension`].

mod cluster_uuid;
mod gateway;
mod network;
mod private;
mod public;
mod spiffe;

pub use cluster_uuid::{ClusterUuid, InvalidUuid};
pub use gateway::{GatewayAddress, GatewayHost, InvalidGateway, WorkloadIdentity, is_host};
pub use network::Network;
pub(crate) use private::is_port_name;
pub use private::{PrivateDocument, PrivateExtension, PublicService, PublicServicePort};
pub use public::{PublicDocument, PublicExtension};
pub use spiffe::SpiffeBundle;

use crate::finding::Finding;
use crate::json::read_object;
use serde::{Deserialize, Serialize};

/// Path of the public document, after the metadata endpoint.
pub const PUBLIC_PATH: &str = "/public/public.json";
/// Path of the SPIFFE bundle, after the metadata endpoint.
pub const SPIFFE_BUNDLE_PATH: &str = "/public/spiffe-bundle-endpoint";
/// Path of the private document, after the metadata endpoint.
pub const PRIVATE_PATH: &str = "/private/federation.json";

/// How much of a stranger's document is taken. What exceeds a limit is refused, never cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a body (default 8 MiB, which is 20,000 services with long names).
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
    /// Findings kept of one document (default 20); the rest is counted.
    pub findings: usize,
}

impl Limits {
    /// What fedgate takes of a peer, and so the most that it publishes without saying so.
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

/// A document that was taken, and what was dropped from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The document.
    pub document: T,
    /// Rows that were dropped, and other things worth knowing; bounded by [`Limits::findings`].
    pub findings: Vec<Finding>,
}

/// Why a document is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than are read.
    #[error("the document: expected at most {1} bytes, found {0}")]
    TooLarge(usize, usize),
    /// It is no JSON object of the expected form.
    #[error("the document: {0}")]
    Json(String),
    /// It is JSON and says something that cannot be.
    #[error("{field}: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What was expected, and found.
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
