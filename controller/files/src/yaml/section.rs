//! Reads settings field by field. Collects every problem and refuses unknown fields by name.

use super::{Entry, Node, Value};
use fedgate_federation::form::no_such_field;
use fedgate_federation::shown;
use fedgate_process::words::spell;
use std::{cell::RefCell, collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// A problem with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 if there is none.
    pub line: u64,
    /// The path of the field, such as `gateway.listen`.
    pub field: String,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// All problems of one file, collected while it is read.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds a problem.
    pub(crate) fn add(&self, line: u64, field: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { line, field: field.into(), message: message.into() });
    }

    /// All problems, sorted by line.
    pub(crate) fn into_vec(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// The value of a field, or what was expected instead. The caller adds "expected" and "found".
pub(crate) type Read<T> = Result<T, String>;

/// A mapping whose fields are read one by one. An absent mapping reads like an empty one.
pub(crate) struct Section<'a> {
    path: String,
    line: u64,
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The outermost mapping of a file.
    pub(crate) fn root(node: Option<&'a Node>, problems: &'a Problems) -> Self {
        Self::new(String::new(), node, problems)
    }

    fn new(path: String, node: Option<&'a Node>, problems: &'a Problems) -> Self {
        let line = node.map_or(0, |node| node.line);
        let entries = match node.map(|node| &node.value) {
            None | Some(Value::Null) => &[],
            Some(Value::Mapping(entries)) => entries.as_slice(),
            Some(other) => {
                problems.add(
                    line,
                    path.clone(),
                    format!("expected fields, found {}", other.found()),
                );
                &[]
            }
        };
        Self { path, line, entries, asked: RefCell::default(), problems }
    }

    /// Returns true if the mapping has this field with a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name && entry.node.value != Value::Null)
    }

    /// Returns true if no problem with this field or its mapping is known so far. An absent
    /// optional field has none.
    pub(crate) fn reads(&self, name: &str) -> bool {
        let path = self.path_of(name);
        !self
            .problems
            .0
            .borrow()
            .iter()
            .any(|problem| problem.field == path || problem.field == self.path)
    }

    /// Returns true if the field is absent, null or an empty list.
    pub(crate) fn is_empty(&self, name: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.key == name);
        entry.is_none_or(|entry| match &entry.node.value {
            Value::Null => true,
            Value::Sequence(rows) => rows.is_empty(),
            _ => false,
        })
    }

    /// The mapping that is the value of a field.
    pub(crate) fn section(&self, name: &'static str) -> Section<'a> {
        Section::new(self.path_of(name), self.node(name), self.problems)
    }

    /// A field that may be omitted.
    pub(crate) fn optional<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Node) -> Read<T>,
    ) -> Option<T> {
        let node = self.node(name).filter(|node| node.value != Value::Null)?;
        read(node).map_err(|expected| self.expected(name, node, &expected)).ok()
    }

    /// A field with a default. For a wrong value it also returns the default; the recorded problem
    /// keeps that from being used.
    pub(crate) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        read: impl Fn(&Node) -> Read<T>,
    ) -> T {
        self.optional(name, read).unwrap_or(default)
    }

    /// A field that must be present. `example` is a value for the message.
    pub(crate) fn required<T>(
        &self,
        name: &'static str,
        example: &str,
        read: impl Fn(&Node) -> Read<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.asked.borrow_mut().push(name);
            self.problems.add(
                self.line,
                self.path_of(name),
                format!("it must be set; write for example \"{name}: {example}\""),
            );
            return None;
        }
        self.optional(name, read)
    }

    /// A list whose rows are read independently. Unreadable rows are omitted, with a problem.
    pub(crate) fn list<T>(&self, name: &'static str, read: impl Fn(&Node) -> Read<T>) -> Vec<T> {
        let row = |(number, node): (usize, &Node)| {
            let refused = |expected: String| {
                let message = format!("expected {expected}, found {}", node.value.found());
                self.problems.add(node.line, format!("{}[{number}]", self.path_of(name)), message);
            };
            read(node).map_err(refused).ok()
        };
        self.rows(name).iter().enumerate().filter_map(row).collect()
    }

    /// A mapping whose names are data, each with a list. Each row is read independently.
    pub(crate) fn lists<K: Ord, T>(
        &self,
        name: &'static str,
        key: impl Fn(&str) -> Read<K>,
        read: impl Fn(&Node) -> Read<T>,
    ) -> BTreeMap<K, Vec<T>> {
        let entries = match self.node(name).map(|node| (&node.value, node)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::Mapping(entries), _)) => entries.as_slice(),
            Some((_, node)) => {
                self.expected(name, node, "names, each with a list");
                &[]
            }
        };
        let mut lists = BTreeMap::new();
        for entry in entries {
            let path = format!("{}.{}", self.path_of(name), shown(&entry.key));
            let refuse = |line, at: String, expected: String, found: String| {
                self.problems.add(line, at, format!("expected {expected}, found {found}"));
            };
            let read_key = key(&entry.key).map_err(|expected| {
                refuse(entry.line, path.clone(), expected, format!("{:?}", shown(&entry.key)));
            });
            let rows = match &entry.node.value {
                Value::Sequence(rows) if !rows.is_empty() => rows.as_slice(),
                other => {
                    let found = other.found();
                    refuse(
                        entry.line,
                        path.clone(),
                        "a list with at least one value".into(),
                        found,
                    );
                    &[]
                }
            };
            let row = |(number, node): (usize, &Node)| {
                let refused = |expected| {
                    refuse(node.line, format!("{path}[{number}]"), expected, node.value.found());
                };
                read(node).map_err(refused).ok()
            };
            let rows = rows.iter().enumerate().filter_map(row).collect();
            lists.extend(read_key.ok().map(|key| (key, rows)));
        }
        lists
    }

    /// Adds a problem with a field that can be read but is wrong.
    pub(crate) fn refuse(&self, name: &'static str, message: impl Into<String>) {
        let line = self
            .entries
            .iter()
            .find(|entry| entry.key == name)
            .map_or(self.line, |entry| entry.line);
        self.problems.add(line, self.path_of(name), message);
    }

    /// Refuses the fields that have not been read.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for entry in self.entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let name = if entry.key.is_empty() {
                "\"\"".to_owned()
            } else {
                shown(&entry.key).to_string()
            };
            self.problems.add(
                entry.line,
                join(&self.path, &name),
                no_such_field(&entry.key, &asked),
            );
        }
    }

    fn rows(&self, name: &'static str) -> &'a [Node] {
        match self.node(name).map(|node| (&node.value, node)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::Sequence(rows), _)) => rows,
            Some((_, node)) => {
                self.expected(name, node, "a list");
                &[]
            }
        }
    }

    fn node(&self, name: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(name);
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node)
    }

    fn expected(&self, name: &str, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", node.value.found());
        self.problems.add(node.line, self.path_of(name), message);
    }

    fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// Reads any text.
