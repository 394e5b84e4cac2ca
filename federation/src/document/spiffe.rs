use super::{DocumentError, Limits, read_body};
use crate::bundle::Root;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as SubjectKey;

/// How often a reader should fetch it again, in seconds (SPIFFE Trust Domain and Bundle, section
/// 4.1.2).
const REFRESH_HINT: u64 = 60;

/// This cluster's roots as a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4), for readers
/// that know SPIFFE but not fedgate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeBundle {
    /// Grows with each change.
    pub sequence: u64,
    /// The roots.
    pub roots: Vec<Root>,
}

#[derive(Serialize)]
struct Written {
    spiffe_sequence: u64,
    spiffe_refresh_hint: u64,
    keys: Vec<WrittenKey>,
}

/// A JSON Web Key (RFC 7517) with its certificate. It also contains the key itself, which JOSE
/// libraries require.
#[derive(Serialize)]
struct WrittenKey {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    x5c: [String; 1],
    #[serde(flatten)]
    key: Option<KeyParameters>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum KeyParameters {
    Rsa { n: String, e: String },
    Ec { crv: &'static str, x: String, y: String },
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    spiffe_sequence: u64,
    keys: Vec<ReadKey>,
}

#[derive(Deserialize)]
struct ReadKey {
    #[serde(rename = "use", default)]
    usage: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl SpiffeBundle {
    /// Parses a body as a SPIFFE bundle. Keys with a use other than `x509-svid` are ignored.
    ///
    /// # Errors
    /// [`DocumentError`] if it is not a bundle, exceeds a limit, or has no valid root.
    pub fn parse(body: &[u8], limits: &Limits) -> Result<Self, DocumentError> {
        let read: Read = read_body(body, limits)?;
        if read.keys.len() > limits.roots {
            return Err(DocumentError::too_many("keys", read.keys.len(), limits.roots));
        }
        let certificates =
            read.keys.iter().filter(|key| key.usage == "x509-svid").flat_map(|key| key.x5c.first());
        let der = certificates.filter_map(|text| BASE64_STANDARD.decode(text).ok());
        let mut roots: Vec<_> = der
            .filter(|der| der.len() <= limits.certificate_bytes)
            .filter_map(|der| Root::from_der(&der).ok())
            .collect();
        roots.sort();
        roots.dedup();
        match roots.is_empty() {
            true => Err(DocumentError::invalid(
                "keys",
                "expected a CA certificate for x509-svid at least",
            )),
            false => Ok(Self { sequence: read.spiffe_sequence, roots }),
        }
    }

    /// Writes the body.
    pub fn to_json(&self) -> Vec<u8> {
        let keys = self.roots.iter().map(written_key).collect();
        let written =
            Written { spiffe_sequence: self.sequence, spiffe_refresh_hint: REFRESH_HINT, keys };
        // Strings and numbers only, so this cannot fail.
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

fn written_key(root: &Root) -> WrittenKey {
    WrittenKey {
        usage: "x509-svid",
        kty: root.key_type().kty(),
        x5c: [BASE64_STANDARD.encode(root.der())],
        key: parameters(root),
    }
}

/// Returns the key's numbers (RFC 7518, sections 6.2.1 and 6.3.1).
fn parameters(root: &Root) -> Option<KeyParameters> {
    let (_, certificate) = X509Certificate::from_der(root.der()).ok()?;
    match certificate.public_key().parsed().ok()? {
        SubjectKey::RSA(rsa) => {
            Some(KeyParameters::Rsa { n: integer(rsa.modulus), e: integer(rsa.exponent) })
        }
        SubjectKey::EC(point) => {
            let (crv, length) = match point.data().len() {
                65 => ("P-256", 32),
                97 => ("P-384", 48),
                133 => ("P-521", 66),
                _ => return None,
            };
            let (x, y) = point.data().get(1..)?.split_at_checked(length)?;
            Some(KeyParameters::Ec {
                crv,
                x: BASE64_URL_SAFE_NO_PAD.encode(x),
                y: BASE64_URL_SAFE_NO_PAD.encode(y),
            })
        }
        _ => None,
    }
}

/// Encodes a positive DER integer without its leading zeros.
fn integer(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    BASE64_URL_SAFE_NO_PAD.encode(bytes.get(start..).unwrap_or_default())
}
