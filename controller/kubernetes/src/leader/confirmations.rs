//! When peers' documents were last confirmed, for the command line: an annotation of the Lease.
//!
//! A peer that sends the same documents again changes nothing, so nothing is written for it, and
//! the stored time gets older. Only the Lease is written all the time, by the replica that asks the
//! peers. So these times need no additional write, and they end with that replica.
//!
//! The annotation is written every two seconds, so it must be small. A peer takes 16 bytes (22 in
//! base64), however long its name is: an 8-byte hash of the name, and two offsets. They say how
//! long before the newest confirmation each of its documents was confirmed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fedgate_core::PeerName;
use fedgate_engine::confirmations::{Confirmations, Confirmed};
use fedgate_federation::knowledge::PeerKnowledge;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The annotation.
pub(crate) const ANNOTATION: &str = "fedgate.dev/confirmed";

/// The maximum number of peers in it: 192 kB of the 256 KiB that all annotations of an object may
/// have. If there are more, those with the oldest confirmations are left out.
pub(crate) const MOST: usize = 9_000;

/// A document that was not confirmed, or so long ago (49 days) that the time no longer matters.
const NEVER: u32 = u32::MAX;
/// The size of the newest confirmation, in milliseconds since 1970.
const HEAD: usize = 8;
/// The size of an entry: name, public document, private document.
const ROW: usize = 8 + 4 + 4;

/// Writes the times to the Lease.
pub(crate) fn write(confirmations: &Confirmations, lease: &mut Lease) {
    let rows = confirmations.all().iter().map(|(peer, times)| (hash(peer), *times)).collect();
    lease.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), to_text(rows));
}

/// Updates the stored knowledge of the peers with the times on the Lease.
pub(crate) fn apply(lease: &Lease, knowledge: &mut BTreeMap<PeerName, PeerKnowledge>) {
    let text =
        lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    let times = text.and_then(|text| of_text(text)).unwrap_or_default();
    for (peer, knowledge) in knowledge {
        let Some(Confirmed { public, private }) = times.get(&hash(peer)).copied() else { continue };
        if let Some((known, confirmed)) = knowledge.public.as_mut().zip(public) {
            known.confirmed = known.confirmed.max(confirmed);
        }
        if let Some((known, confirmed)) = knowledge.private.as_mut().zip(private) {
            known.confirmed = known.confirmed.max(confirmed);
        }
    }
}

/// Collisions are not handled: an operator chooses the names.
fn hash(peer: &PeerName) -> [u8; 8] {
    let mut hash = [0; 8];
    hash.copy_from_slice(&Sha256::digest(peer.as_str())[..8]);
    hash
}

fn to_text(mut rows: Vec<([u8; 8], Confirmed)>) -> String {
    if rows.len() > MOST {
        rows.sort_by_key(|(_, confirmed)| Reverse(confirmed.newest()));
        rows.truncate(MOST);
    }
    let newest = rows
        .iter()
        .filter_map(|(_, confirmed)| confirmed.newest())
        .max()
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let newest = newest.as_millisecond();
    let ago = |confirmed: Option<Timestamp>| {
        confirmed.and_then(|at| u32::try_from(newest - at.as_millisecond()).ok()).unwrap_or(NEVER)
    };
    let mut bytes = newest.to_be_bytes().to_vec();
    for (peer, Confirmed { public, private }) in rows {
        bytes.extend(peer);
        bytes.extend(ago(public).to_be_bytes());
        bytes.extend(ago(private).to_be_bytes());
    }
    BASE64_STANDARD.encode(bytes)
}