///
/// # Errors
/// What was expected.
pub(crate) fn text(node: &Node) -> Read<String> {
    match &node.value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Err("a text (put it in quotes)".into()),
        _ => Err("a text".into()),
    }
}

/// Reads `true` or `false`.
///
/// # Errors
/// What was expected.
pub(crate) fn boolean(node: &Node) -> Read<bool> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err("true or false".into()),
    }
}

/// Reads a text that its type parses.
pub(crate) fn parsed<T: FromStr>(expected: &'static str) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        text(node).ok().and_then(|text| text.parse().ok()).ok_or_else(|| expected.to_owned())
    }
}

/// Reads a text whose parser says what it expected.
pub(crate) fn explained<T, E: fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E>,
    what: &'static str,
) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        let text = text(node).map_err(|_| what.to_owned())?;
        let expected = |error: String| match error.strip_prefix("expected ") {
            Some(expected) => expected.to_owned(),
            None => format!("{what} ({error})"),
        };
        parse(&text).map_err(|error| expected(error.to_string()))
    }
}

/// Reads a time span such as `5s`, `10m` or `1h30m` within a range, both ends included.
pub(crate) fn duration(least: Duration, most: Duration) -> impl Fn(&Node) -> Read<Duration> {
    move |node| {
        let expected = || {
            format!(
                "a time from {} to {}, such as \"5s\", \"10m\" or \"1h30m\"",
                spell(least),
                spell(most)
            )
        };
        let text = text(node).map_err(|_| expected())?;
        let span = text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok());
        span.filter(|span| (least..=most).contains(span)).ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Document, Limits, parse};

    fn problems_of(text: &str, read: impl Fn(&Section<'_>)) -> Vec<String> {
        let node = parse(Document { text, line: 1 }, &Limits::default()).unwrap();
        let problems = Problems::default();
        let section = Section::root(node.as_ref(), &problems);
        read(&section);
        section.finish();
        problems.into_vec().into_iter().map(|p| format!("{} {p}", p.line)).collect()
    }

    /// Reads a whole number within a range, both ends included.
    fn number<T>(least: T, most: T) -> impl Fn(&Node) -> Read<T>
    where
        T: TryFrom<u64> + PartialOrd + Copy + fmt::Display,
    {
        move |node| {
            let expected = || format!("a whole number from {least} to {most}");
            let Value::Number(number) = &node.value else { return Err(expected()) };
            let number = number.as_u64().and_then(|number| T::try_from(number).ok());
            number.filter(|number| *number >= least && *number <= most).ok_or_else(expected)
        }
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let text = "poll: 5 parsecs\nworkers: 0\nlisten: 80\nlst: [1, b]\nwrokers: 1\nzzz: 1\n";
        let found = problems_of(text, |section| {
            section.or(
                "poll",
                Duration::ZERO,
                duration(Duration::from_millis(100), Duration::from_secs(3600)),
            );
            section.or("workers", 1, number(1_u32, 64));
            section.or("listen", String::new(), text_reader());
            section.list("lst", number(1_u16, 9));
            section.required("trustDomain", "alpha.example", text_reader());
        });
        insta::assert_snapshot!(found.join("\n"), @r#"
        1 poll: expected a time from 100ms to 1h, such as "5s", "10m" or "1h30m", found "5 parsecs"
        1 trustDomain: it must be set; write for example "trustDomain: alpha.example"
        2 workers: expected a whole number from 1 to 64, found 0
        3 listen: expected a text (put it in quotes), found 80
        4 lst[1]: expected a whole number from 1 to 9, found "b"
        5 wrokers: there is no such field; did you mean "workers"?
        6 zzz: there is no such field; expected poll, workers, listen, lst or trustDomain
        "#);
    }

    fn text_reader() -> fn(&Node) -> Read<String> {
        super::text
    }

    #[test]
    fn a_section_is_absent_empty_or_a_mapping() {
        let inner = |section: &Section<'_>| section.section("a").finish();
        assert!(problems_of("", inner).is_empty());
        assert!(problems_of("a:\n", inner).is_empty());
        assert_eq!(problems_of("a: 1\n", inner), ["1 a: expected fields, found 1"]);
        assert_eq!(
            problems_of("a:\n  b: 1\n", inner),
            ["2 a.b: there is no such field; expected no field here"]
        );
    }

    #[test]
    fn durations_are_printed_as_they_are_read() {
        let read = duration(Duration::ZERO, Duration::MAX);
        for (text, expected) in
            [("5s", 5_000), ("250ms", 250), ("10m", 600_000), ("1h30m", 5_400_000)]
        {
            let node = Node { line: 1, value: Value::String(text.into()) };
            let span = read(&node).unwrap();
            assert_eq!(span, Duration::from_millis(expected));
            assert_eq!(spell(span), text);
        }
        for bad in ["5", "", "-5s", "5 parsecs", "s"] {
            assert!(read(&Node { line: 1, value: Value::String(bad.into()) }).is_err(), "{bad}");
        }
    }
}
