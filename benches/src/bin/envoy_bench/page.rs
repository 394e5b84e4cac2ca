//! The generated tables of `docs/performance.md`.
//!
//! A table is between `<!-- begin NAME -->` and `<!-- end NAME -->`. `--record` replaces it, and a
//! test compares the page with the recorded results, so that no figure is changed by hand.

use crate::measurement::{Cost, Results, TableCost};
use crate::operation::Operation;
use crate::variant::Variant;
use anyhow::{Context, Result};

/// Makes a table from the results.
type Block = fn(&Results) -> String;

const BLOCKS: [(&str, Block); 11] = [
    ("circumstances", circumstances),
    ("ratios", ratios),
    ("instructions", instructions),
    ("connections", connections),
    ("handshakes", handshakes),
    ("refusals", refusals),
    ("open connections", open_connections),
    ("memory", memory),
    ("workers", workers),
    ("updates", updates),
    ("alternatives", alternatives),
];

/// The page with its tables made anew.
pub(crate) fn fill(page: &str, results: &Results) -> Result<String> {
    let mut page = page.to_owned();
    for (name, block) in BLOCKS {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let (before, rest) =
            page.split_once(&begin).with_context(|| format!("the page has no {begin}"))?;
        let (_, after) = rest.split_once(&end).with_context(|| format!("the page has no {end}"))?;
        page = format!("{before}{begin}\n{}\n{end}{after}", block(results));
    }
    Ok(page)
}

/// All tables, each with its name.
pub(crate) fn all(results: &Results) -> String {
    BLOCKS.iter().map(|(name, block)| format!("## {name}\n\n{}\n", block(results))).collect()
}

/// A table in Markdown.
pub(crate) fn table<R: AsRef<[String]>>(
    head: &[&str],
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.as_ref().join(" | ")));
    }
    text
}

fn circumstances(results: &Results) -> String {
    let rows = results.circumstances.iter().map(|it| [it.what.clone(), it.value.clone()]);
    table(&["what", "value"], rows)
}

/// A row for each size, and a column for each gateway.
fn by_size(results: &Results, cell: impl Fn(usize, &str) -> Option<String>) -> String {
    let names = Variant::ALL.map(Variant::name);
    let head: Vec<_> = ["rows"].into_iter().chain(names).collect();
    let row = |rows| -> Vec<String> {
        let cells = names.map(|name| cell(rows, name).unwrap_or_else(|| "-".to_owned()));
        [thousands(rows)].into_iter().chain(cells).collect()
    };
    table(&head, results.sizes(Operation::Connection.name()).into_iter().map(row))
}

fn ratios(results: &Results) -> String {
    by_size(results, |rows, gateway| {
        let cost = results.cost(rows, gateway, Operation::Connection.name())?;
        Some(match gateway == Variant::Open.name() {
            true => "1".to_owned(),
            false => ratio(cost),
        })
    })
}

/// How many instructions an operation takes, and how many more than without authorization.
pub(crate) fn instructions(results: &Results) -> String {
    let operations =
        [Operation::Connection, Operation::Unknown, Operation::NotGranted, Operation::Request];
    let head: Vec<_> = ["gateway"].into_iter().chain(operations.map(Operation::name)).collect();
    let find = |gateway: &str, operation: Operation| {
        let all = results.instructions.iter();
        let mut found = all.filter(|it| it.gateway == gateway && it.operation == operation.name());
        found.next().map(|it| it.thousands)
    };
    let cell = |gateway: &str, operation| {
        let Some(own) = find(gateway, operation) else { return "-".to_owned() };
        let count = thousands(own.round() as usize * 1_000);
        match find(Variant::Open.name(), operation) {
            Some(base) if gateway != Variant::Open.name() => {
                format!("{count} ({:+.1} %)", (own / base - 1.0) * 100.0)
            }
            _ => count,
        }
    };
    let row = |variant: Variant| -> Vec<String> {
        let cells = operations.map(|operation| cell(variant.name(), operation));
        [variant.name().to_owned()].into_iter().chain(cells).collect()
    };
    table(&head, Variant::ALL.map(row))
}

fn memory(results: &Results) -> String {
    by_size(results, |rows, gateway| {
        Some(format!("{:.0}", results.table(rows, gateway)?.memory_mib))
    })
}

fn workers(results: &Results) -> String {
    let row = |cost: &TableCost| -> Option<[String; 3]> {
        Some([thousands(cost.rows), cost.gateway.clone(), format!("{:.1} MiB", cost.worker_mib?)])
    };
    table(&["rows", "gateway", "each further worker"], results.tables.iter().filter_map(row))
}

