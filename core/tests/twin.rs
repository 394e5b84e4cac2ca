//! Compares the table with its model, a map: every decision is the same.

mod support;
use fedgate_core::{Table, decide, decide_passthrough};
use proptest::prelude::*;
use support::model::Model;
use support::strategies::{model, server_name, uri_san};

fn check(
    table: &Table,
    model: &Model,
    server_name: Option<&str>,
    uri_san: Option<&str>,
) -> Result<(), TestCaseError> {
    let passed_through = decide_passthrough(table, server_name);
    let expected = model.decide_passthrough(server_name);
    prop_assert_eq!((passed_through.outcome, passed_through.reason), expected, "{:?}", server_name);
    let decision = decide(table, server_name, uri_san);
    let peer = decision.peer.map(|peer| peer.trust_domain.to_owned());
    let expected = model.decide(server_name, uri_san);
    prop_assert_eq!(
        (decision.outcome, decision.reason, peer),
        expected,
        "{:?} {:?}",
        server_name,
        uri_san
    );
    let Some(peer) = decision.peer else { return Ok(()) };
    let (name, mode) = &model.peers[peer.trust_domain];
    prop_assert_eq!((peer.name, peer.mode), (name.as_str(), *mode));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn decides_as_the_model_does(
        model in model(),
        names in prop::collection::vec(server_name(), 40),
        identities in prop::collection::vec(uri_san(), 10),
    ) {
        let table = Table::read(model.builder(0).build(7).unwrap()).unwrap();
        check(&table, &model, None, identities[0].as_deref())?;
        for name in names {
            for identity in &identities {
                check(&table, &model, Some(&name.of(&model)), identity.as_deref())?;
            }
        }
    }

    #[test]
    fn finds_each_export_and_nothing_else(model in model()) {
        let table = Table::read(model.builder(0).build(7).unwrap()).unwrap();
        for (host, port) in model.exports.keys() {
            for port in [*port, port.wrapping_add(1), port.wrapping_sub(1)] {
                let sni = format!("outbound_.{port}_._.{host}");
                for peer in ["beta.example", "gamma.example", "unknown.example"] {
                    check(&table, &model, Some(&sni), Some(&format!("spiffe://{peer}/ns/a/sa/b")))?;
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(model in model(), order: u64) {
        prop_assert_eq!(model.builder(0).build(7).unwrap(), model.builder(order).build(7).unwrap());
    }

    #[test]
    fn a_table_round_trips_through_the_builder(model in model(), generation: u64) {
        let bytes = model.builder(1).build(generation).unwrap();
        let table = Table::read(bytes.clone()).unwrap();
        prop_assert_eq!(table.generation(), generation);
        let passes_through = model.exports.values().any(Option::is_none);
        prop_assert_eq!(table.format_version(), if passes_through { 2 } else { 1 });
        prop_assert_eq!(table.rows() as usize, model.exports.len());
        prop_assert_eq!(table.peer_count() as usize, model.peers.len());
        prop_assert_eq!(support::rebuilt(&table).build(generation).unwrap(), bytes);
    }
}
