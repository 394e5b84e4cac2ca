//! Two runs side by side: what a change did.

use crate::measurement::{Cost, Results};

/// A table of the ratios to no authorization in both runs. A ratio is compared, not a time: the
/// runs may be on different machines.
pub(crate) fn table(base: &Results, now: &Results) -> String {
    let mut text = String::from(
        "| rows | gateway | operation | ratio before | ratio now | change |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for cost in &now.costs {
        let before = base.cost(cost.rows, &cost.gateway, &cost.operation);
        if let Some(row) = before.and_then(|before| row(before, cost)) {
            text.push_str(&row);
        }
    }
    text
}

fn row(before: &Cost, now: &Cost) -> Option<String> {
    let change = (now.ratio? / before.ratio? - 1.0) * 100.0;
    // Where the quartiles overlap, the difference may be chance.
    let overlaps = now.ratio_q1? <= before.ratio_q3? && before.ratio_q1? <= now.ratio_q3?;
    Some(format!(
        "| {} | {} | {} | {:.3} | {:.3} | {change:+.1} %{} |\n",
        now.rows,
        now.gateway,
        now.operation,
        before.ratio?,
        now.ratio?,
        if overlaps { ", within the spread" } else { "" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(ratio: f64) -> Results {
        let cost = Cost {
            rows: 10,
            gateway: "fedgate (wasm)".to_owned(),
            operation: "new connection".to_owned(),
            cpu_us: 1.0,
            ratio: Some(ratio),
            ratio_q1: Some(ratio - 0.01),
            ratio_q3: Some(ratio + 0.01),
            per_second: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            envoy_busy: 1.0,
            clients_busy: 1.0,
        };
        Results { costs: vec![cost], ..Results::default() }
    }

    #[test]
    fn a_change_is_told_from_chance() {
        let worse = table(&results(1.0), &results(1.1));
        assert!(worse.contains("| 1.000 | 1.100 | +10.0 % |"), "{worse}");
        let same = table(&results(1.0), &results(1.005));
        assert!(same.contains("+0.5 %, within the spread"), "{same}");
        assert_eq!(table(&Results::default(), &results(1.0)).lines().count(), 2);
    }
}
