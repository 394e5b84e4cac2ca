use super::layout::{ANY_CALLER, FORMAT_VERSION, Header, MAGIC, MAX_TABLE_BYTES};
use super::rows::{Key, encode, shared_length};
use super::{ContentHash, Mode};
use crate::callers::{CallerPattern, Callers};
use crate::name::{PeerName, ServiceName, TrustDomain};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A peer as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its `IstioFederation`'s name.
    pub name: PeerName,
    /// Its trust domain; no two peers have the same.
    pub trust_domain: TrustDomain,
    /// Whether refusals take effect.
    pub mode: Mode,
}

/// A peer's place in a [`TableBuilder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(usize);

/// Who of one peer may reach an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Whose grant it is.
    pub peer: PeerIndex,
    /// Which of its callers.
    pub callers: Callers,
}

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Two peers have one trust domain: an identity would belong to both.
    #[error("peers {0} and {1} have the same trust domain {2}")]
    SameTrustDomain(PeerName, PeerName, TrustDomain),
    /// The same service is exported twice.
    #[error("service {0} is exported twice")]
    SameService(ServiceName),
    /// A grant names a peer of another builder, or one peer twice.
    #[error("the grants of service {0} name a peer that is not in this table, or one peer twice")]
    WrongGrant(ServiceName),
    /// There are more of something than the format can number.
    #[error("there are {count} {what}, at most {most} fit in a table")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The table is too large to be read.
    #[error("the table has {0} bytes, at most {MAX_TABLE_BYTES} are read")]
    TooLarge(usize),
}

/// Collects peers and exports, and writes them as a table.
///
/// The same input in any order gives the same bytes, so equal content has an equal hash.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    trust_domain: TrustDomain,
    peers: Vec<Peer>,
    exports: BTreeMap<ServiceName, Vec<Grant>>,
}

impl TableBuilder {
    /// An empty table of the cluster with this trust domain: it refuses everything.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, peers: Vec::new(), exports: BTreeMap::new() }
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// [`BuildError::SameTrustDomain`] when there is one with its trust domain already.
    pub fn peer(&mut self, peer: Peer) -> Result<PeerIndex, BuildError> {
        if let Some(other) = self.peers.iter().find(|other| other.trust_domain == peer.trust_domain) {
            return Err(BuildError::SameTrustDomain(other.name.clone(), peer.name, peer.trust_domain));
        }
        self.peers.push(peer);
        Ok(PeerIndex(self.peers.len() - 1))
    }

    /// Adds an exported service with its grants; without any it is known, and refused to all.
    ///
    /// # Errors
    /// [`BuildError::SameService`] or [`BuildError::WrongGrant`].
    pub fn export(&mut self, service: ServiceName, grants: Vec<Grant>) -> Result<(), BuildError> {
        let peers: BTreeSet<_> = grants.iter().map(|grant| grant.peer).collect();
        if peers.len() != grants.len() || peers.iter().any(|peer| peer.0 >= self.peers.len()) {
            return Err(BuildError::WrongGrant(service));
        }
        if self.exports.contains_key(&service) {
            return Err(BuildError::SameService(service));
        }
        self.exports.insert(service, grants);
        Ok(())
    }

    /// Writes the table.
    ///
    /// # Errors
    /// [`BuildError::TooMany`] or [`BuildError::TooLarge`]; a table is never cut short.
    pub fn build(&self, generation: u64) -> Result<Vec<u8>, BuildError> {
        let mut sections = Sections::new(&self.trust_domain);
        let keys = self.sorted_keys();
        let prefix = common_prefix(&keys);
        let prefix_length = sections.string(prefix).1;

        let places = sections.peers(&self.peers)?;
        let mut rows = Vec::with_capacity(keys.len());
        for (key, service, grants) in &keys {
            let own = key.get(prefix.len()..).unwrap_or_default();
            rows.push((own, service.port.get(), sections.grant_set(grants, &places)?));
        }
        let (row_bytes, blocks) = encode(rows.iter().copied());

        let header = Header {
            generation,
            trust_domain: self.trust_domain.as_str().len() as u32,
            prefix: prefix_length,
            strings: count("bytes of names", sections.strings.len())?,
            peers: count("peers", self.peers.len())?,
            patterns: count("caller patterns", sections.patterns.len() / super::layout::PATTERN_BYTES)?,
            caller_sets: count("caller sets", sections.caller_ends.len())?,
            entries: count("grants", sections.entries.len() / super::layout::ENTRY_BYTES)?,
            grant_sets: count("grant sets", sections.set_ends.len())?,
            rows: count("exports", rows.len())?,
            row_bytes: count("bytes of exports", row_bytes.len())?,
        };
        sections.write(header, &blocks, &row_bytes)
    }

    fn sorted_keys(&self) -> Vec<(Vec<u8>, &ServiceName, &[Grant])> {
        let key = |service: &ServiceName| Key::new(service.host.as_str()).map(|key| key.as_bytes().to_vec());
        let mut keys: Vec<_> = self
            .exports
            .iter()
            .filter_map(|(service, grants)| Some((key(service)?, service, grants.as_slice())))
            .collect();
        keys.sort_unstable_by(|a, b| (&a.0, a.1.port).cmp(&(&b.0, b.1.port)));
        keys
    }
}

fn count(what: &'static str, count: usize) -> Result<u32, BuildError> {
    u32::try_from(count).map_err(|_| BuildError::TooMany { what, count, most: u32::MAX as usize })
}

