//! What a client shows in its handshake.

use std::rc::Rc;

/// A client's certificate as far as Envoy shows it to a filter: its URI SANs. Whether its signature is good was the handshake's
/// business; a filter never sees the key, the chain or the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Rc<[String]>);

impl Certificate {
    /// A certificate with these URI SANs, in this order.
    pub fn new(uri_sans: &[&str]) -> Self {
        Self(uri_sans.iter().map(|uri| (*uri).to_owned()).collect())
    }

    /// Property `connection.uri_san_peer_certificate`: the first one only, however many there are.
    pub(crate) fn first_uri_san(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Envoy's `%DOWNSTREAM_PEER_URI_SAN%`: nothing is escaped, and `-` stands for nothing.
    pub(crate) fn joined_uri_sans(&self) -> String {
        let names = self.0.join(",");
        if names.is_empty() { "-".to_owned() } else { names }
    }
}
