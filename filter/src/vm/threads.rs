//! Counts the proxy's threads that have the current table in force.
//!
//! A gauge set when a VM is configured would prove little: Envoy first configures a trial VM,
//! before any worker, and ends it. So the VMs keep a list in the shared data. Only VMs that tick
//! are on it, and the trial VM never ticks. A VM adds itself with the version that it both received
//! *and* has in force, renews the entry while it lives, and removes it when it ends. An entry that
//! is not renewed for [`EXPIRY`] is ignored: its VM has failed, or its thread has stalled.
//!
//! A proxy has one VM on each worker and one on its main thread. So all threads have the table when
//! the count is one more than Envoy's `server.concurrency`.

use super::host::{CREATE, Host};
use crate::host::Status;
use std::cell::Cell;
use std::time::Duration;

/// How long an entry counts without renewal.
pub const EXPIRY: Duration = Duration::from_secs(10);
/// The age at which an entry is renewed.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often one tick retries a write that another VM pre-empted.
const ATTEMPTS: usize = 16;

/// A VM's entry number in the list of a scope.
#[derive(Debug, Default)]
pub(crate) struct Seat(Cell<Option<u64>>);

/// The key of a scope's list.
pub fn key(scope: &str) -> String {
    format!("fedgate.threads.{scope}")
}

/// The list: the next free number, then one line per VM.
#[derive(Debug, Default, PartialEq, Eq)]
struct List {
    next: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The VM's number, which is never reused.
    number: u64,
    /// When it was last renewed, in seconds since 1970.
    second: u64,
    /// The version that the VM has in force.
    version: String,
}

impl List {
    fn parse(bytes: &[u8]) -> Self {
        let mut lines = std::str::from_utf8(bytes).unwrap_or_default().lines();
        let next = lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
        Self { next, entries: lines.filter_map(Entry::parse).collect() }
    }

    fn to_text(&self) -> String {
        let line = |entry: &Entry| format!("\n{} {} {}", entry.number, entry.second, entry.version);
        std::iter::once(self.next.to_string()).chain(self.entries.iter().map(line)).collect()
    }

    fn drop_expired(&mut self, now: u64) {
        self.entries.retain(|entry| now.abs_diff(entry.second) < EXPIRY.as_secs());
    }

    /// Updates a VM's entry; returns true if the list changed.
    fn put(&mut self, seat: &Seat, version: Option<&str>, now: u64) -> bool {
        let number = seat.0.get();
        let own = self.entries.iter().find(|entry| Some(entry.number) == number);
        let fresh = |entry: &&Entry| now.abs_diff(entry.second) < RENEWAL.as_secs();
        if own.filter(fresh).map(|entry| entry.version.as_str()) == version
            && own.is_some() == version.is_some()
        {
            return false;
        }
        self.entries.retain(|entry| Some(entry.number) != number);
        if let Some(version) = version {
            let number = number.unwrap_or(self.next);
            self.next = self.next.max(number.saturating_add(1));
            self.entries.push(Entry { number, second: now, version: version.to_owned() });
        }
        true
    }

    fn count(&self, version: &str) -> u64 {
        self.entries.iter().filter(|entry| entry.version == version).map(|_| 1).sum()
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next()?.parse().ok();
        let (number, second) = (number()?, number()?);
        Some(Self { number, second, version: words.next()?.to_owned() })
    }
}

/// Lists this VM if it has the current version in force, and counts the VMs that do; `None` if the
/// list cannot be updated now.
pub(crate) fn count(
    host: &impl Host,
    scope: &str,
    seat: &Seat,
    has_it: bool,
    current: &str,
) -> Option<u64> {
    write(host, scope, seat, has_it.then_some(current)).map(|list| list.count(current))
}

/// Removes this VM from the list.
pub(crate) fn leave(host: &impl Host, scope: &str, seat: &Seat) {
    if seat.0.get().is_some() {
        let _ = write(host, scope, seat, None);
    }
}

fn write(host: &impl Host, scope: &str, seat: &Seat, version: Option<&str>) -> Option<List> {
    let now = host.now().as_secs();
    for _ in 0..ATTEMPTS {
        let found = host.shared_data(&key(scope));
        let cas = found.as_ref().map_or(CREATE, |value| value.cas);
        let mut list = found.map(|value| List::parse(&value.bytes)).unwrap_or_default();
        list.drop_expired(now);
        if !list.put(seat, version, now) {
            return Some(list);
        }
        match host.set_shared_data(&key(scope), list.to_text().as_bytes(), cas) {
            Ok(()) => {
                seat.0.set(version.and(list.entries.last()).map(|own| own.number).or(seat.0.get()));
                return Some(list);
            }
            Err(Status::CAS_MISMATCH) => {}
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_a_round_trip() {
        let entry =
            |number, version: &str| Entry { number, second: 7, version: version.to_owned() };
        let list = List { next: 3, entries: vec![entry(0, "1 a b"), entry(2, "1 a b")] };
        assert_eq!(List::parse(list.to_text().as_bytes()), list);
        assert_eq!((list.count("1 a b"), list.count("1 a")), (2, 0));
    }

    #[test]
    fn an_invalid_list_is_read_as_empty() {
        for bytes in [&b""[..], b"x", b"\xff", b"1\nx", b"1\n2 3", b"1\n-2 3 v"] {
            assert!(List::parse(bytes).entries.is_empty());
        }
    }

    #[test]
    fn a_seat_is_renewed_and_given_up() {
        let (mut list, seat) = (List::default(), Seat::default());
        assert!(!list.put(&seat, None, 100) && list.put(&seat, Some("1"), 100));
        seat.0.set(Some(0));
        assert!(!list.put(&seat, Some("1"), 102), "it is fresh");
        assert!(list.put(&seat, Some("2"), 102), "another version");
        assert!(list.put(&seat, Some("2"), 105), "it is due");
        assert_eq!(list.entries.len(), 1);
        list.drop_expired(115);
        assert!(list.entries.is_empty());
        assert!(
            list.put(&seat, Some("2"), 120)
                && list.put(&seat, None, 120)
                && list.entries.is_empty()
        );
        assert!(list.put(&Seat::default(), Some("2"), 120));
        assert_eq!(list.entries[0].number, 1, "a number is given once");
    }
}
