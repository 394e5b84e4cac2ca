//! Free ports on the loopback interface, for programs whose port must be known beforehand.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Range, RangeInclusive};
use std::sync::Mutex;

/// Where single ports come from. Both ranges are below the one for outgoing connections (Linux:
/// 32768 and up), so that no client takes such a port first.
const SINGLE: Range<u16> = 10_000..14_000;
/// Where ranges of ports come from. A program may use its range long after it has started, and
/// must not take a single port then.
const RANGES: Range<u16> = 14_000..32_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback address with a free port. No port is returned twice.
///
/// # Errors
/// When none is found.
pub fn free() -> Result<SocketAddr> {
    Ok(loopback(*within(&SINGLE, 1)?.start()))
}

/// A range of free ports. No port is returned twice.
///
/// # Errors
/// When there is no such range.
pub fn free_range(length: u16) -> Result<RangeInclusive<u16>> {
    within(&RANGES, length)
}

fn within(all: &Range<u16>, length: u16) -> Result<RangeInclusive<u16>> {
    let Ok(mut given) = GIVEN.lock() else { bail!("the list of ports in use is broken") };
    // Ranges of one length lie side by side, so that no gaps too small for another one are left.
    let count = (all.end - all.start) / length.max(1);
    if count == 0 {
        bail!("there is no range of {length} ports between {} and {}", all.start, all.end);
    }
    for _ in 0..1_000 {
        let first = all.start + length * fastrand::u16(0..count);
        let ports = first..=first + length - 1;
        let is_free = |port| !given.contains(&port) && TcpListener::bind(loopback(port)).is_ok();
        if ports.clone().all(is_free) {
            given.extend(ports.clone());
            return Ok(ports);
        }
    }
    bail!("no {length} free ports in a row found between {} and {}", all.start, all.end)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
