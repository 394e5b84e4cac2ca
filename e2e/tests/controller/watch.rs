//! Which changes of peers are in force.

use anyhow::{Result, ensure};
use fedgate_e2e::fleet::Fleet;
use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The peers' changes that are not in force yet: each is a new address of a gateway.
pub(crate) type Pending = BTreeMap<usize, Ipv4Addr>;

/// Looks for addresses in the file with the egress's clusters.
pub(crate) struct Watch {
    file: PathBuf,
    seen: Option<SystemTime>,
    /// How long each change took from its first answer until it was in force.
    pub(crate) latencies: Vec<Duration>,
}

impl Watch {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: folder.join("envoy/egress/cds.json"), seen: None, latencies: Vec::new() }
    }

    /// The peers that have a port, and so a cluster in the file.
    pub(crate) fn peers(&self) -> Result<Vec<usize>> {
        let text = std::fs::read_to_string(&self.file)?;
        let names = text.split("\"name\": \"peer|peer").skip(1);
        let mut peers: Vec<_> =
            names.filter_map(|rest| rest.split('.').next()?.parse().ok()).collect();
        peers.sort_unstable();
        peers.dedup();
        ensure!(!peers.is_empty(), "no peer has a port");
        Ok(peers)
    }

    /// Removes the changes that are in force, and returns their peers.
    pub(crate) fn look(&mut self, fleet: &Fleet, pending: &mut Pending) -> Result<Vec<usize>> {
        let written = std::fs::metadata(&self.file)?.modified()?;
        if self.seen == Some(written) {
            return Ok(Vec::new());
        }
        let (now, text) = (Instant::now(), std::fs::read_to_string(&self.file)?);
        let addresses = text.split("\"address\": \"127.").skip(1);
        let addresses: HashSet<&str> =
            addresses.filter_map(|rest| rest.split('"').next()).collect();
        let is_there = |address: &Ipv4Addr| addresses.contains(&address.to_string()[4..]);
        let in_force = pending.iter().filter(|(_, address)| is_there(address));
        let in_force: Vec<_> = in_force.map(|(peer, _)| *peer).collect();
        for peer in &in_force {
            pending.remove(peer);
            self.latencies.extend(fleet.served(*peer).map(|served| now.duration_since(served)));
        }
        self.seen = Some(written);
        Ok(in_force)
    }
}
