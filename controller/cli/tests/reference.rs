//! The reference describes everything that an operator may meet.

use clap::CommandFactory;
use fedgate_cli::command::Cli;
use fedgate_core::Reason;
use fedgate_federation::FindingReason;
use fedgate_federation::federate::ConditionType;

const REFERENCE: &str = include_str!("../../../docs/reference.md");

#[test]
fn the_reference_has_every_word() {
    let reasons = Reason::ALL.iter().map(|reason| reason.word());
    let findings = FindingReason::ALL.iter().map(|reason| reason.word());
    let words = reasons.chain(findings).map(str::to_owned);
    let words = words.chain(
        ConditionType::ALL.iter().chain(ConditionType::OF_GATEWAY).map(|kind| format!("{kind:?}")),
    );
    let missing: Vec<_> =
        words.filter(|word| !REFERENCE.contains(&format!("| `{word}` |"))).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}

#[test]
fn the_reference_has_every_setting() {
    let source = include_str!("../../files/src/settings/fields.rs");
    let asked = source
        .split(['(', '&'])
        .filter_map(|part| part.strip_prefix('"')?.split_once('"'))
        .map(|(name, _)| name);
    let is_field = |name: &&str| {
        name.chars().all(|c| c.is_ascii_alphanumeric()) && name.starts_with(char::is_lowercase)
    };
    let missing: Vec<_> = asked.filter(is_field).filter(|name| !REFERENCE.contains(name)).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}

#[test]
fn the_reference_has_every_flag_of_the_controller() {
    let cli = Cli::command();
    let controller = cli.find_subcommand("controller").unwrap();
    let flags = controller
        .get_arguments()
        .filter_map(|flag| flag.get_long())
        .map(|flag| format!("`--{flag}`"));
    let variables = controller.get_arguments().filter_map(|flag| flag.get_env());
    let variables = variables.map(|variable| format!("`{}`", variable.to_string_lossy()));
    let known = |name: &String| {
        REFERENCE.contains(name) || ["`--pod-name`", "`--help`"].contains(&name.as_str())
    };
    let missing: Vec<_> = flags.chain(variables).filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}

#[test]
fn the_reference_has_every_metric_of_the_controller() {
    let sources = [
        ("fedgate_", include_str!("../../engine/src/metrics.rs")),
        ("fedgate_exporter_", include_str!("../../exchange/src/exporter/metrics.rs")),
        ("fedgate_importer_", include_str!("../../exchange/src/importer/metrics.rs")),
        ("fedgate_", include_str!("../../kubernetes/src/metrics.rs")),
    ];
    let named = |(prefix, source): (&str, &str)| {
        let names = source
            .split(".register(")
            .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"'));
        names.map(|(name, _)| format!("`{prefix}{name}`")).collect::<Vec<_>>()
    };
    let names: Vec<_> = sources.into_iter().flat_map(named).collect();
    assert!(names.len() > 20, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !REFERENCE.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}
