//! Any bytes as table, server name, identity or configuration give an answer, never a panic. A
//! table that is accepted is exactly what the builder would have written.

mod support;
use fedgate_core::{Sni, SpiffeId, Table, decide, read_configuration};
use proptest::prelude::*;
use proptest::sample::Index;
use support::strategies::{host, model, uri_san};

/// A way to damage a table.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    /// Adds to one byte, to damage numbers and sort orders.
    Step(Index, i8),
    Swap(Index, Index),
    Word(Index, u32),
    Insert(Index, u8),
    Remove(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        2 => (index(), any::<u8>()).prop_map(|(index, byte)| Damage::Set(index, byte)),
        4 => (index(), prop_oneof![Just(1), Just(-1)]).prop_map(|(index, step)| Damage::Step(index, step)),
        1 => (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
        1 => (index(), prop_oneof![Just(u32::MAX), 0..4u32]).prop_map(|(index, word)| Damage::Word(index, word)),
        1 => (index(), any::<u8>()).prop_map(|(index, byte)| Damage::Insert(index, byte)),
        1 => index().prop_map(Damage::Remove),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Set(index, byte) => bytes[index.index(length)] = *byte,
            Self::Step(index, step) => {
                let byte = &mut bytes[index.index(length)];
                *byte = byte.wrapping_add_signed(*step);
            }
            Self::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
            Self::Word(index, word) => {
                let index = index.index(length - 3);
                bytes[index..index + 4].copy_from_slice(&word.to_le_bytes());
            }
            Self::Insert(index, byte) => bytes.insert(index.index(length + 1), *byte),
            Self::Remove(index) => drop(bytes.remove(index.index(length))),
        }
    }
}

/// An accepted table gives consistent answers, and is exactly what the builder would have written.
fn check_consistency(table: &Table) -> Result<(), TestCaseError> {
    let exports: Vec<_> = table.exports().collect();
    prop_assert_eq!(exports.len(), table.rows() as usize);
    prop_assert_eq!(table.peers().count(), table.peer_count() as usize);
    for (service, export) in exports {
        prop_assert_eq!(table.export(service.host.as_str(), service.port), Some(export));
    }
    for peer in table.peers() {
        prop_assert_eq!(table.peer_of(peer.trust_domain), Some(peer));
    }
    prop_assert_eq!(support::rebuilt(table).build(table.generation()).unwrap(), table.as_bytes());
    Ok(())
}

fn any_server_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "outbound_\\.[0-9]{1,5}_\\.[a-zA-Z0-9.]{0,3}_\\.([a-zA-Z0-9_-]{1,4}\\.?){1,5}",
        "(outbound_\\.|_\\.|\\PC){0,80}"
    ]
}

fn any_identity() -> impl Strategy<Value = String> {
    prop_oneof![
        "spiffe://[a-z.]{1,9}/([a-zA-Z0-9._-]{1,5}/?){1,4}",
        "(spiffe://)?(ns/|sa/|\\PC){0,12}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_damaged_table_with_a_right_checksum_is_refused_or_consistent(
        model in model(),
        damage in prop::collection::vec(damage(), 1..3),
        host in host(),
        identity in uri_san(),
    ) {
        let mut bytes = model.builder(0).build(7).unwrap();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        support::seal(&mut bytes);
        if let Ok(table) = Table::read(bytes) {
            check_consistency(&table)?;
            decide(&table, Some(&format!("outbound_.80_._.{host}")), identity.as_deref());
        }
    }

    #[test]
    fn any_bytes_as_table(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let magic = b"FEDGATE\0\x01\0\0\0";
        let _ = Table::read(bytes.clone());
        if let Some(start) = bytes.get_mut(..magic.len()) {
            start.copy_from_slice(magic);
        }
        support::seal(&mut bytes);
        prop_assert!(Table::read(bytes).is_err());
    }

    #[test]
    fn any_text_as_server_name(text in any_server_name()) {
        if let Ok(sni) = Sni::parse(&text) {
            let again = format!("outbound_.{}_.{}_.{}", sni.port(), sni.subset(), sni.host());
            prop_assert_eq!(again.to_lowercase(), text.to_lowercase());
        }
    }

    #[test]
    fn any_text_as_identity(text in any_identity()) {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_as_configuration(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_configuration(&bytes).is_err());
    }
}
