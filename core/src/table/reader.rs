use super::layout::{ANY_CALLER, PASSTHROUGH, PLAIN_VERSION};
use super::letters::Letters;
use super::rows::{Key, host_of};
use super::sections::Sections;
use super::{ContentHash, Mode, TableError, check};
use crate::callers::{CallerPattern, Callers, Pattern, pattern_matches};
use crate::name::{Hostname, ServiceName, ServicePort, SpiffeId};

/// A table that has passed the check. Lookups read its bytes in place and do not allocate.
#[derive(Clone)]
pub struct Table {
    sections: Sections,
    hash: ContentHash,
}

/// An exported service, as found in a table.
///
/// It belongs to the table in which it was found; another table has no grants for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    grant_set: u32,
    /// The first bytes of the table's hash.
    table: u64,
}

impl Export {
    /// Returns true if the gateway passes the service's TLS through. Such a service has no grants.
    pub fn is_passthrough(self) -> bool {
        self.grant_set == PASSTHROUGH
    }
}

/// A peer, as found in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRow<'t> {
    index: u16,
    /// Its trust domain.
    pub trust_domain: &'t str,
    /// The name of its `IstioFederation`.
    pub name: &'t str,
    /// Whether refusals take effect.
    pub mode: Mode,
}

impl PeerRow<'_> {
    /// Its position among the table's peers.
    pub fn index(&self) -> usize {
        self.index.into()
    }
}

/// What an export's grant set says about a caller of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    No,
    /// The owner admits the peer, but the grant admits no caller (audit mode only).
    NoCaller,
    OtherCallers,
    Yes,
}

impl Table {
    /// Checks all bytes, once, in time and memory linear in their number.
    ///
    /// # Errors
    /// [`TableError`] if the bytes are not a valid table. No input panics.
    pub fn read(bytes: impl Into<Box<[u8]>>) -> Result<Self, TableError> {
        let (sections, hash) = check::check(bytes.into())?;
        Ok(Self { sections, hash })
    }

    /// Reads bytes that have passed the check before, in this or another VM. The check takes nearly
    /// all of the time that [`Table::read`] takes. Lookups in other bytes return wrong answers, but
    /// they end, and do not panic.
    ///
    /// # Errors
    /// [`TableError`] if the bytes are not even as long as their header says.
    pub fn read_checked(bytes: impl Into<Box<[u8]>>) -> Result<Self, TableError> {
        let (sections, hash) = check::split(bytes.into())?;
        Ok(Self { sections, hash })
    }

    /// The version of the table's format.
    pub fn format_version(&self) -> u32 {
        self.sections.header.version
    }

    /// Returns true if the gateway passes the TLS of some service through. Only such tables have
    /// the format's second version.
    pub fn has_passthrough(&self) -> bool {
        self.format_version() != PLAIN_VERSION
    }

    /// The generation: a number that grows with each published table.
    pub fn generation(&self) -> u64 {
        self.sections.header.generation
    }

    /// The hash of the table's bytes, generation included.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// The trust domain of the cluster that exports these services.
    pub fn trust_domain(&self) -> &str {
        self.sections.trust_domain().unwrap_or_default()
    }

    /// The number of exported services (`host:port`).
    pub fn rows(&self) -> u32 {
        self.sections.header.rows
    }

    /// The number of peers.
    pub fn peer_count(&self) -> u32 {
        self.sections.header.peers
    }

    /// The number of distinct grant sets that the rows share.
    pub fn grant_set_count(&self) -> u32 {
        self.sections.header.grant_sets
    }

