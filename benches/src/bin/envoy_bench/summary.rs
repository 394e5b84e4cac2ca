//! Samples become results: medians, and ratios of pairs from the same round.

use crate::cores::Cores;
use crate::load::Sample;
use crate::measurement::{Cost, Instructions, Results, TableCost};
use crate::rounds::{Measured, Series};
use crate::variant::Variant;
use std::time::Duration;

/// Adds what operations cost at one size of the table.
pub(crate) fn add_costs(results: &mut Results, rows: usize, measured: &[Measured], cores: &Cores) {
    for one in measured {
        let costs = one.series.iter().map(|series| cost(rows, one, series, measured, cores));
        results.costs.extend(costs);
    }
}

/// Adds what the table itself costs.
pub(crate) fn add_tables(results: &mut Results, rows: usize, measured: &[Measured]) {
    results.tables.extend(measured.iter().map(|one| table_cost(rows, one)));
}

fn cost(rows: usize, one: &Measured, series: &Series, all: &[Measured], cores: &Cores) -> Cost {
    let of = |value: &dyn Fn(&Sample) -> f64| median(series.samples.iter().map(value));
    let time = |sample: &Sample| sample.time.as_secs_f64();
    let latency =
        |percent| of(&|sample| percentile(&sample.latencies, percent).as_secs_f64() * 1e6);
    let [ratio_q1, ratio, ratio_q3] = ratios(one, series, all);
    Cost {
        rows,
        gateway: one.variant.name().to_owned(),
        operation: series.operation.name().to_owned(),
        cpu_us: of(&Sample::work),
        ratio,
        ratio_q1,
        ratio_q3,
        per_second: of(&|sample| sample.operations as f64 / time(sample)),
        p50_us: latency(50),
        p99_us: latency(99),
        envoy_busy: of(&|sample| sample.envoy as f64 / 1e9 / time(sample)),
        clients_busy: of(&|sample| {
            sample.clients.as_secs_f64() / time(sample) / cores.for_clients as f64
        }),
    }
}

/// The CPU time against no authorization in the same round: the quartiles.
fn ratios(one: &Measured, series: &Series, all: &[Measured]) -> [Option<f64>; 3] {
    let open = all.iter().find(|other| other.variant == Variant::Open);
    let baseline =
        open.and_then(|open| open.series.iter().find(|other| other.operation == series.operation));
    let Some(baseline) = baseline.filter(|_| one.variant != Variant::Open) else {
        return [None; 3];
    };
    let pairs = series.samples.iter().zip(&baseline.samples);
    let mut ratios: Vec<_> = pairs.map(|(own, base)| own.work() / base.work()).collect();
    ratios.sort_by(f64::total_cmp);
    [25, 50, 75].map(|percent| Some(rounded(quantile(&ratios, percent))))
}

/// Adds the instructions of operations. Of all batches the one with the fewest counts: in the
/// others, a timer was due meanwhile.
pub(crate) fn add_instructions(results: &mut Results, rows: usize, measured: &[Measured]) {
    let fewest = |series: &Series| {
        series.samples.iter().map(Sample::work).min_by(f64::total_cmp).map(rounded)
    };
    for one in measured {
        let of = |series: &Series| {
            Some(Instructions {
                rows,
                gateway: one.variant.name().to_owned(),
                operation: series.operation.name().to_owned(),
                thousands: fewest(series)?,
            })
        };
        results.instructions.extend(one.series.iter().filter_map(of));
    }
}

fn table_cost(rows: usize, one: &Measured) -> TableCost {
    let update = one.update.as_ref();
    let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
    TableCost {
        rows,
        gateway: one.variant.name().to_owned(),
        memory_mib: rounded(one.memory as f64 / 1024.0),
        worker_mib: one.worker.map(|worker| rounded(worker as f64 / 1024.0)),
        start_ms: ms(one.started_in),
        change_ms: update.map(|update| median(update.effects.iter().map(|&time| ms(time)))),
        p99_before_ms: update.map(|update| ms(percentile(&update.before, 99))),
        p99_during_ms: update.map(|update| ms(percentile(&update.during, 99))),
        longest_ms: update.map(|update| ms(percentile(&update.during, 100))),
        cut: update.map(|update| update.cut),
    }
}

/// Rounds to three digits after the point: more would not be true.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    rounded(quantile(&values, 50))
}

/// A quantile of sorted values, between the two nearest ones.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = (last * percent) as f64 / 100.0;
    let (low, part) = (place as usize, place.fract());
    sorted[low] + (sorted[(low + 1).min(last)] - sorted[low]) * part
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    #[test]
    fn medians_and_percentiles() {
        assert!(median([3.0, 1.0, 2.0].into_iter()).total_cmp(&2.0).is_eq());
        assert!(median([4.0, 1.0].into_iter()).total_cmp(&2.5).is_eq());
        assert!(median(std::iter::empty()).is_nan());
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&hundred, 50), Duration::from_millis(50));
        assert_eq!(percentile(&hundred, 99), Duration::from_millis(99));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    /// A machine that is three times as slow in one round changes no ratio.
    #[test]
    fn ratios_are_of_pairs_in_the_same_round() {
        let measured = |variant, times: [u64; 3]| Measured {
            variant,
            series: vec![Series {
                operation: Operation::Connection,
                samples: times.map(sample).to_vec(),
            }],
            memory: 0,
            worker: None,
            started_in: Duration::ZERO,
            update: None,
        };
        let all = [
            measured(Variant::Open, [100, 300, 100]),
            measured(Variant::FedgateNative, [110, 330, 120]),
        ];
        let of = |one: &Measured| ratios(one, &one.series[0], &all);
        assert_eq!(of(&all[1]), [Some(1.1), Some(1.1), Some(1.15)]);
        assert_eq!(of(&all[0]), [None; 3]);
    }

    #[test]
    fn the_batch_with_the_fewest_instructions_counts() {
        let series = Series {
            operation: Operation::Connection,
            samples: [130, 100, 110].map(sample).to_vec(),
        };
        let one = Measured {
            variant: Variant::Open,
            series: vec![series],
            memory: 0,
            worker: None,
            started_in: Duration::ZERO,
            update: None,
        };
        let mut results = Results::default();
        add_instructions(&mut results, 10, &[one]);
        // 100 million nanoseconds stand for as many instructions of ten operations.
        assert!(results.instructions[0].thousands.total_cmp(&10_000.0).is_eq());
    }

    fn sample(millis: u64) -> Sample {
        let time = Duration::from_millis(millis);
        Sample {
            operations: 10,
            time,
            envoy: millis * 1_000_000,
            clients: time,
            latencies: vec![time],
        }
    }
}
