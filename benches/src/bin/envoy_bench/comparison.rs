//! Two runs side by side: what a change did.

use crate::measurement::{Cost, Results};
use crate::page;

/// A table of the ratios to no authorization in both runs. A ratio is compared, not a time: the
/// runs may be on different machines.
pub(crate) fn table(base: &Results, now: &Results) -> String {
    let head = ["rows", "gateway", "operation", "ratio before", "ratio now", "change"];
    let rows = now
        .costs
        .iter()
        .filter_map(|cost| row(base.cost(cost.rows, &cost.gateway, &cost.operation)?, cost));
    page::table(&head, rows)
}

fn row(before: &Cost, now: &Cost) -> Option<[String; 6]> {
    let change = (now.ratio? / before.ratio? - 1.0) * 100.0;
    // Where the quartiles overlap, the difference may be chance.
    let overlaps = now.ratio_q1? <= before.ratio_q3? && before.ratio_q1? <= now.ratio_q3?;
    let spread = if overlaps { ", within the spread" } else { "" };
    Some([
        now.rows.to_string(),
        now.gateway.clone(),
        now.operation.clone(),
        format!("{:.3}", before.ratio?),
        format!("{:.3}", now.ratio?),
        format!("{change:+.1} %{spread}"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Variant;

    fn results(ratio: f64) -> Results {
        let cost = Cost::of_connection(Variant::FedgateWasm, ratio, 0.01);
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
