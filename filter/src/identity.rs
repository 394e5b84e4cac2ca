//! The caller's identity: what the listener reports about the client's certificate once the
//! handshake is finished.
//!
//! Envoy shows a filter a certificate as soon as the client has sent it: before verifying it, and
//! before the client has proved that it holds the key. Certificates are public, so until then a
//! client can present anyone's. When the handshake ends, Envoy does not call this filter, but it
//! does call a `set_filter_state` filter. That filter records the certificate's URI SANs. So one
//! value both proves that the handshake is finished and names the caller.
//!
//! Envoy joins several URI SANs with commas and escapes nothing. A SPIFFE ID contains no comma. So
//! two names, or one name with a comma in it, do not form a SPIFFE ID and are refused. A
//! certificate with two URI SANs belongs to no SPIFFE workload (X509-SVID, section 2: exactly one).
//!
//! # During an upgrade
//!
//! Listener and filter reach a gateway separately. An earlier listener writes only the word
//! `finished`, so the name is read from the connection, which has only the first URI SAN. The
//! listener chose the root by that name, so a caller gets no further than with this name alone. A
//! second name goes unnoticed.
//!
//! A client cannot trigger this case. A certificate whose only URI SAN is `finished` is judged by
//! it, and it is not a SPIFFE ID. An earlier filter takes any text to mean `finished`.

use crate::host::{Host, Property};

/// What earlier listeners write.
const FINISHED: &[u8] = b"finished";
/// What Envoy writes if there is no URI SAN.
const NONE: &[u8] = b"-";

/// A client's identity.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The certificate's URI SANs, joined by commas; `None` if there are none.
    pub(crate) uri_san: Option<String>,
}

impl Identity {
    /// Reads the identity; `None` until the handshake is finished. Until then it costs one host
    /// call.
    pub(crate) fn read(host: &impl Host) -> Option<Self> {
        let recorded =
            host.property(Property::PeerUriSans).filter(|recorded| !recorded.is_empty())?;
        let names = if recorded == FINISHED {
            host.property(Property::FirstUriSan)
        } else {
            Some(recorded)
        };
        let names = names.filter(|names| !names.is_empty() && names != NONE);
        // A SPIFFE ID is ASCII only, so a name with a replacement character is refused.
        Some(Self { uri_san: names.map(|names| String::from_utf8_lossy(&names).into_owned()) })
    }
}
