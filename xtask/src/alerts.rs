//! Checks the alerts of the chart with Prometheus's own tool, and that each has its tests and its
//! runbook; and the dashboards.

use crate::{dashboards, prometheus, root, run};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The alerts, relative to the checkout.
const RULES: &str = "deploy/chart/files/rules.yaml";
/// Their unit tests.
const TESTS: &str = "e2e/monitoring/rules_test.yaml";
/// The page with the runbooks.
const RUNBOOKS: &str = "docs/troubleshooting.md";

/// Checks and tests the alerts, and checks the dashboards.
///
/// # Errors
/// When a rule is wrong, a test of a rule fails, an alert lacks a test or a runbook, Grafana would
/// not load a dashboard, or promtool cannot be built.
pub fn check() -> Result<()> {
    dashboards::check()?;
    let [rules, tests, runbooks] = [RULES, TESTS, RUNBOOKS].map(read);
    let missing = missing(&rules?, &tests?, &runbooks?);
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    let promtool = prometheus::promtool()?;
    let promtool = || {
        let mut command = Command::new(&promtool);
        command.current_dir(root());
        command
    };
    run(promtool().args(["check", "rules", "--lint=all", "--lint-fatal", RULES]))?;
    run(promtool().args(["test", "rules", TESTS]))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// What an alert lacks, a line each. It needs a test in which it fires and one in which it is
/// silent, and a link to a section of its own in the runbooks.
fn missing(rules: &str, tests: &str, runbooks: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for rule in rules.split("- alert: ").skip(1) {
        let alert = rule.lines().next().unwrap_or_default();
        let cases: Vec<_> =
            tests.split("- name: ").filter(|case| case.starts_with(&format!("{alert} "))).collect();
        let fires = format!("alertname=\"{alert}\"");
        if !cases.iter().any(|case| case.contains(&fires)) {
            missing.push(format!("{TESTS}: {alert} has no case in which it fires"));
        }
        if !cases.iter().any(|case| case.contains(" is silent ") && !case.contains(&fires)) {
            missing.push(format!("{TESTS}: {alert} has no case in which it is silent"));
        }
        if !rule.contains(&format!("runbook_url: RUNBOOKS#{}\n", alert.to_lowercase())) {
            missing.push(format!("{RULES}: {alert} has no runbook_url to its own section"));
        }
        if !runbooks.contains(&format!("\n### {alert}\n")) {
            missing.push(format!("{RUNBOOKS}: {alert} has no section"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::missing;

    const RULES: &str = "rules:\n- alert: Bad\n  runbook_url: RUNBOOKS#bad\n";
    const TESTS: &str = "tests:\n- name: Bad fires\n  alertname=\"Bad\"\n- name: Bad is silent at night\n  exp_samples: []\n";
    const RUNBOOKS: &str = "\n### Bad\n";

    #[test]
    fn an_alert_needs_both_kinds_of_tests_and_a_runbook() {
        assert_eq!(missing(RULES, TESTS, RUNBOOKS), [""; 0]);
        let silent = "tests:\n- name: Bad is silent at night\n";
        for (rules, tests, runbooks, what) in [
            (RULES, silent, RUNBOOKS, "no case in which it fires"),
            (RULES, &TESTS[..42], RUNBOOKS, "no case in which it is silent"),
            (RULES, TESTS, "### Worse\n", "no section"),
            ("- alert: Bad\n  runbook_url: RUNBOOKS#worse\n", TESTS, RUNBOOKS, "no runbook_url"),
        ] {
            let missing = missing(rules, tests, runbooks);
            assert!(matches!(&missing[..], [one] if one.contains(what)), "{what}: {missing:?}");
        }
    }

    /// A test of another alert, or of one whose name begins alike, does not count.
    #[test]
    fn tests_belong_to_one_alert() {
        let rules = RULES.replace("Bad", "Ba").replace("#bad", "#ba");
        let missing = missing(&rules, TESTS, "\n### Ba\n");
        assert_eq!(missing.len(), 2, "{missing:?}");
    }
}
