//! What is measured.

use crate::client::Fate;
use crate::world::{Call, World};
use rustls::SupportedProtocolVersion;

/// Something that clients do again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new connection with a full TLS 1.3 handshake, one request and its answer.
    Connection,
    /// The same with TLS 1.2.
    Tls12,
    /// The same as the first, in a world whose leaves have RSA-2048 keys.
    Rsa,
    /// A new connection, refused for its server name.
    Unknown,
    /// A new connection, refused for its identity.
    NotGranted,
    /// A small request on an open connection, and its answer.
    Request,
    /// 64 KiB on an open connection, there and back.
    Bulk,
}

impl Operation {
    /// What is measured at every size of the table.
    pub(crate) const AT_EVERY_SIZE: [Self; 3] = [Self::Connection, Self::Unknown, Self::NotGranted];
    /// What does not depend on the size of the table.
    pub(crate) const AT_ONE_SIZE: [Self; 3] = [Self::Tls12, Self::Request, Self::Bulk];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connection => "new connection",
            Self::Tls12 => "new connection, TLS 1.2",
            Self::Rsa => "new connection, RSA-2048",
            Self::Unknown => "refused for its server name",
            Self::NotGranted => "refused for its identity",
            Self::Request => "request of 128 bytes",
            Self::Bulk => "64 KiB there and back",
        }
    }

    pub(crate) fn calls(self, world: &World) -> &[Call] {
        match self {
            Self::Unknown => &world.unknown,
            Self::NotGranted => &world.not_granted,
            _ => &world.granted,
        }
    }

    pub(crate) fn fate(self) -> Fate {
        match self {
            Self::Unknown => Fate::RefusedEarly,
            Self::NotGranted => Fate::RefusedLate,
            _ => Fate::Granted,
        }
    }

    pub(crate) fn version(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        }
    }

    /// The bytes of a request, if it is one on an open connection.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Self::Request => Some(128),
            Self::Bulk => Some(64 * 1024),
            _ => None,
        }
    }

    /// How many operations take about as long as one new connection.
    pub(crate) fn per_connection(self) -> usize {
        match self {
            Self::Request => 10,
            Self::Bulk => 2,
            _ => 1,
        }
    }

    /// Whether it is measured in this round. New connections always are, because their ratio
    /// matters most. The others are in the warm-up and in half of the rounds: pairs of neighbours,
    /// so that both directions come equally often.
    pub(crate) fn is_in(self, round: usize) -> bool {
        let is_always = matches!(self, Self::Connection | Self::Rsa);
        is_always || round == 0 || matches!(round % 4, 1 | 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gateways take turns forwards in even rounds, and backwards in odd ones.
    #[test]
    fn both_directions_come_equally_often() {
        for operation in [Operation::Connection, Operation::Unknown, Operation::Bulk] {
            assert!(operation.is_in(0), "{operation:?} has no warm-up");
            let rounds = (1..=20).filter(|&round| operation.is_in(round));
            let (odd, even): (Vec<_>, Vec<_>) = rounds.partition(|round| round % 2 == 1);
            assert_eq!(odd.len(), even.len(), "{operation:?}");
            assert!(odd.len() >= 5, "{operation:?}: {odd:?}");
        }
    }
}
