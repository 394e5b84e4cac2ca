//! The caller's identity: what the listener reports about the client's certificate once the
//! handshake is finished.
//!
//! Envoy shows a filter a certificate as soon as the client has sent it: before verifying it, and
//! before the client has proved that it holds the key. Certificates are public, so until then a
//! client can present anyone's. When the handshake ends, Envoy does not call this filter, but it
//! does call a `set_filter_state` filter. That filter records the certificate's URI SANs. So one
//! value both proves that the handshake is finished and names the caller.
//!
//! Envoy joins several URI SANs with commas and escapes nothing; see [`Identity::uri_san`].
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

use super::host::{Host, Property};
use crate::host::Identity;

/// What earlier listeners write.
const FINISHED: &[u8] = b"finished";
/// What Envoy writes if there is no URI SAN.
const NONE: &[u8] = b"-";

/// Reads the identity; `None` until the handshake is finished. Until then it costs one host call.
pub(crate) fn read(host: &impl Host) -> Option<Identity> {
    let recorded = host.property(Property::PeerUriSans).filter(|recorded| !recorded.is_empty())?;
    let names =
        if recorded == FINISHED { host.property(Property::FirstUriSan) } else { Some(recorded) };
    let names = names.filter(|names| !names.is_empty() && names != NONE);
    Some(Identity { uri_san: names.map(Identity::text) })
}
