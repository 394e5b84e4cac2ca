//! The resources that a process uses, from Linux's `/proc`.

use crate::process::Process;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`. On Linux it has been 1/100 s on every machine for
/// decades.
const TICK: Duration = Duration::from_millis(10);

/// The resources that a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory now, in bytes.
    pub memory: u64,
    /// The peak of resident memory, in bytes.
    pub peak_memory: u64,
    /// CPU time of all threads together.
    pub cpu: Duration,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, peak_memory, cpu: _ } = self;
        write!(f, "{} MiB resident, {} MiB at most", memory >> 20, peak_memory >> 20)
    }
}

impl Process {
    /// The resources that it has used so far.
    ///
    /// # Errors
    /// When it has exited, or there is no `/proc`.
    pub fn usage(&self) -> Result<Usage> {
        of(self.id()).with_context(|| format!("the usage of {}", self.name()))
    }
}

/// The resources that the process with this ID has used so far.
///
/// # Errors
/// When it has exited, or there is no `/proc`.
pub fn of(id: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{id}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    parse(&read("status")?, &read("stat")?).context("not as Linux writes it")
}

/// The number of this machine's IPv4 connections whose local end is `address`, as accepted by the
/// server there. Includes those that the other side has closed and the server has not.
///
/// # Errors
/// When there is no `/proc`.
pub fn open_connections(address: SocketAddr) -> Result<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
    Ok(count_open(&table, address))
}

/// States in `/proc/net/tcp` in which a server still has the connection: established, and closed
/// by the other side (CLOSE_WAIT).
const OPEN: [&str; 2] = ["01", "08"];

fn count_open(table: &str, address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { return 0 };
    let local = format!("{:08X}:{:04X}", address.ip().to_bits().swap_bytes(), address.port());
    let is_open = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().take(4).collect();
        matches!(fields[..], [_, at, _, state] if at == local && OPEN.contains(&state))
    };
    table.lines().filter(is_open).count()
}

fn parse(status: &str, stat: &str) -> Option<Usage> {
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    // The second field is the program's name in parentheses, which may contain spaces. User and
    // system time are the 14th and 15th fields.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let cpu = TICK * (ticks()? + ticks()?);
    Some(Usage { memory: bytes("VmRSS")?, peak_memory: bytes("VmHWM")?, cpu })
}

#[cfg(test)]
mod tests {
    use super::{Usage, count_open, parse};
    use std::time::Duration;

    #[test]
    fn memory_and_cpu_time_are_parsed() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0";
        let usage = Usage { memory: 1 << 20, peak_memory: 2 << 20, cpu: Duration::from_secs(2) };
        assert_eq!(parse(status, stat), Some(usage));
        assert_eq!(parse("Name:\tx\n", stat), None);
        assert_eq!(parse(status, "7 (x"), None);
    }

    #[test]
    fn open_connections_of_a_server_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0100007F:3A98 00000000:0000 0A 00000000:00000000\n\
             1: 0100007F:3A98 0100007F:B7AC 01 00000000:00000000\n\
             2: 0100007F:B7AC 0100007F:3A98 01 00000000:00000000\n\
             3: 0100007F:3A98 0100007F:B7AE 08 00000000:00000000\n\
             4: 0100007F:3A98 0100007F:B7B0 06 00000000:00000000\n";
        assert_eq!(count_open(table, ([127, 0, 0, 1], 15_000).into()), 2);
        assert_eq!(count_open(table, ([127, 0, 0, 1], 15_001).into()), 0);
    }
}