/// All that is known of new connections.
fn connections(results: &Results) -> String {
    let head = [
        "rows",
        "gateway",
        "CPU per connection",
        "new per second",
        "p50",
        "p99",
        "Envoy's core busy",
        "clients' core busy",
    ];
    let row = |cost: &Cost| {
        [
            thousands(cost.rows),
            cost.gateway.clone(),
            format!("{:.0} us", cost.cpu_us),
            format!("{:.0}", cost.per_second),
            ms(cost.p50_us / 1e3),
            ms(cost.p99_us / 1e3),
            percent(cost.envoy_busy),
            percent(cost.clients_busy),
        ]
    };
    table(&head, of(results, Operation::Connection).map(row))
}

fn handshakes(results: &Results) -> String {
    let head = ["handshake", "gateway", "CPU per connection", "ratio", "new per second"];
    let row = |cost: &Cost| {
        [
            cost.operation.clone(),
            cost.gateway.clone(),
            format!("{:.0} us", cost.cpu_us),
            ratio(cost),
            format!("{:.0}", cost.per_second),
        ]
    };
    let operations = [Operation::Tls12, Operation::Rsa];
    table(&head, operations.into_iter().flat_map(|operation| of(results, operation)).map(row))
}

fn refusals(results: &Results) -> String {
    let head = ["rows", "gateway", "refused for its server name", "refused for its identity"];
    let row = |one: &Cost| {
        let cpu = |operation: Operation| {
            let cost = results.cost(one.rows, &one.gateway, operation.name());
            cost.map_or("-".to_owned(), |cost| format!("{:.0} us", cost.cpu_us))
        };
        let (early, late) = (cpu(Operation::Unknown), cpu(Operation::NotGranted));
        [thousands(one.rows), one.gateway.clone(), early, late]
    };
    table(&head, of(results, Operation::Unknown).map(row))
}

fn open_connections(results: &Results) -> String {
    let head =
        ["operation", "gateway", "CPU per operation", "ratio", "per second", "clients' core busy"];
    let row = |cost: &Cost| {
        let per_second = match cost.operation == Operation::Bulk.name() {
            // There and back.
            true => format!("{:.0} MiB", cost.per_second * 2.0 / 16.0),
            false => format!("{:.0}", cost.per_second),
        };
        [
            cost.operation.clone(),
            cost.gateway.clone(),
            format!("{:.0} us", cost.cpu_us),
            ratio(cost),
            per_second,
            percent(cost.clients_busy),
        ]
    };
    let operations = [Operation::Request, Operation::Bulk];
    table(&head, operations.into_iter().flat_map(|operation| of(results, operation)).map(row))
}

fn updates(results: &Results) -> String {
    let head = [
        "rows",
        "gateway",
        "start",
        "takes effect after",
        "p99 before",
        "p99 meanwhile",
        "longest",
        "connections ended",
    ];
    let row = |cost: &TableCost| -> Option<[String; 8]> {
        Some([
            thousands(cost.rows),
            cost.gateway.clone(),
            ms(cost.start_ms),
            ms(cost.change_ms?),
            ms(cost.p99_before_ms?),
            ms(cost.p99_during_ms?),
            ms(cost.longest_ms?),
            cost.cut?.to_string(),
        ])
    };
    table(&head, results.tables.iter().filter_map(row))
}

/// Where another gateway that authorizes takes less than one of fedgate's.
fn alternatives(results: &Results) -> String {
    let mut lines = String::new();
    let names = |fedgate| {
        Variant::ALL
            .into_iter()
            .filter(move |variant| variant.authorizes() && variant.is_fedgate() == fedgate)
            .map(Variant::name)
    };
    let pairs: Vec<_> =
        names(true).flat_map(|own| names(false).map(move |other| (own, other))).collect();
    for (own, other) in pairs {
        let wins: Vec<_> =
            results.costs.iter().filter_map(|cost| win(results, cost, own, other)).collect();
        let memory: Vec<_> = results
            .tables
            .iter()
            .filter(|table| table.gateway == other)
            .filter(|table| {
                let own = results.table(table.rows, own);
                own.is_some_and(|own| table.memory_mib < own.memory_mib * 0.95)
            })
            .map(|table| format!("memory with {} rows", thousands(table.rows)))
            .collect();
        let all: Vec<_> = wins.into_iter().chain(memory).collect();
        lines.push_str(&match all.is_empty() {
            true => format!("- {other} takes less than {own} nowhere.\n"),
            false => format!("- {other} takes less than {own}: {}.\n", all.join("; ")),
        });
    }
    lines
}

