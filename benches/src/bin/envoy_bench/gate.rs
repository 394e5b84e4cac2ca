//! Limits of a short run. They are wide, because a run beside other work must pass: they find a
//! filter whose part of a connection has become several times as large. Smaller steps are found by
//! the exact counts in `benches/tests/`.

use crate::measurement::{Cost, Results, TableCost};
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

/// The gateways whose table is limited.
const FEDGATE: [Variant; 2] = [Variant::FedgateWasm, Variant::FedgateNative];

/// How much more the largest table may cost a connection than the smallest, between the quartiles
/// that are nearest to each other.
const GROWTH: f64 = 1.25;

/// A new table takes effect within this many milliseconds.
const CHANGE: f64 = 2_000.0;

/// Checks all limits, and lists all that are broken. What was not measured is broken, too.
pub(crate) fn check(results: &Results) -> Result<()> {
    let ratios = RATIOS.into_iter().flat_map(|limit| ratio(results, limit));
    let growths = FEDGATE.into_iter().filter_map(|variant| growth(results, variant));
    let tables = FEDGATE.into_iter().flat_map(|variant| tables(results, variant));
    let broken: Vec<_> = ratios.chain(growths).chain(tables).collect();
    ensure!(broken.is_empty(), "outside the limits:\n  {}", broken.join("\n  "));
    Ok(())
}

fn ratio(results: &Results, (variant, operation, limit): (Variant, Operation, f64)) -> Vec<String> {
    let (gateway, operation) = (variant.name(), operation.name());
    let is_it = |cost: &&Cost| cost.gateway == gateway && cost.operation == operation;
    let costs: Vec<_> = results.costs.iter().filter(is_it).collect();
    if costs.is_empty() {
        return vec![format!("{gateway}: {operation}: not measured")];
    }
    let found = costs.iter().map(|cost| (cost.rows, cost.ratio_q1.unwrap_or(f64::NAN)));
    let broken = found.filter(|&(_, ratio)| exceeds(ratio, limit)).map(|(rows, ratio)| {
        format!(
            "{gateway}: {operation} with {rows} rows: expected a ratio of at most {limit}, \
             found {ratio}"
        )
    });
    broken.collect()
}

fn growth(results: &Results, variant: Variant) -> Option<String> {
    let (gateway, operation) = (variant.name(), Operation::Connection.name());
    let sizes = results.sizes(operation);
    let (Some(&least), Some(&most), 2..) = (sizes.first(), sizes.last(), sizes.len()) else {
        return Some(format!("{gateway}: {operation}: not measured at two sizes"));
    };
    let cost = |rows| results.cost(rows, gateway, operation);
    let large = cost(most).and_then(|cost| cost.ratio_q1).unwrap_or(f64::NAN);
    let small = cost(least).and_then(|cost| cost.ratio_q3).unwrap_or(f64::NAN);
    let grown = large / small;
    exceeds(grown, GROWTH).then(|| {
        format!(
            "{gateway}: {operation}: expected {most} rows to cost at most {GROWTH} times what \
             {least} cost, found {grown:.3}"
        )
    })
}

fn tables(results: &Results, variant: Variant) -> Vec<String> {
    let gateway = variant.name();
    let changed = |table: &&TableCost| table.gateway == gateway && table.cut.is_some();
    let changed: Vec<_> = results.tables.iter().filter(changed).collect();
    if changed.is_empty() {
        return vec![format!("{gateway}: a new table: not measured")];
    }
    let mut broken = Vec::new();
    for table in changed {
        let (rows, cut) = (table.rows, table.cut.unwrap_or_default());
        let change = table.change_ms.unwrap_or(f64::NAN);
        if cut > 0 {
            broken.push(format!(
                "{gateway} with {rows} rows: expected a new table to end no connection, found {cut}"
            ));
        }
        if exceeds(change, CHANGE) {
            broken.push(format!(
                "{gateway} with {rows} rows: expected a new table to take effect within \
                 {CHANGE} ms, found {change} ms"
            ));
        }
    }
    broken
}

