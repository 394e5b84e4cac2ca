//! The native decision: the table next to the obvious alternatives.
//!
//! Parameters: the number of exports, and the outcome of the connection. Each answer is asserted.

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use fedgate_benches::{Exports, HashTwin, Kind, Question, RuleList};
use fedgate_core::{Outcome, decide};
use std::hint::black_box;
use std::time::Duration;

const EXPORTS: [usize; 4] = [10, 1_000, 10_000, 100_000];
/// Enough that neither the questions nor the rows all fit in the nearest cache.
const QUESTIONS: usize = 1_024;

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(30);
    for count in EXPORTS {
        let exports = Exports::new(Kind::Mixed, count);
        let (table, twin, rules) =
            (exports.table(), HashTwin::new(&exports), RuleList::new(&exports));
        let kinds = [
            ("allowed", exports.allowed(QUESTIONS)),
            ("refused_early", exports.refused_early(QUESTIONS)),
            ("refused_late", exports.refused_late(QUESTIONS)),
        ];
        for (kind, questions) in &kinds {
            let id =
                |what: &str| BenchmarkId::new(format!("{what}/{kind}"), format!("{count} exports"));
            ask(&mut group, id("table"), questions, |name, uri| {
                decide(&table, Some(name), Some(uri)).outcome
            });
            ask(&mut group, id("hash_map"), questions, |name, uri| twin.decide(name, uri));
            ask(&mut group, id("rule_list"), questions, |name, uri| rules.decide(name, uri));
        }
    }
    group.finish();
}

/// Asks one question after the other, each about another service.
fn ask(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    questions: &[Question],
    decide: impl Fn(&str, &str) -> Outcome,
) {
    let mut questions = questions.iter().cycle();
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let Some(question) = questions.next() else { return };
            let outcome = decide(black_box(&question.server_name), black_box(&question.uri_san));
            assert_eq!(outcome, question.outcome);
        });
    });
}

criterion_group!(decision, benches);
criterion_main!(decision);
