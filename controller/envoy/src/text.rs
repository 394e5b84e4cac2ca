//! The text of files with many resources.
//!
//! A file has a resource for each peer or import, and most of them stay as they are. So the text of
//! each is made once ([`Texts`]) and put together with the others; by its layout, a file is taken
//! apart again ([`resources`]). Nothing makes or reads megabytes of JSON for one changed resource.

use serde_json::Value;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

const BEGIN: &str = "{\n  \"resources\": [\n";
const END: &str = "\n  ]\n}\n";
/// Between two resources. Everything inside of a resource is indented further, and texts in JSON
/// have no line breaks.
const BETWEEN: &str = "\n    },\n    {\n";
/// The end of a resource.
const CLOSE: &str = "\n    }";

/// The texts of resources, by everything that they are made from.
#[derive(Debug)]
pub(super) struct Texts<K> {
    known: HashMap<K, Arc<str>>,
}

impl<K> Default for Texts<K> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<K: Eq + Hash> Texts<K> {
    /// Returns a text for each key, in order. Makes those that the last call did not need, and
    /// forgets those that this one does not need.
    pub(super) fn of(
        &mut self,
        keys: impl Iterator<Item = K>,
        make: impl Fn(&K) -> Value,
    ) -> Vec<Arc<str>> {
        let mut before = std::mem::take(&mut self.known);
        let mut text = |key: K| {
            let text = before.remove(&key).unwrap_or_else(|| resource(&make(&key)));
            self.known.insert(key, Arc::clone(&text));
            text
        };
        keys.map(&mut text).collect()
    }
}

/// The text of a resource in a file.
pub(super) fn resource(value: &Value) -> Arc<str> {
    let text = format!("{value:#}");
    let mut lines = String::with_capacity(text.len() + text.len() / 4);
    for line in text.split_inclusive('\n') {
        lines.push_str("    ");
        lines.push_str(line);
    }
    lines.into()
}

/// The file with these resources. It is what [`discovery`](super::resource::discovery) makes.
pub(super) fn file<T: Borrow<str>>(resources: &[T]) -> Vec<u8> {
    match resources {
        [] => b"{\n  \"resources\": []\n}\n".to_vec(),
        resources => [BEGIN, &resources.join(",\n"), END].concat().into_bytes(),
    }
}

/// The resources in a file, each with its name; `None` if the file does not have this layout.
pub(super) fn resources(file: &[u8]) -> Option<Vec<(&str, &str)>> {
    if file == self::file::<&str>(&[]) {
        return Some(Vec::new());
    }
    let text = std::str::from_utf8(file).ok()?;
    let mut rest = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let mut resources = Vec::new();
    while let Some((inner, _)) = rest.split_once(BETWEEN) {
        let (resource, more) = rest.split_at(inner.len() + CLOSE.len());
        resources.push(resource);
        rest = more.strip_prefix(",\n")?;
    }
    resources.push(rest);
    resources.into_iter().map(|resource| Some((name(resource)?, resource))).collect()
}

fn name(resource: &str) -> Option<&str> {
    let line = resource.lines().find_map(|line| line.strip_prefix("      \"name\": "))?;
    Some(line.strip_suffix(',').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::discovery;
    use serde_json::json;

    fn some() -> Vec<Value> {
        let nested = json!([{ "name": "inner" }, { "name": "other" }, "a\n    },\n    {\nb"]);
        vec![
            json!({ "name": "a", "nested": nested }),
            json!({ "@type": "x", "name": "b, \"c\"" }),
            json!({ "name": "z", "zz": {} }),
        ]
    }

    #[test]
    fn a_file_of_texts_is_the_same_as_one_of_json() {
        for values in [some(), some()[..1].to_vec(), Vec::new()] {
            let texts: Vec<_> = values.iter().map(resource).collect();
            let expected = format!("{:#}\n", discovery(values));
            assert_eq!(String::from_utf8(file(&texts)).unwrap(), expected);
        }
    }

    #[test]
    fn a_file_is_taken_apart_into_its_resources() {
        let texts: Vec<_> = some().iter().map(resource).collect();
        let file = file(&texts);
        let found = resources(&file).unwrap();
        let names = ["\"a\"", "\"b, \\\"c\\\"\"", "\"z\""];
        assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        assert!(found.iter().zip(&texts).all(|((_, found), text)| *found == &**text));
        assert_eq!(resources(&super::file::<&str>(&[])), Some(Vec::new()));
        for other in [&b"{"[..], b"", b"{\"resources\": []}", &file[1..], &file[..file.len() - 1]] {
            assert_eq!(resources(other), None);
        }
    }

    #[test]
    fn a_text_is_made_once_and_forgotten_when_it_is_not_wanted() {
        let mut texts = Texts::default();
        let mut made = |keys: &[&'static str]| {
            let made = std::cell::RefCell::new(Vec::new());
            let all = texts.of(keys.iter().copied(), |key| {
                made.borrow_mut().push(*key);
                json!({ "name": key })
            });
            assert_eq!(all.len(), keys.len());
            made.into_inner()
        };
        assert_eq!(made(&["a", "b"]), ["a", "b"]);
        assert_eq!(made(&["b", "c"]), ["c"]);
        assert_eq!(made(&["a", "c"]), ["a"]);
    }
}
