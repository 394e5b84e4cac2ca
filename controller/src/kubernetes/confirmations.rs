//! When peers' documents were last confirmed, for the command line: an annotation of the Lease.
//!
//! A peer that says the same again and again changes nothing, so nothing is written for it, and what is written down of it gets older. Only
//! the Lease is written all the time, by the replica that asks the peers; so the times cost no further write, and end with that replica.

use fedgate_core::PeerName;
use fedgate_federation::knowledge::PeerKnowledge;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The annotation.
pub const ANNOTATION: &str = "fedgate.dev/confirmed";

/// The most bytes of it, since it is stored anew every two seconds. Beyond that, peers may look older than they are.
const LARGEST: usize = 32 << 10;

/// The times; clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Confirmations(Arc<Mutex<Times>>);

type Times = BTreeMap<PeerName, Confirmed>;

/// When a peer's documents were confirmed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Confirmed {
    public: Option<Timestamp>,
    private: Option<Timestamp>,
}

impl Confirmations {
    /// Notes when a peer's documents were confirmed.
    pub fn note(&self, peer: &PeerName, knowledge: &PeerKnowledge) {
        let confirmed = Confirmed {
            public: knowledge.public.as_ref().map(|known| known.confirmed),
            private: knowledge.private.as_ref().map(|known| known.confirmed),
        };
        self.lock().insert(peer.clone(), confirmed);
    }

    /// Drops a peer.
    pub fn forget(&self, peer: &PeerName) {
        self.lock().remove(peer);
    }

    /// Drops all: this replica does not ask any more.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Writes them on the Lease.
    pub(super) fn write(&self, lease: &mut Lease) {
        let text = serde_json::to_string(&*self.lock()).unwrap_or_default();
        let annotations = lease.metadata.annotations.get_or_insert_default();
        match text.len() <= LARGEST {
            true => annotations.insert(ANNOTATION.to_owned(), text),
            false => annotations.remove(ANNOTATION),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings what was written down of the peers up to the times on the Lease.
pub(super) fn apply(lease: &Lease, knowledge: &mut BTreeMap<PeerName, PeerKnowledge>) {
    let text = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    let times: Times = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for (peer, knowledge) in knowledge {
        let Some(Confirmed { public, private }) = times.get(peer).copied() else { continue };
        if let Some((known, confirmed)) = knowledge.public.as_mut().zip(public) {
            known.confirmed = known.confirmed.max(confirmed);
        }
        if let Some((known, confirmed)) = knowledge.private.as_mut().zip(private) {
            known.confirmed = known.confirmed.max(confirmed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::document::{ClusterUuid, PublicDocument};
    use fedgate_federation::key::SigningKey;
    use fedgate_federation::knowledge::Known;
    use fedgate_federation::object::{Named, Peer};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Knowledge of beta's public document.
    fn known(confirmed: Timestamp) -> PeerKnowledge {
        let document = PublicDocument {
            cluster_uuid: ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap(),
            authn_key: SigningKey::from_seed(&[1; 32]).unwrap().public(),
            roots: Vec::new(),
            extension: None,
        };
        let public = Known { document, fetched: at(1), confirmed, etag: None, findings: Vec::new() };
        PeerKnowledge { public: Some(public), ..PeerKnowledge::new(&peer()) }
    }

    fn peer() -> Peer {
        let spec =
            serde_json::json!({ "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" });
        let spec = serde_json::from_value(spec).unwrap();
        Peer::parse(&Named::new("beta", spec)).unwrap().0
    }

    #[test]
    fn what_was_written_down_gets_as_young_as_the_lease_says_and_never_older() {
        let (confirmations, mut lease) = (Confirmations::default(), Lease::default());
        confirmations.note(&peer().name, &known(at(100)));
        confirmations.write(&mut lease);
        let confirmed = |saved| {
            let mut knowledge = BTreeMap::from([(peer().name, known(at(saved)))]);
            apply(&lease, &mut knowledge);
            knowledge[&peer().name].public.as_ref().unwrap().confirmed
        };
        assert_eq!((confirmed(50), confirmed(150)), (at(100), at(150)));
    }

    #[test]
    fn a_lease_without_them_changes_nothing() {
        let (confirmations, mut lease) = (Confirmations::default(), Lease::default());
        confirmations.note(&peer().name, &known(at(100)));
        confirmations.forget(&peer().name);
        confirmations.write(&mut lease);
        let mut knowledge = BTreeMap::from([(peer().name, known(at(50)))]);
        apply(&lease, &mut knowledge);
        lease.metadata.annotations.as_mut().unwrap().insert(ANNOTATION.to_owned(), "{".to_owned());
        apply(&lease, &mut knowledge);
        assert_eq!(knowledge[&peer().name].public.as_ref().unwrap().confirmed, at(50));
    }
}
