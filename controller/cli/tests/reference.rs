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

#[test]
fn the_reference_has_every_command_and_its_flags() {
    let cli = Cli::command();
    let shown = || cli.get_subcommands().filter(|command| !command.is_hide_set());
    let row =
        |name: &str| REFERENCE.lines().any(|line| line.starts_with(&format!("| `fedgate {name}")));
    let missing: Vec<_> =
        shown().map(|command| command.get_name()).filter(|name| !row(name)).collect();
    assert!(missing.is_empty(), "docs/reference.md has no row for {missing:?}");
    // What an operator's script may use; `run` and `controller` have tables of their own.
    for name in ["status", "check", "top", "support-bundle"] {
        let command = cli.find_subcommand(name).unwrap();
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        let missing: Vec<_> =
            flags.filter(|flag| !REFERENCE.contains(&format!("--{flag}"))).collect();
        assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?} of {name}");
    }
}

/// The lines of a page that a shell gets: all of a block `sh`, and those of other blocks that begin
/// with a prompt.
fn code_lines(page: &str) -> impl Iterator<Item = &str> {
    let mut block = None;
    page.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(language) = line.strip_prefix("```") {
            block = match block {
                None => Some(language),
                Some(_) => None,
            };
            return None;
        }
        let is_code = block.is_some_and(|language| language == "sh" || line.starts_with("$ "));
        is_code.then_some(line)
    })
}

/// The calls of fedgate in a line of a shell, as words.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let parts = line.split(['|', ';', '&', '>', '<', '(', ')']).map(str::trim);
    let calls = parts.filter_map(|part| {
        let part = ["until ", "while ", "if ", "do "]
            .iter()
            .fold(part, |part, word| part.strip_prefix(word).unwrap_or(part));
        let rest =
            part.strip_prefix("kubectl fedgate ").or_else(|| part.strip_prefix("fedgate "))?;
        Some(
            rest.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect(),
        )
    });
    calls.collect()
}

#[test]
fn every_command_line_in_the_docs_is_accepted() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in std::fs::read_dir(docs).unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        for call in code_lines(&text).flat_map(calls) {
            seen += 1;
            let words = ["fedgate".to_owned()].into_iter().chain(call.clone());
            if let Err(error) = Cli::command().try_get_matches_from(words)
                && error.exit_code() != 0
            {
                wrong.push(format!("{}: fedgate {}: {error}", page.display(), call.join(" ")));
            }
        }
    }
    assert!(seen > 30, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
