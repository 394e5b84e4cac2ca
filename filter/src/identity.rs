//! Who calls: what the listener says of the client's certificate once the handshake is finished.
//!
//! Envoy shows a filter a certificate as soon as the client has sent it: before it is verified, and before the client has
//! proved that it has the key. Certificates are no secret, so until then anybody can show anybody's. Nothing calls the filter
//! when the handshake ends, but a `set_filter_state` filter before it is called. That one writes down the certificate's URI
//! SANs, so one value says both that the handshake is proven and who it was.
//!
//! Envoy joins several URI SANs with commas and escapes nothing. No SPIFFE ID has a comma, so two names, like one name with a
//! comma in it, are no SPIFFE ID and are refused as such. A certificate with two URI SANs belongs to no SPIFFE workload
//! (X509-SVID, section 2: exactly one).
//!
//! # During an upgrade
//!
//! Listener and filter reach a gateway separately. A listener of an earlier version writes the word `finished`, so the name is read
//! from the connection, which has the first URI SAN only. That is the name by which the listener chose the root, so nobody gets
//! further than with this name alone; a second one cannot be seen. A client cannot choose this way: a certificate whose only
//! URI SAN is `finished` is judged by that, which is no SPIFFE ID. A filter of an earlier version takes any text for `finished`.

use crate::host::{Host, Property};

/// What a listener of an earlier version writes.
const FINISHED: &[u8] = b"finished";
/// What Envoy writes where there is no URI SAN.
const NONE: &[u8] = b"-";

/// A client's identity.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The certificate's URI SANs, joined by commas; `None` when there is none.
    pub(crate) uri_san: Option<String>,
}

impl Identity {
    /// Reads the identity; `None` until the handshake is finished. Costs one question until then.
    pub(crate) fn read(host: &impl Host) -> Option<Self> {
        let told = host.property(Property::PeerUriSans).filter(|told| !told.is_empty())?;
        let names = if told == FINISHED { host.property(Property::FirstUriSan) } else { Some(told) };
        let names = names.filter(|names| !names.is_empty() && names != NONE);
        // No SPIFFE ID has other characters than ASCII, so a replaced one is refused as such.
        Some(Self { uri_san: names.map(|names| String::from_utf8_lossy(&names).into_owned()) })
    }
}