/// Whether a value is above its limit, or no number.
fn exceeds(value: f64, limit: f64) -> bool {
    value.is_nan() || value > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: usize = 10;
    const MANY: usize = 10_000;

    fn cost(variant: Variant, operation: Operation, rows: usize, ratio: f64) -> Cost {
        Cost {
            rows,
            operation: operation.name().to_owned(),
            ..Cost::of_connection(variant, ratio, 0.0)
        }
    }

    fn table(variant: Variant) -> TableCost {
        TableCost {
            rows: FEW,
            gateway: variant.name().to_owned(),
            memory_mib: 1.0,
            worker_mib: None,
            start_ms: 1.0,
            change_ms: Some(CHANGE),
            p99_before_ms: None,
            p99_during_ms: None,
            longest_ms: None,
            cut: Some(0),
        }
    }

    /// A short run whose growth and changes are exactly at their limits.
    fn good() -> Results {
        let mut results = Results::default();
        for variant in FEDGATE {
            results.costs.push(cost(variant, Operation::Connection, FEW, 1.0));
            results.costs.push(cost(variant, Operation::Connection, MANY, GROWTH));
            results.costs.push(cost(variant, Operation::Request, FEW, 1.0));
            results.costs.push(cost(variant, Operation::Bulk, FEW, 1.0));
            results.tables.push(table(variant));
        }
        // Another gateway has no limits.
        results.costs.push(cost(Variant::RbacRules, Operation::Connection, FEW, 9.0));
        results.tables.push(TableCost { cut: Some(9), ..table(Variant::RbacRules) });
        results
    }

    /// What is broken after a change of good results.
    fn broken(change: impl FnOnce(&mut Results)) -> Vec<String> {
        let mut results = good();
        change(&mut results);
        let error = check(&results).map_or_else(|error| error.to_string(), |()| String::new());
        error.lines().skip(1).map(|line| line.trim().to_owned()).collect()
    }

    fn set(results: &mut Results, variant: Variant, operation: Operation, rows: usize, to: f64) {
        let name = (variant.name(), operation.name());
        let mut costs = results.costs.iter_mut();
        let is_it = |cost: &&mut Cost| (cost.gateway.as_str(), cost.operation.as_str()) == name;
        let cost = costs.find(|cost| cost.rows == rows && is_it(cost)).unwrap();
        (cost.ratio_q1, cost.ratio_q3) = (Some(to), Some(to));
    }

    #[test]
    fn a_run_at_its_limits_passes() {
        assert_eq!(broken(|_| ()), [""; 0]);
        for (variant, operation, limit) in RATIOS {
            let at_the_limit = |it: &mut Results| set(it, variant, operation, FEW, limit);
            assert_eq!(broken(at_the_limit), [""; 0], "{variant:?}, {operation:?}");
        }
    }

    #[test]
    fn each_operation_has_a_limit() {
        for (variant, operation, limit) in RATIOS {
            let above = limit + 0.001;
            let slow = broken(|it| set(it, variant, operation, FEW, above));
            let expected = format!(
                "{}: {} with 10 rows: expected a ratio of at most {limit}, found {above}",
                variant.name(),
                operation.name()
            );
            assert_eq!(slow, [expected]);
        }
    }

    #[test]
    fn a_larger_table_must_not_cost_more() {
        for variant in FEDGATE {
            let more = broken(|it| set(it, variant, Operation::Connection, MANY, GROWTH + 0.001));
            let expected = format!(
                "{}: new connection: expected 10000 rows to cost at most 1.25 times what 10 cost, \
                 found 1.251",
                variant.name()
            );
            assert_eq!(more, [expected]);
        }
    }

    #[test]
    fn a_new_table_must_end_no_connection_and_be_quick() {
        for (place, variant) in FEDGATE.into_iter().enumerate() {
            let cut = broken(|it| it.tables[place].cut = Some(1));
            let name = variant.name();
            let expected =
                format!("{name} with 10 rows: expected a new table to end no connection, found 1");
            assert_eq!(cut, [expected]);
            let slow = broken(|it| it.tables[place].change_ms = Some(CHANGE + 1.0));
            let expected = format!(
                "{name} with 10 rows: expected a new table to take effect within 2000 ms, \
                 found 2001 ms"
            );
            assert_eq!(slow, [expected]);
        }
    }

    /// A bench that no longer measures something must not pass for that.
    #[test]
    fn what_was_not_measured_is_broken() {
        for (variant, operation, _) in RATIOS {
            let name = (variant.name(), operation.name());
            let is_it = |cost: &Cost| (cost.gateway.as_str(), cost.operation.as_str()) == name;
            let missing = broken(|it| it.costs.retain(|cost| !is_it(cost)));
            let line = format!("{}: {}: not measured", name.0, name.1);
            assert!(missing.contains(&line), "{missing:?}");
            let none = broken(|it| set(it, variant, operation, FEW, f64::NAN));
            assert!(none.iter().any(|line| line.contains("found NaN")), "{none:?}");
        }
        let no_change = broken(|it| it.tables.iter_mut().for_each(|table| table.cut = None));
        assert_eq!(no_change.len(), FEDGATE.len(), "{no_change:?}");
        assert!(no_change[0].contains("a new table: not measured"), "{no_change:?}");
        let one_size = broken(|it| it.costs.retain(|cost| cost.rows == FEW));
        assert!(one_size[0].contains("not measured at two sizes"), "{one_size:?}");
        assert!(check(&Results::default()).is_err());
    }
}