/// Says where `other` needs less CPU than `own`.
fn win(results: &Results, cost: &Cost, own: &str, other: &str) -> Option<String> {
    let own = results.cost(cost.rows, own, &cost.operation)?;
    (cost.gateway == other && is_less(cost, own)).then(|| {
        format!(
            "{} with {} rows ({:.0} us, {:.0} us)",
            cost.operation,
            thousands(cost.rows),
            cost.cpu_us,
            own.cpu_us
        )
    })
}

/// Returns true if the difference is more than the spread. Without a baseline there is no spread,
/// and five percent must do.
fn is_less(cost: &Cost, than: &Cost) -> bool {
    match (cost.ratio_q3, than.ratio_q1) {
        (Some(most), Some(least)) => most < least,
        _ => cost.cpu_us < than.cpu_us * 0.95,
    }
}

fn of(results: &Results, operation: Operation) -> impl Iterator<Item = &Cost> {
    results.costs.iter().filter(move |cost| cost.operation == operation.name())
}

/// The ratio to no authorization, with its quartiles.
fn ratio(cost: &Cost) -> String {
    match (cost.ratio, cost.ratio_q1, cost.ratio_q3) {
        (Some(ratio), Some(first), Some(third)) => format!("{ratio:.3} ({first:.3}-{third:.3})"),
        _ => "-".to_owned(),
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn ms(millis: f64) -> String {
    match millis < 10.0 {
        true => format!("{millis:.1} ms"),
        false => format!("{millis:.0} ms"),
    }
}

/// A number with commas: 10,000.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Instructions;
    use crate::plots;
    use std::path::Path;

    /// Fails if a figure was changed by hand, or the way to show one without making the page anew.
    #[test]
    fn the_page_shows_the_recorded_results() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let page = std::fs::read_to_string(docs.join("performance.md")).unwrap();
        let results = Results::read(&docs.join("performance")).unwrap();
        assert!(results.costs.len() > 10);
        let expected = fill(&page, &results).unwrap();
        assert!(page == expected, "docs/performance.md: run `cargo xtask bench envoy --redraw`");
        for (name, svg) in plots::all(&results).unwrap() {
            let file = docs.join("performance").join(name);
            let is_same = std::fs::read_to_string(&file).unwrap() == svg;
            assert!(is_same, "docs/performance/{name}: run `cargo xtask bench envoy --redraw`");
            assert!(page.contains(&format!("](performance/{name})")), "the page lacks {name}");
        }
    }

    #[test]
    fn an_alternative_is_cheaper_only_beyond_the_spread() {
        let cost = |gateway, ratio| Cost::of_connection(gateway, ratio, 0.02);
        let wasm = cost(Variant::FedgateWasm, 1.1);
        assert!(is_less(&cost(Variant::RbacMatcher, 1.0), &wasm));
        assert!(!is_less(&cost(Variant::RbacMatcher, 1.07), &wasm));
        let costs = vec![wasm, cost(Variant::RbacMatcher, 1.0), cost(Variant::RbacRules, 1.3)];
        let list = alternatives(&Results { costs, ..Results::default() });
        let line = "RBAC matcher takes less than fedgate (wasm): new connection with 10 rows";
        assert!(list.contains(&format!("{line} (600 us, 660 us).")), "{list}");
        assert!(list.contains("RBAC rules takes less than fedgate (wasm) nowhere."), "{list}");
    }

    #[test]
    fn instructions_are_shown_beside_those_without_authorization() {
        let of = |gateway: Variant, thousands| Instructions {
            rows: 1_000,
            gateway: gateway.name().to_owned(),
            operation: Operation::Connection.name().to_owned(),
            thousands,
        };
        let instructions = vec![of(Variant::Open, 3_200.4), of(Variant::FedgateWasm, 3_296.4)];
        let table = super::instructions(&Results { instructions, ..Results::default() });
        assert!(table.contains("| none | 3,200,000 | - |"), "{table}");
        assert!(table.contains("| fedgate (wasm) | 3,296,000 (+3.0 %) | - |"), "{table}");
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([7, 1_000, 100_000].map(thousands), ["7", "1,000", "100,000"]);
    }

    #[test]
    fn a_page_without_a_place_for_a_table_is_an_error() {
        assert!(fill("# A page\n", &Results::default()).is_err());
    }
}
