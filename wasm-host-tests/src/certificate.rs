//! What a client presents in its handshake.

use std::rc::Rc;

/// A client's certificate as Envoy shows it to a filter: its URI SANs. The handshake has to verify
/// the signature; a filter never sees the key, the chain or the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Rc<[String]>);

impl Certificate {
    /// A certificate with these URI SANs, in this order.
    pub fn new(uri_sans: &[&str]) -> Self {
        Self(uri_sans.iter().map(|uri| (*uri).to_owned()).collect())
    }

    /// The property `connection.uri_san_peer_certificate`: only the first URI SAN, however many
    /// there are.
    pub(crate) fn first_uri_san(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Envoy's `%DOWNSTREAM_PEER_URI_SAN%`: nothing is escaped, and `-` stands for no URI SAN.
    pub(crate) fn joined_uri_sans(&self) -> String {
        let names = self.0.join(",");
        if names.is_empty() { "-".to_owned() } else { names }
    }
}
