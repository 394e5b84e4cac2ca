//! What the controller compiles at first and after a change of one peer, by the number of peers and
//! of services that each of them offers. This cluster exports as many to all of them. The table is
//! in `docs/cost.md`.

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use fedgate_benches::{Allocated, CountingAllocator, ManyPeers};
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SIZES: [(usize, usize); 6] =
    [(10, 10), (10, 1_000), (100, 100), (2_000, 10), (2_000, 300), (2_000, 1_000)];

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("federate");
    group
        .sampling_mode(SamplingMode::Flat)
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(10);
    for (peers, services) in SIZES {
        let mut cluster = ManyPeers::new(peers, services, services);
        let mut imports = 0;
        let everything = Allocated::by(|| imports = cluster.federate().imports.len());
        assert_eq!(imports, peers * services);
        cluster.change_one_service();
        let one_change = Allocated::by(|| drop(cluster.federate()));
        group.throughput(Throughput::Elements(imports as u64));
        let size = format!("{peers} peers, {services} services each");
        println!("{size}: everything {everything:?}, one change {one_change:?}");
        group.bench_function(BenchmarkId::new("everything", &size), |bencher| {
            bencher.iter(|| {
                cluster.forget();
                black_box(cluster.federate())
            });
        });
        group.bench_function(BenchmarkId::new("one change", &size), |bencher| {
            bencher.iter(|| {
                cluster.change_one_service();
                black_box(cluster.federate())
            });
        });
    }
    group.finish();
}

criterion_group!(federation, benches);
criterion_main!(federation);
