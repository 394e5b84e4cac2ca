//! Who calls: what the proxy shows of the client's certificate.

use crate::host::{Host, Property};
use crate::leaf;
use fedgate_core::{Decision, Outcome, Reason};

/// A client's identity.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The certificate's first URI SAN, if it has one.
    pub(crate) uri_san: Option<String>,
    /// The certificate has not exactly one URI SAN, or cannot be walked to find out.
    ambiguous: bool,
}

impl Identity {
    /// Reads the identity. Must be called after the handshake only: what is to be seen during it proves nothing.
    pub(crate) fn read(host: &impl Host) -> Self {
        let Some(uri_san) = host.property(Property::UriSan).filter(|uri| !uri.is_empty()) else {
            return Self::default();
        };
        // A proxy that doesn't show the certificate leaves the first URI SAN to judge by.
        let certificate = host.property(Property::Certificate).filter(|certificate| !certificate.is_empty());
        let ambiguous = certificate.is_some_and(|certificate| leaf::uri_names(&certificate) != Ok(1));
        // No SPIFFE ID has other characters than ASCII, so a replaced one is refused as such.
        Self { uri_san: Some(String::from_utf8_lossy(&uri_san).into_owned()), ambiguous }
    }

    /// Refuses what was judged by the first of several names.
    pub(crate) fn overrule<'t>(&self, decision: Decision<'t>) -> Decision<'t> {
        match self.ambiguous {
            true => Decision { outcome: Outcome::Refused, reason: Reason::BadIdentity, peer: None },
            false => decision,
        }
    }
}

/// Whether the handshake is finished, as far as that can be known without a byte of data.
///
/// The proxy shows a certificate as soon as the client has sent it: before it is verified, and before the client has
/// proved that it has the key. Certificates are no secret, so until then anybody can show anybody's.
///
/// A listener says it outright when a `set_filter_state` filter before this one sets `fedgate.handshake` in
/// `on_downstream_tls_handshake` (Envoy 1.37 and later). Otherwise only a verified certificate in TLS 1.3 counts: there
/// Envoy verifies the certificate when the proof has arrived and checks both in one step. In TLS 1.2 it verifies first.
pub(crate) fn is_proven(host: &impl Host) -> bool {
    let flag = |property| host.property(property).is_some_and(|value| value.first() == Some(&1));
    // Until then a look costs one question.
    flag(Property::CertificatePresented)
        && (host.property(Property::HandshakeFinished).is_some_and(|value| !value.is_empty())
            || flag(Property::CertificateVerified)
                && host.property(Property::TlsVersion).is_some_and(|version| version == b"TLSv1.3"))
}
