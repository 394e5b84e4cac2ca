//! What the exporter serves: ready-made bytes, built when the federation changes and not when somebody asks.

use axum::{body::Bytes, http::HeaderValue};
use sha2::{Digest, Sha256};

/// Everything that is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// What everybody may read; `None` until this cluster has a root and a key.
    pub public: Option<Document>,
    /// This cluster's SPIFFE bundle; `None` until there is a root.
    pub bundle: Option<Document>,
}

/// One document: its bytes and its strong entity tag (RFC 9110 section 8.8.3), which is a hash of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// A document of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let etag = entity_tag(&bytes);
        Self { bytes, etag }
    }

    /// The body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entity tag, quotes included.
    pub fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    /// Whether a client that sent this `If-None-Match` has the document already (RFC 9110 section 13.1.2, weak comparison).
    pub(super) fn is_in(&self, if_none_match: &HeaderValue) -> bool {
        let tags = if_none_match.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag)).any(|tag| tag == b"*" || tag == self.etag.as_bytes())
    }
}

fn entity_tag(bytes: &[u8]) -> HeaderValue {
    use std::fmt::Write;
    let mut tag = String::from('"');
    for byte in &Sha256::digest(bytes)[..16] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    // Hexadecimal digits in quotes are a valid header value.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn equal_bytes_have_equal_tags_and_others_dont() {
        let (one, same, other) = (Document::new("{}"), Document::new(b"{}".to_vec()), Document::new("{} "));
        assert_eq!(one.etag(), same.etag());
        assert_ne!(one.etag(), other.etag());
        // sha256("{}") is known.
        assert_eq!(one.etag(), "\"44136fa355b3678a1146ad16f7e8649e\"");
    }

    #[test]
    fn if_none_match_is_a_list_with_weak_tags_and_a_star() {
        let document = Document::new("{}");
        let tag = document.etag().to_str().unwrap();
        for has in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag} ,\"y\""), "*".into()] {
            assert!(document.is_in(&sent(&has)), "{has}");
        }
        for has_not in ["", "\"\"", "44136fa355b3678a1146ad16f7e8649e", "\"44136fa355b3678a\"", ","] {
            assert!(!document.is_in(&sent(has_not)), "{has_not}");
        }
    }
}
