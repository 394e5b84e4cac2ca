//! The size of a table, and that the table and its alternatives agree.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use fedgate_benches::{Exports, HashTwin, Kind, RuleList};
use fedgate_core::decide;

/// Names chosen by people take 12 to 14 bytes per row. A hash of ten random digits in every name
/// adds five bytes that cannot be compressed, so it has its own limit.
#[test]
fn a_row_takes_at_most_16_bytes_at_100_000_exports() {
    for (kind, limit) in [(Kind::Words, 16.0), (Kind::Mixed, 16.0), (Kind::Hashes, 16.7)] {
        let exports = Exports::new(kind, 100_000);
        let bytes = exports.table().as_bytes().len();
        let hosts: usize = exports.services.iter().map(|service| service.host.as_str().len()).sum();
        let row = bytes as f64 / 1e5;
        println!(
            "{kind:?}: {bytes} bytes, {row:.2} a row, for hosts of {:.1} bytes",
            hosts as f64 / 1e5
        );
        assert!(row <= limit, "{kind:?}: {row} bytes a row");
    }
}

#[test]
fn the_table_and_its_twins_agree() {
    let exports = Exports::new(Kind::Mixed, 1_000);
    let (table, twin, rules) = (exports.table(), HashTwin::new(&exports), RuleList::new(&exports));
    let questions =
        [exports.allowed(500), exports.refused_early(500), exports.refused_late(500)].concat();
    assert_eq!(questions.len(), 1_500);
    for question in questions {
        let (name, uri) = (&question.server_name, &question.uri_san);
        let decision = decide(&table, Some(name), Some(uri));
        assert_eq!(
            (decision.outcome, decision.reason),
            (question.outcome, question.reason),
            "{question:?}"
        );
        assert_eq!(twin.decide(name, uri), question.outcome, "{question:?}");
        assert_eq!(rules.decide(name, uri), question.outcome, "{question:?}");
    }
}