/// `None` if the text is invalid.
fn of_text(text: &str) -> Option<BTreeMap<[u8; 8], Confirmed>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let (head, rows) = bytes.split_first_chunk::<HEAD>()?;
    let newest = i64::from_be_bytes(*head);
    let at = |ago: &[u8]| {
        let ago = u32::from_be_bytes(ago.try_into().ok()?);
        (ago != NEVER).then(|| Timestamp::from_millisecond(newest.checked_sub(ago.into())?).ok())?
    };
    let row = |row: &[u8]| {
        let (peer, times) = row.split_first_chunk::<8>()?;
        Some((*peer, Confirmed { public: at(times.get(..4)?), private: at(times.get(4..)?) }))
    };
    (rows.len() % ROW == 0).then(|| rows.chunks(ROW).map(row).collect())?
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
        let public =
            Known { document, fetched: at(1), confirmed, etag: None, findings: Vec::new() };
        PeerKnowledge { public: Some(public), ..PeerKnowledge::new(&peer()) }
    }

    fn peer() -> Peer {
        let spec = serde_json::json!({ "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" });
        let spec = serde_json::from_value(spec).unwrap();
        Peer::parse(&Named::new("beta", spec)).unwrap().0
    }

    #[test]
    fn confirmations_make_knowledge_newer_but_never_older() {
        let (confirmations, mut lease) = (Confirmations::default(), Lease::default());
        confirmations.note(&peer().name, &known(at(100)));
        write(&confirmations, &mut lease);
        let confirmed = |saved| {
            let mut knowledge = BTreeMap::from([(peer().name, known(at(saved)))]);
            apply(&lease, &mut knowledge);
            knowledge[&peer().name].public.as_ref().unwrap().confirmed
        };
        assert_eq!((confirmed(50), confirmed(150)), (at(100), at(150)));
    }

    /// This many peers with long names, each confirmed a millisecond after the previous one.
    fn many(count: usize) -> (Vec<PeerName>, Lease) {
        let (confirmations, mut lease) = (Confirmations::default(), Lease::default());
        let peers: Vec<_> =
            (0..count).map(|number| PeerName::parse(&format!("{number:0>63}")).unwrap()).collect();
        for (peer, later) in peers.iter().zip(0..) {
            confirmations.note(
                peer,
                &known(Timestamp::from_millisecond(1_800_000_000_000 + later).unwrap()),
            );
        }
        write(&confirmations, &mut lease);
        (peers, lease)
    }

    fn size(lease: &Lease) -> usize {
        lease.metadata.annotations.as_ref().unwrap()[ANNOTATION].len()
    }

    #[test]
    fn nine_thousand_peers_with_long_names_fit() {
        let (peers, lease) = many(MOST);
        assert!(size(&lease) <= 192 << 10, "{}", size(&lease));
        let mut knowledge: BTreeMap<_, _> =
            peers.into_iter().map(|peer| (peer, known(at(1)))).collect();
        apply(&lease, &mut knowledge);
        let confirmed = knowledge
            .values()
            .map(|known| known.public.as_ref().unwrap().confirmed.as_millisecond());
        assert!(
            confirmed.eq((0..).map(|later| 1_800_000_000_000 + later).take(MOST)),
            "to the millisecond"
        );
        assert_eq!(size(&many(310).1), 6_624, "what was 32 KiB");
    }

    #[test]
    fn beyond_the_limit_the_oldest_confirmations_are_left_out() {
        let (peers, lease) = many(MOST + 1);
        let mut knowledge: BTreeMap<_, _> =
            peers.iter().map(|peer| (peer.clone(), known(at(1)))).collect();
        apply(&lease, &mut knowledge);
        let is_confirmed =
            |peer: &PeerName| knowledge[peer].public.as_ref().unwrap().confirmed > at(1);
        assert!(!is_confirmed(&peers[0]) && peers[1..].iter().all(is_confirmed));
    }

    #[test]
    fn a_document_without_a_time_is_not_confirmed() {
        let rows = vec![([1; 8], Confirmed { public: Some(at(100)), private: None })];
        assert_eq!(of_text(&to_text(rows.clone())).unwrap(), rows.into_iter().collect());
        let long_ago = Confirmed { public: Some(at(100)), private: Some(at(1)) };
        let rows = vec![
            ([1; 8], Confirmed { public: Some(at(100_000_000)), private: None }),
            ([2; 8], long_ago),
        ];
        let never = Confirmed { public: None, private: None };
        assert_eq!(
            of_text(&to_text(rows)).unwrap()[&[2; 8]],
            never,
            "three years before the newest"
        );
    }

    #[test]
    fn an_invalid_annotation_confirms_no_peer() {
        let text = to_text(vec![([1; 8], Confirmed { public: Some(at(100)), private: None })]);
        for broken in [
            "",
            "{",
            "{\"beta\":{}}",
            &text[..text.len() - 4],
            &BASE64_STANDARD.encode([0xff; 8 + 16]),
        ] {
            assert!(
                of_text(broken)
                    .is_none_or(|times| times.values().all(|times| times.newest().is_none())),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_lease_without_the_annotation_changes_nothing() {
        let (confirmations, mut lease) = (Confirmations::default(), Lease::default());
        confirmations.note(&peer().name, &known(at(100)));
        confirmations.forget(&peer().name);
        write(&confirmations, &mut lease);
        let mut knowledge = BTreeMap::from([(peer().name, known(at(50)))]);
        apply(&lease, &mut knowledge);
        lease.metadata.annotations.as_mut().unwrap().insert(ANNOTATION.to_owned(), "{".to_owned());
        apply(&lease, &mut knowledge);
        assert_eq!(knowledge[&peer().name].public.as_ref().unwrap().confirmed, at(50));
    }
}
