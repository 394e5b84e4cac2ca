//! Reads single values of `fedgate.yaml`.

use crate::yaml::{self, Node, explained, parsed};
use fedgate_core::{Options, PeerName, ServicePort};
use fedgate_envoy::AddressRange;
use fedgate_federation::document::Advertised;
use fedgate_federation::knowledge::AtExpiry;
use ipnet::IpNet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn path(dir: &Path) -> impl Fn(&Node) -> Result<PathBuf, String> {
    let dir = dir.to_owned();
    move |node| yaml::text(node).map(|text| dir.join(text)).map_err(|_| "a path".to_owned())
}

pub(super) fn address(node: &Node) -> Result<SocketAddr, String> {
    parsed("an address such as 127.0.0.1:15443 or [::1]:15443")(node)
}

pub(super) fn loopback_address(node: &Node) -> Result<SocketAddr, String> {
    let expected = "a loopback address such as 127.0.0.1:0, because it has no authentication";
    address(node)
        .ok()
        .filter(|address| address.ip().is_loopback())
        .ok_or_else(|| expected.to_owned())
}

pub(super) fn advertised(node: &Node) -> Result<Advertised, String> {
    explained(Advertised::parse, "a host and port such as gw.example:15443")(node)
}

pub(super) fn peer(name: &str) -> Result<PeerName, String> {
    PeerName::parse(name).map_err(|_| "the name of an IstioFederation, such as beta".to_owned())
}

pub(super) fn at_expiry_word(node: &Node) -> Result<AtExpiry, String> {
    let read = |text: String| AtExpiry::parse(&text);
    yaml::text(node).ok().and_then(read).ok_or_else(|| "Keep, Drain or Drop".to_owned())
}

/// A time, or `never`.
pub(super) fn idle_timeout(node: &Node) -> Result<Duration, String> {
    const SECOND: Duration = Duration::from_secs(1);
    match yaml::text(node).as_deref() {
        Ok("never") => Ok(Duration::ZERO),
        _ => yaml::duration(SECOND, 30 * 24 * 3600 * SECOND)(node)
            .map_err(|expected| format!("{expected}, or never")),
    }
}

pub(super) fn open_files(node: &Node) -> Result<u64, String> {
    let expected = "a number of open files of at least 64, such as 65536";
    whole_number(node).filter(|count| *count >= 64).ok_or_else(|| expected.to_owned())
}

/// A number, with or without quotes.
fn whole_number(node: &Node) -> Option<u64> {
    node.to_json().as_u64().or_else(|| yaml::text(node).ok()?.parse().ok())
}

/// Loopback addresses are local to every Linux machine, except that 127.0.0.0/16 has those that
/// programs use.
pub(super) fn addresses(node: &Node) -> Result<AddressRange, String> {
    let expected = "a range of at least 254 loopback addresses (/24 or shorter) outside of 127.0.0.0/16, such as 127.96.0.0/16";
    let range: AddressRange = parsed(expected)(node)?;
    let usual: IpNet = "127.0.0.0/16".parse().map_err(|_| expected)?;
    match range.is_loopback() && !range.overlaps(&usual) {
        true => Ok(range),
        false => Err(expected.to_owned()),
    }
}

pub(super) fn named_callers(node: &Node) -> Result<u32, String> {
    let expected = "a number from 0 to 1000";
    whole_number(node)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count <= Options::MOST_NAMED_CALLERS)
        .ok_or_else(|| expected.to_owned())
}

pub(super) fn ports(node: &Node) -> Result<RangeInclusive<u16>, String> {
    let read = |text: String| {
        let (first, last) = text.split_once('-')?;
        let range = ServicePort::parse(first).ok()?.get()..=ServicePort::parse(last).ok()?.get();
        (!range.is_empty()).then_some(range)
    };
    yaml::text(node)
        .ok()
        .and_then(read)
        .ok_or_else(|| "a range of ports such as 15100-15999".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use std::path::Path;

    fn parse(gateway: &str) -> Result<Settings, String> {
        let text = format!(
            "trustDomain: alpha.example\n\
             gateway: {{advertise: ['192.0.2.1:15443'], {gateway}}}\n\
             identity: {{certificateChain: a, privateKey: b, roots: c}}\nmetadata: {{plain: true}}\n"
        );
        Settings::parse(Path::new("/tmp"), &text).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_number_needs_no_quotes() {
        for quote in ["", "'"] {
            let gateway =
                parse(&format!("openFiles: {quote}65536{quote}, namedCallers: {quote}7{quote}"))
                    .unwrap()
                    .gateway;
            assert_eq!((gateway.open_files, gateway.named_callers), (Some(65_536), 7));
        }
        for wrong in
            ["openFiles: 63", "namedCallers: 1001", "namedCallers: -1", "namedCallers: 1.5"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let native = parse("namedCallers: 1, filter: native").unwrap_err();
        assert!(native.contains("the native filter cannot count callers"), "{native}");
    }
}
