//! Whole connections through the real module in wasmtime: context, callbacks, host calls, end. The
//! figures include the host's work, so they are an upper bound of the filter's cost.
//!
//! Parameters: the number of exports, and the outcome of the connection. Each outcome is asserted.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fedgate_benches::{Exports, Gateway, Kind};
use fedgate_wasm_host::{FilterModule, Metering, Plugin, Proxy};
use std::time::Duration;

const EXPORTS: [usize; 2] = [10, 100_000];
const QUESTIONS: usize = 256;

fn connections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(30);
    for count in EXPORTS {
        let exports = Exports::new(Kind::Mixed, count);
        let mut gateway = Gateway::new(Metering::Off, &exports.configuration());
        let kinds = [
            ("allowed", exports.allowed(QUESTIONS)),
            ("refused_early", exports.refused_early(QUESTIONS)),
            ("refused_late", exports.refused_late(QUESTIONS)),
        ];
        for (kind, questions) in kinds {
            let clients = Gateway::clients(&questions);
            let mut clients = clients.iter().cycle().enumerate();
            group.bench_function(BenchmarkId::new(kind, format!("{count} exports")), |bencher| {
                bencher.iter(|| {
                    let Some((number, (client, outcome))) = clients.next() else { return };
                    gateway.live(client, *outcome);
                    // Ticks are rare in comparison, but they are needed for cleanup.
                    if number % 256 == 0 {
                        gateway.tick();
                    }
                });
            });
        }
    }
    group.finish();
}

fn configurations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("configuration");
    group
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(20);
    for count in EXPORTS {
        let configuration = Exports::new(Kind::Mixed, count).configuration();
        let plugin = Plugin::new("fedgate", &configuration);
        group.bench_function(BenchmarkId::new("new_vm", format!("{count} exports")), |bencher| {
            bencher.iter(|| {
                let proxy = Proxy::new(FilterModule::shared(Metering::Off));
                assert!(proxy.rehearse(&plugin).is_ok());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, connections, configurations);
criterion_main!(benches);
