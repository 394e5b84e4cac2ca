//! The addresses that stay reserved for hosts that are no longer imported, as a new leader finds
//! them: in the ConfigMap of their peer. Those of imported hosts are in the ServiceEntries.

use crate::sources::memory::{packed, unpacked};
use fedgate_core::Hostname;
use kube::api::DynamicObject;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The key in the ConfigMap of a peer.
pub(crate) const RESERVED_KEY: &str = "addresses.json.gz";

/// The maximum packed size in bytes. With the peer's knowledge beside it, it fits into an object.
const PACKED: usize = 192 << 10;
/// The maximum unpacked size in bytes: 65,534 of the longest names.
const UNPACKED: u64 = 20 << 20;

/// Hosts and their addresses.
pub(crate) type HostAddress = BTreeMap<Hostname, IpAddr>;

/// Packs the addresses. If they do not fit, those of the last hosts are left out: a host gets the
/// same address again anyway, unless another host has got it meanwhile.
pub(crate) fn pack(reserved: &HostAddress) -> Vec<u8> {
    let mut count = reserved.len();
    loop {
        let kept: BTreeMap<_, _> = reserved.iter().take(count).collect();
        let bytes = packed(&kept);
        if bytes.len() <= PACKED {
            return bytes;
        }
        count /= 2;
    }
}

/// Extracts the addresses from a peer's ConfigMap. Empty if there are none that can be read.
pub(crate) fn of_object(object: &DynamicObject) -> HostAddress {
    use base64::Engine;
    let text = object.data.get("binaryData").and_then(|data| data.get(RESERVED_KEY)?.as_str());
    let bytes = text.and_then(|text| base64::prelude::BASE64_STANDARD.decode(text).ok());
    bytes.and_then(|bytes| unpacked(&bytes, UNPACKED)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Namespaces;
    use crate::sinks::memory;
    use fedgate_core::PeerName;
    use serde_json::json;

    fn reserved(hosts: impl Iterator<Item = String>) -> HostAddress {
        let address = "240.96.0.7".parse().unwrap();
        hosts.map(|host| (Hostname::parse(&host).unwrap(), address)).collect()
    }

    fn stored(reserved: &HostAddress) -> DynamicObject {
        let (namespaces, beta) = (Namespaces::all_in("x"), PeerName::parse("beta").unwrap());
        serde_json::from_value(memory::peer(&namespaces, &beta, b"", reserved).body).unwrap()
    }

    #[test]
    fn addresses_are_read_back_from_the_object_of_their_peer() {
        let all = reserved((0..3).map(|n| format!("web-{n}.shop.svc.beta.example")));
        assert_eq!(of_object(&stored(&all)), all);
        let none = stored(&HostAddress::new());
        assert_eq!(none.data["binaryData"].get(RESERVED_KEY), None);
        assert!(of_object(&none).is_empty());
        let mut broken = none;
        broken.data["binaryData"][RESERVED_KEY] = json!("AAAA");
        assert!(of_object(&broken).is_empty());
    }

    #[test]
    fn what_is_stored_is_bounded() {
        // Names that cannot be compressed.
        let name = |_| (0..200).map(|_| fastrand::lowercase()).collect::<String>();
        let label = |n| name(n)[..60].to_owned();
        let host = |n| format!("{}.{}.svc.beta.example", label(n), label(n));
        let many = reserved((0..4096).map(host));
        let bytes = pack(&many);
        assert!(bytes.len() <= PACKED && bytes.len() > PACKED / 4, "{}", bytes.len());
        let kept = of_object(&stored(&many));
        assert!(kept.len() >= 1024 && kept.iter().all(|(host, ip)| many[host] == *ip));
    }
}
