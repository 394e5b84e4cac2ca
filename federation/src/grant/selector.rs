use crate::object::{
    LabelSelector, LabelSelectorOperator, LabelSelectorRequirement, PortRef, ServiceRule,
};
use fedgate_core::Pattern;
use std::collections::BTreeMap;

/// What a rule is matched against: one port of a Service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) port: u16,
    pub(crate) port_name: &'a str,
}

/// A valid [`ServiceRule`].
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    namespaces: Option<Vec<Pattern>>,
    selector: LabelSelector,
    ports: Option<Vec<PortRef>>,
}

/// A field within the rule, and what is wrong with it.
type FieldError = (String, String);

impl Rule {
    pub(crate) fn compile(rule: &ServiceRule) -> Result<Self, FieldError> {
        let ServiceRule { namespaces, selector, ports } = rule;
        let namespaces = match namespaces {
            None => None,
            Some(texts) => Some(patterns("namespaces", texts)?),
        };
        let selector = selector.clone().unwrap_or_default();
        for (index, requirement) in selector.match_expressions.iter().enumerate() {
            let wrong = |why: &str| (format!("selector.matchExpressions[{index}]"), why.to_owned());
            check_requirement(requirement).map_err(wrong)?;
        }
        if selector.match_labels.keys().any(String::is_empty) {
            return Err((
                "selector.matchLabels".to_owned(),
                "expected label names, found an empty one".to_owned(),
            ));
        }
        if ports.as_ref().is_some_and(Vec::is_empty) {
            return Err(("ports".to_owned(), empty_list()));
        }
        Ok(Self { namespaces, selector, ports: ports.clone() })
    }

    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        let namespace = |patterns: &Vec<Pattern>| {
            patterns.iter().any(|pattern| pattern.matches(subject.namespace))
        };
        let port = |port: &PortRef| match port {
            PortRef::Number(number) => *number == subject.port,
            PortRef::Name(name) => name == subject.port_name,
        };
        self.namespaces.as_ref().is_none_or(namespace)
            && self.ports.as_ref().is_none_or(|ports| ports.iter().any(port))
            && self
                .selector
                .match_labels
                .iter()
                .all(|(key, value)| subject.labels.get(key) == Some(value))
            && self
                .selector
                .match_expressions
                .iter()
                .all(|requirement| holds(requirement, subject.labels))
    }
}

/// The message for an empty list. Some tools write `[]` for an absent list, which means the
/// opposite, so it is refused. Only `services` may be empty, to allow nothing.
pub(crate) fn empty_list() -> String {
    "expected at least one entry, found an empty list; add an entry, or write \"services: []\" under spec to allow nothing".to_owned()
}

pub(crate) fn patterns(field: &str, texts: &[String]) -> Result<Vec<Pattern>, FieldError> {
    if texts.is_empty() {
        return Err((field.to_owned(), empty_list()));
    }
    let parse = |(index, text): (usize, &String)| {
        Pattern::parse(text).map_err(|error| {
            (
                format!("{field}[{index}]"),
                format!("{error}, found {:?}", crate::finding::shown(text)),
            )
        })
    };
    texts.iter().enumerate().map(parse).collect()
}

/// Kubernetes' own rule (`LabelSelectorRequirement.values`).
fn check_requirement(requirement: &LabelSelectorRequirement) -> Result<(), &'static str> {
    use LabelSelectorOperator::{DoesNotExist, Exists, In, NotIn};
    match (requirement.operator, requirement.values.is_empty()) {
        _ if requirement.key.is_empty() => {
            Err("expected a label's name as key, found an empty one")
        }
        (In | NotIn, true) => Err(
            "expected values for In or NotIn, found none; add one, or use Exists or DoesNotExist",
        ),
        (Exists | DoesNotExist, false) => Err(
            "expected no values for Exists or DoesNotExist, found some; remove them, or use In or NotIn",
        ),
        _ => Ok(()),
    }
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.contains(value));
    match requirement.operator {
        LabelSelectorOperator::In => listed,
        LabelSelectorOperator::NotIn => !listed,
        LabelSelectorOperator::Exists => value.is_some(),
        LabelSelectorOperator::DoesNotExist => value.is_none(),
    }
}