/// What all keys begin with: that of the first and the last, since they are in order.
fn common_prefix<'a>(keys: &'a [(Vec<u8>, &ServiceName, &[Grant])]) -> &'a [u8] {
    match (keys.first(), keys.last()) {
        (Some((first, ..)), Some((last, ..))) => first.get(..shared_length(first, last)).unwrap_or_default(),
        _ => &[],
    }
}

/// The sections while they grow, and what has been stored already.
struct Sections {
    strings: Vec<u8>,
    peers: Vec<u8>,
    patterns: Vec<u8>,
    caller_ends: Vec<u32>,
    entries: Vec<u8>,
    set_ends: Vec<u32>,
    known_strings: BTreeMap<Vec<u8>, u32>,
    known_callers: BTreeMap<BTreeSet<CallerPattern>, u16>,
    known_sets: BTreeMap<Vec<(u16, u16)>, u32>,
}

impl Sections {
    fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            strings: trust_domain.as_str().into(),
            peers: Vec::new(),
            patterns: Vec::new(),
            caller_ends: Vec::new(),
            entries: Vec::new(),
            set_ends: Vec::new(),
            known_strings: BTreeMap::new(),
            known_callers: BTreeMap::new(),
            known_sets: BTreeMap::new(),
        }
    }

    /// Stores `text` once; its place and length.
    fn string(&mut self, text: &[u8]) -> (u32, u32) {
        let place = match self.known_strings.get(text) {
            Some(&place) => place,
            None => {
                let place = self.strings.len() as u32;
                self.strings.extend_from_slice(text);
                self.known_strings.insert(text.to_vec(), place);
                place
            }
        };
        (place, text.len() as u32)
    }

    /// Stores the peers in order of trust domain; the new place of each.
    fn peers(&mut self, peers: &[Peer]) -> Result<Vec<u16>, BuildError> {
        let most = usize::from(u16::MAX);
        if peers.len() > most {
            return Err(BuildError::TooMany { what: "peers", count: peers.len(), most });
        }
        let mut order: Vec<(usize, &Peer)> = peers.iter().enumerate().collect();
        order.sort_unstable_by(|a, b| a.1.trust_domain.cmp(&b.1.trust_domain));
        let mut places = vec![0; peers.len()];
        for (place, (index, peer)) in order.into_iter().enumerate() {
            if let Some(slot) = places.get_mut(index) {
                *slot = place as u16;
            }
            self.peer(peer);
        }
        Ok(places)
    }

    fn peer(&mut self, peer: &Peer) {
        let (domain, domain_length) = self.string(peer.trust_domain.as_str().as_bytes());
        let (name, name_length) = self.string(peer.name.as_str().as_bytes());
        let mode: u32 = match peer.mode {
            Mode::Enforce => 0,
            Mode::Audit => 1,
        };
        let lengths = domain_length | name_length << 16;
        self.peers.extend([domain, lengths, name, mode].into_iter().flat_map(u32::to_le_bytes));
    }

    fn callers(&mut self, callers: &Callers) -> Result<u16, BuildError> {
        let Callers::Only(patterns) = callers else { return Ok(ANY_CALLER) };
        if let Some(&known) = self.known_callers.get(patterns) {
            return Ok(known);
        }
        let number = self.caller_ends.len();
        let most = usize::from(ANY_CALLER);
        if number >= most {
            return Err(BuildError::TooMany { what: "caller sets", count: number + 1, most });
        }
        for pattern in patterns {
            let (namespace, namespace_length) = self.string(pattern.namespace.as_str().as_bytes());
            let (account, account_length) = self.string(pattern.service_account.as_str().as_bytes());
            let lengths = namespace_length | account_length << 16;
            self.patterns.extend([namespace, account, lengths].into_iter().flat_map(u32::to_le_bytes));
        }
        self.caller_ends.push((self.patterns.len() / super::layout::PATTERN_BYTES) as u32);
        self.known_callers.insert(patterns.clone(), number as u16);
        Ok(number as u16)
    }

    fn grant_set(&mut self, grants: &[Grant], places: &[u16]) -> Result<u32, BuildError> {
        let mut set = Vec::with_capacity(grants.len());
        for grant in grants {
            let place = places.get(grant.peer.0).copied().unwrap_or_default();
            set.push((place, self.callers(&grant.callers)?));
        }
        set.sort_unstable();
        if let Some(&known) = self.known_sets.get(&set) {
            return Ok(known);
        }
        self.entries.extend(set.iter().flat_map(|&(peer, callers)| [peer, callers]).flat_map(u16::to_le_bytes));
        let number = count("grant sets", self.set_ends.len())?;
        self.set_ends.push(count("grants", self.entries.len() / super::layout::ENTRY_BYTES)?);
        self.known_sets.insert(set, number);
        Ok(number)
    }

    fn write(self, header: Header, blocks: &[u32], rows: &[u8]) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend(header.generation.to_le_bytes());
        out.extend(header.words().into_iter().flat_map(u32::to_le_bytes));
        out.extend(&self.strings);
        out.extend(&self.peers);
        out.extend(&self.patterns);
        out.extend(self.caller_ends.into_iter().flat_map(u32::to_le_bytes));
        out.extend(&self.entries);
        out.extend(self.set_ends.into_iter().flat_map(u32::to_le_bytes));
        out.extend(blocks.iter().copied().flat_map(u32::to_le_bytes));
        out.extend(rows);
        let hash = ContentHash(Sha256::digest(&out).into());
        out.extend(hash.0);
        match out.len() <= MAX_TABLE_BYTES {
            true => Ok(out),
            false => Err(BuildError::TooLarge(out.len())),
        }
    }
}
