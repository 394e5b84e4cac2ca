//! Free ports on the loopback interface, for programs that must be told theirs.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

/// Below the range that kernels take the ports of outgoing connections from (Linux: 32768 and up), so that no client
/// gets there first.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A loopback address with a port that nobody listens at, and that is given out once.
///
/// # Errors
/// When none is found.
pub fn free() -> Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let Ok(mut given) = GIVEN.lock() else { bail!("the list of ports in use is broken") };
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(RANGE)));
        if !given.contains(&address.port()) && TcpListener::bind(address).is_ok() {
            given.insert(address.port());
            return Ok(address);
        }
    }
    bail!("no free port found between {} and {}", RANGE.start, RANGE.end)
}
