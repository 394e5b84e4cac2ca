//! The reference names everything that an operator may meet.

use fedgate_core::Reason;
use fedgate_federation::FindingReason;
use fedgate_federation::federate::ConditionType;

const REFERENCE: &str = include_str!("../../docs/reference.md");

#[test]
fn the_reference_has_every_word() {
    let reasons = Reason::ALL.iter().map(|reason| reason.word());
    let findings = FindingReason::ALL.iter().map(|reason| reason.word());
    let words = reasons.chain(findings).map(str::to_owned);
    let words = words.chain(ConditionType::ALL.iter().map(|kind| format!("{kind:?}")));
    let missing: Vec<_> = words.filter(|word| !REFERENCE.contains(&format!("| `{word}` |"))).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}

#[test]
fn the_reference_has_every_setting() {
    let source = include_str!("../src/settings.rs");
    let asked =
        source.split(['(', '&']).filter_map(|part| part.strip_prefix('"')?.split_once('"')).map(|(name, _)| name);
    let is_field =
        |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric()) && name.starts_with(char::is_lowercase);
    let missing: Vec<_> = asked.filter(is_field).filter(|name| !REFERENCE.contains(name)).collect();
    assert!(missing.is_empty(), "docs/reference.md does not explain {missing:?}");
}
