//! The files with the names of imports and of `FederatedService`s: lines of `/etc/hosts`, and a zone
//! for each peer and for the federated names.

use fedgate_core::Hostname;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The folder of the zones.
pub(crate) const ZONES: &str = "zones";

/// The first line of each file, after the sign of a comment.
const NOTE: &str = "Imports of this cluster. fedgate writes this file; do not change it.";

/// How long an answer may be kept, in seconds.
const TTL: u32 = 5;

/// All names with their addresses.
pub(crate) fn hosts(addresses: &BTreeMap<Hostname, IpAddr>) -> String {
    let mut out = format!("# {NOTE}\n");
    for (host, address) in addresses {
        let _ = writeln!(out, "{address} {host}");
    }
    out
}

/// A zone with the names that it `owns`, and its file. A name server that has the zone knows which names do not
/// exist; lines of `/etc/hosts` cannot say that.
pub(crate) fn zone(
    zone: &str,
    addresses: &BTreeMap<Hostname, IpAddr>,
    owns: impl Fn(&Hostname) -> bool,
) -> (PathBuf, String) {
    let mut records = String::new();
    for (host, address) in addresses.iter().filter(|(host, _)| owns(host)) {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let _ = writeln!(records, "{host}. IN {kind} {address}");
    }
    // A name server reads a changed file only if its serial differs too.
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(&records));
    let serial = u32::from_be_bytes([a, b, c, d]);
    let text = format!(
        "; {NOTE}\n$TTL {TTL}\n{zone}. IN SOA localhost. hostmaster.{zone}. {serial} 60 10 86400 {TTL}\n\
         {zone}. IN NS localhost.\n{records}"
    );
    (Path::new(ZONES).join(format!("db.{zone}")), text)
}

/// Returns true if we wrote this zone.
pub(crate) fn is_ours(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|text| text.starts_with(format!("; {NOTE}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_core::TrustDomain;

    #[test]
    fn each_peer_has_a_zone_with_its_own_names() {
        let host = |host: &str| Hostname::parse(host).unwrap();
        let addresses = BTreeMap::from([
            (host("web.shop.svc.beta.example"), "127.96.0.1".parse().unwrap()),
            (host("api.shop.svc.gamma.example"), "127.96.0.2".parse().unwrap()),
        ]);
        let beta = |addresses: &BTreeMap<_, _>| {
            let domain = TrustDomain::parse("beta.example").unwrap();
            zone("svc.beta.example", addresses, |host| domain.owns(host))
        };
        let (file, text) = beta(&addresses);
        assert_eq!(file, Path::new("zones/db.svc.beta.example"));
        assert!(text.contains("\nweb.shop.svc.beta.example. IN A 127.96.0.1\n"), "{text}");
        assert!(!text.contains("gamma"), "{text}");
        let (_, empty) = beta(&BTreeMap::new());
        let serial = |text: &str| text.lines().nth(2).unwrap().to_owned();
        assert_ne!(serial(&text), serial(&empty), "it is read again");
        assert!(hosts(&addresses).ends_with("\n127.96.0.1 web.shop.svc.beta.example\n"));
    }
}
