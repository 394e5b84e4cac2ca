//! Validated names. A value of one of these types proves that its text was checked, so no other
//! code checks it again.

mod hostname;
mod mesh_host;
mod peer_name;
mod service_name;
mod sni;
mod spiffe_id;
mod trust_domain;

pub use hostname::Hostname;
pub(crate) use hostname::check_labels;
pub use mesh_host::MeshHost;
pub use peer_name::PeerName;
pub use service_name::{ServiceName, ServicePort};
pub use sni::{Sni, SniError};
pub use spiffe_id::SpiffeId;
pub use trust_domain::TrustDomain;

/// Why a text is not a valid name. The error leaves the text out: it is untrusted and may be long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text, or a part that must not be empty, is empty.
    #[error("it is empty, or has an empty part")]
    Empty,
    /// The text is longer than the name's standard allows.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The text has a byte outside the name's alphabet.
    #[error("it contains a character other than {0}")]
    Character(&'static str),
    /// The server name that clients would send is longer than TLS allows
    /// ([`ServiceName::MAX_SNI_BYTES`]).
    #[error("its server name outbound_.PORT_._.HOST has {0} bytes, and TLS allows at most {max}", max = ServiceName::MAX_SNI_BYTES)]
    ServerName(usize),
    /// The text does not have the required form.
    #[error("it must be {0}")]
    Form(&'static str),
}

/// Implements what all owned names share: access to the text, `Display`, and parsing through
/// `FromStr`, `TryFrom` and serde. Their text is shared by all clones: a controller may hold
/// hundreds of thousands of services, and several copies of each name.
macro_rules! owned_name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}
pub(crate) use owned_name;
