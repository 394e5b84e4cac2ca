//! A document, ready to be sent. Documents of peers that may see the same services share their
//! large part.

use super::signing::Signed;
use crate::keyring::Keyring;
use axum::{
    body::{Body, Bytes},
    http::HeaderValue,
};
use fedgate_federation::{
    bundle::Fingerprint,
    document::{self, ClusterUuid},
    header::holds_tag,
    knowledge::DocumentKind,
    signature::Statement,
};
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The common beginning of several documents, kept in memory once.
#[derive(Clone, Debug)]
pub(super) struct Head {
    bytes: Bytes,
    hash: Sha256,
}

impl Head {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { hash: Sha256::new_with_prefix(&bytes), bytes }
    }

    /// The document that consists of this head and `tail`.
    pub(super) fn with(&self, tail: impl Into<Bytes>) -> Document {
        let tail = tail.into();
        let hash = self.hash.clone().chain_update(&tail);
        let digest = Fingerprint::of_hash(hash.clone().finalize().into());
        Document { head: self.bytes.clone(), tail, etag: entity_tag(hash), digest, signed: None }
    }
}

/// A document: its bytes, and a strong entity tag (RFC 9110 section 8.8.3) made from their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    head: Bytes,
    tail: Bytes,
    etag: HeaderValue,
    /// SHA-256 of the bytes.
    digest: Fingerprint,
    signed: Option<Arc<Signed>>,
}

impl Document {
    /// Makes a document of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Head::new(bytes).with(Bytes::new())
    }

    /// The same document, to be signed. `audience` is the only reader that it is for.
    pub(crate) fn issued_by(
        self,
        issuer: &ClusterUuid,
        kind: DocumentKind,
        audience: Option<&ClusterUuid>,
        sequence: u64,
    ) -> Self {
        let (issuer, audience) = (issuer.clone(), audience.cloned());
        let statement = Statement { kind, issuer, audience, sequence, digest: self.digest };
        Self { signed: Some(Arc::new(Signed::new(statement))), ..self }
    }

    /// Its signature at this moment; `None` if it is not to be signed.
    pub(super) fn signature(&self, keyring: &Keyring, now: Timestamp) -> Option<HeaderValue> {
        self.signed.as_ref()?.signature(keyring, now)
    }

    /// The bytes as a response body.
    pub(super) fn body(&self) -> Body {
        Body::new(Parts([self.head.clone(), self.tail.clone()]))
    }

    #[cfg(test)]
    pub(super) fn shares_head_with(&self, other: &Self) -> bool {
        self.head.as_ptr() == other.head.as_ptr()
    }

    /// The entity tag, including its quotes.
    pub fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    /// Returns true if a client that sent this `If-None-Match` already has the document (RFC 9110
    /// section 13.1.2, weak comparison).
    pub(super) fn is_in(&self, if_none_match: &HeaderValue) -> bool {
        holds_tag(if_none_match.as_bytes(), self.etag.as_bytes())
    }
}

/// The parts still to be sent. A part that was sent is empty.
struct Parts([Bytes; 2]);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.iter_mut().find(|part| !part.is_empty()).map(std::mem::take);
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The exact size, so that the response has a Content-Length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

fn entity_tag(hash: Sha256) -> HeaderValue {
    let tag = format!("\"{}\"", document::entity_tag(hash));
    // Hexadecimal digits in quotes are always a valid header value.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn entity_tags_are_equal_only_for_equal_bytes() {
        let (one, same, other) =
            (Document::new("{}"), Document::new(b"{}".to_vec()), Document::new("{} "));
        assert_eq!(one.etag(), same.etag());
        assert_ne!(one.etag(), other.etag());
        // The known SHA-256 of `{}`.
        assert_eq!(one.etag(), "\"44136fa355b3678a1146ad16f7e8649e\"");
    }

    #[test]
    fn documents_share_their_large_part() {
        let head = Head::new("{\"a\":1");
        let (whole, parts, other) =
            (Document::new("{\"a\":1,\"b\":2}"), head.with(",\"b\":2}"), head.with("}"));
        assert_eq!(parts.etag(), whole.etag());
        assert_ne!(parts.etag(), other.etag());
        assert!(parts.shares_head_with(&other));
    }

    #[test]
    fn if_none_match_accepts_lists_weak_tags_and_a_star() {
        let document = Document::new("{}");
        let tag = document.etag().to_str().unwrap();
        for has in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag} ,\"y\""), "*".into()]
        {
            assert!(document.is_in(&sent(&has)), "{has}");
        }
        for has_not in ["", "\"\"", "44136fa355b3678a1146ad16f7e8649e", "\"44136fa355b3678a\"", ","]
        {
            assert!(!document.is_in(&sent(has_not)), "{has_not}");
        }
    }
}
