//! Limits of a short run. They are wide: a run beside other work must pass, and a filter that does
//! something twice must not.

use crate::measurement::Results;
use crate::operation::Operation;
use crate::variant::Variant;
use anyhow::{Result, ensure};

/// CPU of an operation against no authorization, at most. It is compared with the lower quartile: a
/// busy moment raises some ratios, and a filter that became slower raises all.
const RATIOS: [(Variant, Operation, f64); 6] = [
    (Variant::FedgateWasm, Operation::Connection, 1.5),
    (Variant::FedgateNative, Operation::Connection, 1.3),
    (Variant::FedgateWasm, Operation::Request, 1.3),
    (Variant::FedgateNative, Operation::Request, 1.25),
    (Variant::FedgateWasm, Operation::Bulk, 1.25),
    (Variant::FedgateNative, Operation::Bulk, 1.25),
];

/// How much more the largest table may cost a connection than the smallest, between the quartiles
/// that are nearest to each other.
const GROWTH: f64 = 1.25;

/// A new table takes effect within this many milliseconds.
const CHANGE: f64 = 2_000.0;

/// Checks all limits, and lists all that are broken.
pub(crate) fn check(results: &Results) -> Result<()> {
    let broken: Vec<_> =
        ratios(results).into_iter().chain(growth(results)).chain(tables(results)).collect();
    ensure!(broken.is_empty(), "outside the limits:\n  {}", broken.join("\n  "));
    Ok(())
}

fn ratios(results: &Results) -> Vec<String> {
    let mut broken = Vec::new();
    for (variant, operation, limit) in RATIOS {
        let name = variant.name();
        let costs = results.costs.iter();
        for cost in costs.filter(|it| it.gateway == name && it.operation == operation.name()) {
            let ratio = cost.ratio_q1.unwrap_or(f64::NAN);
            if ratio.is_nan() || ratio > limit {
                broken.push(format!(
                    "{name}: {} with {} rows: expected a ratio of at most {limit}, found {ratio}",
                    cost.operation, cost.rows
                ));
            }
        }
    }
    broken
}

fn growth(results: &Results) -> Vec<String> {
    let sizes = results.sizes(Operation::Connection.name());
    let (Some(&least), Some(&most)) = (sizes.first(), sizes.last()) else {
        return vec!["nothing was measured".to_owned()];
    };
    let fedgate = Variant::ALL.into_iter().filter(|variant| variant.is_fedgate());
    fedgate
        .filter_map(|variant| {
            let cost = |rows| results.cost(rows, variant.name(), Operation::Connection.name());
            let grown = cost(most)?.ratio_q1? / cost(least)?.ratio_q3?;
            (grown > GROWTH).then(|| {
                format!(
                    "{}: {most} rows cost {grown:.2} times what {least} cost; at most {GROWTH}",
                    variant.name()
                )
            })
        })
        .collect()
}

fn tables(results: &Results) -> Vec<String> {
    let is_fedgate = |name: &str| {
        Variant::ALL.iter().any(|variant| variant.is_fedgate() && variant.name() == name)
    };
    let mut broken = Vec::new();
    for table in results.tables.iter().filter(|table| is_fedgate(&table.gateway)) {
        let (name, rows) = (&table.gateway, table.rows);
        if table.cut.is_some_and(|cut| cut > 0) {
            broken.push(format!("{name} with {rows} rows: a new table ended connections"));
        }
        if table.change_ms.is_some_and(|change| change > CHANGE) {
            broken.push(format!("{name} with {rows} rows: a new table took over {CHANGE} ms"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Cost, TableCost};

    fn cost(rows: usize, ratio: f64) -> Cost {
        Cost { rows, ..Cost::of_connection(Variant::FedgateWasm, ratio, 0.0) }
    }

    fn results(ratios: [f64; 2], cut: usize) -> Results {
        let table = TableCost {
            rows: 10,
            gateway: Variant::FedgateWasm.name().to_owned(),
            memory_mib: 1.0,
            worker_mib: None,
            start_ms: 1.0,
            change_ms: Some(20.0),
            p99_before_ms: None,
            p99_during_ms: None,
            longest_ms: None,
            cut: Some(cut),
        };
        let costs = vec![cost(10, ratios[0]), cost(10_000, ratios[1])];
        Results { costs, tables: vec![table], ..Results::default() }
    }

    #[test]
    fn what_is_outside_the_limits_is_named() {
        assert!(check(&results([1.1, 1.12], 0)).is_ok());
        let broken = |ratios, cut| check(&results(ratios, cut)).unwrap_err().to_string();
        assert!(broken([1.6, 1.6], 0).contains("at most 1.5, found 1.6"));
        assert!(broken([1.0, 1.4], 0).contains("times what 10 cost"));
        assert!(broken([1.1, f64::NAN], 0).contains("NaN"));
        assert!(broken([1.1, 1.1], 3).contains("ended connections"));
        assert!(check(&Results::default()).is_err());
    }
}