    /// The table's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.sections.bytes
    }

    /// Looks up an exported service. `host` must be in lower case, as in [`crate::Sni`] and
    /// [`Hostname`].
    pub fn export(&self, host: &str, port: ServicePort) -> Option<Export> {
        let key = Key::new(host)?;
        let key = Letters::new(key.as_bytes().strip_prefix(self.sections.prefix())?)?;
        let (_, grant_set) = self.sections.listing(self.sections.find_row(&key, port.get())?)?;
        Some(self.export_with(grant_set))
    }

    /// Looks up the peer with this trust domain.
    pub fn peer_of(&self, trust_domain: &str) -> Option<PeerRow<'_>> {
        self.peer(self.sections.find_peer(trust_domain)?)
    }

    /// All peers, in order of trust domain.
    pub fn peers(&self) -> impl Iterator<Item = PeerRow<'_>> {
        (0..self.peer_count()).map_while(|index| self.peer(u16::try_from(index).ok()?))
    }

    /// All exports, in the table's order. It allocates: use it for display and tests. A table may
    /// contain a service whose server name is too long for TLS; it is listed, but no client can
    /// call it.
    pub fn exports(&self) -> impl Iterator<Item = (ServiceName, Export)> {
        self.sections.keys().map_while(|(key, row)| {
            let host = Hostname::parse(&host_of(&key)?).ok()?;
            let (port, grant_set) = self.sections.listing(row.listing)?;
            Some((ServiceName { host, port: ServicePort::new(port)? }, self.export_with(grant_set)))
        })
    }

    /// The grants of an export, in order of the peers' trust domains; empty for an export of
    /// another table. It allocates: use it for display and tests.
    pub fn grants(&self, export: Export) -> Vec<(PeerRow<'_>, Callers)> {
        let Some(set) = self.grant_set_of(export) else { return Vec::new() };
        let entries = self.sections.set_entries(set).unwrap_or_default();
        let entries = entries.filter_map(|number| self.sections.entry(number));
        entries
            .filter_map(|(peer, callers)| Some((self.peer(peer)?, self.callers(callers)?)))
            .collect()
    }

    /// Checks whether `peer` may reach `export` with the identity `id`.
    pub(crate) fn granted(&self, export: Export, peer: &PeerRow<'_>, id: &SpiffeId<'_>) -> Granted {
        let set = self.grant_set_of(export);
        match set.and_then(|set| self.sections.find_callers(set, peer.index)) {
            None => Granted::No,
            Some(ANY_CALLER) => Granted::Yes,
            Some(callers) => self.admits(callers, id).unwrap_or(Granted::No),
        }
    }

    fn export_with(&self, grant_set: u32) -> Export {
        Export { grant_set, table: self.tag() }
    }

    fn grant_set_of(&self, export: Export) -> Option<u32> {
        (export.table == self.tag() && !export.is_passthrough()).then_some(export.grant_set)
    }

    fn tag(&self) -> u64 {
        self.hash.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    fn peer(&self, index: u16) -> Option<PeerRow<'_>> {
        let (trust_domain, name, mode) = self.sections.peer(index)?;
        Some(PeerRow { index, trust_domain, name, mode })
    }

    fn pattern(&self, number: u32) -> Option<(&str, &str)> {
        let (namespace, service_account) = self.sections.pattern(number)?;
        Some((self.sections.text(namespace)?, self.sections.text(service_account)?))
    }

    fn admits(&self, callers: u16, id: &SpiffeId<'_>) -> Option<Granted> {
        let patterns = self.sections.caller_patterns(callers)?;
        if patterns.is_empty() {
            return Some(Granted::NoCaller);
        }
        let Some((namespace, account)) = id.caller() else { return Some(Granted::OtherCallers) };
        for number in patterns {
            let (namespaces, accounts) = self.pattern(number)?;
            if pattern_matches(namespaces, namespace) && pattern_matches(accounts, account) {
                return Some(Granted::Yes);
            }
        }
        Some(Granted::OtherCallers)
    }

    fn callers(&self, number: u16) -> Option<Callers> {
        if number == ANY_CALLER {
            return Some(Callers::Any);
        }
        let pattern = |number| {
            let (namespace, account) = self.pattern(number)?;
            let service_account = Pattern::parse(account).ok()?;
            Some(CallerPattern { namespace: Pattern::parse(namespace).ok()?, service_account })
        };
        self.sections
            .caller_patterns(number)?
            .map(pattern)
            .collect::<Option<_>>()
            .map(Callers::Only)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("trust_domain", &self.trust_domain())
            .field("generation", &self.generation())
            .field("rows", &self.rows())
            .field("peers", &self.peer_count())
            .field("hash", &self.hash)
            .finish()
    }
}
