//! Converts JSON into any type that serde can read. An error names the field and says what is wrong
//! with it, in the terms of the people who write such objects.
//!
//! Both platforms read objects with it, so the same mistake has the same message in a file and on
//! an API server.

use crate::finding::shown;
use crate::spelling::nearest;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use std::fmt::{self, Display, Write as _};

/// A step on the path to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The field with this name.
    Field(String),
    /// The entry with this index in a list, counted from 0.
    Row(usize),
}

/// Where and why a value does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormError {
    /// The path to the field.
    pub path: Vec<Step>,
    /// What was expected and what was found.
    pub message: String,
}

/// Reads a value as a `T`.
///
/// # Errors
/// The first field that does not fit.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, FormError> {
    T::deserialize(Form(value))
}

/// Returns the first field below `value` that has a name but no value, such as `services:` with
/// nothing after it.
pub(crate) fn empty_field(value: &Value) -> Option<Vec<Step>> {
    let below = |step: Step, value: &Value| match value {
        Value::Null => Some(vec![step]),
        other => empty_field(other).map(|rest| std::iter::once(step).chain(rest).collect()),
    };
    match value {
        Value::Array(rows) => {
            rows.iter().enumerate().find_map(|(row, value)| below(Step::Row(row), value))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| below(Step::Field(name.clone()), value))
        }
        _ => None,
    }
}

impl FormError {
    /// Creates an error in the field at `path`.
    pub fn new(path: Vec<Step>, message: impl Into<String>) -> Self {
        Self { path, message: message.into() }
    }

    /// Returns the path as in `kubectl explain`, for example `spec.ports[0].port`.
    pub fn field(&self) -> String {
        let mut field = String::new();
        for step in &self.path {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Row(row) => write!(field, "[{row}]"),
                Step::Field(name) if field.is_empty() => write!(field, "{}", shown(name)),
                // A label or an annotation.
                Step::Field(name) if name.contains(['.', '/']) => {
                    write!(field, "[{}]", shown(name))
                }
                Step::Field(name) => write!(field, ".{}", shown(name)),
            };
        }
        field
    }

    /// Turns it into the same error in the field `name` of another value.
    #[must_use]
    pub(crate) fn below(self, name: &str) -> Self {
        self.at(Step::Field(name.to_owned()))
    }

    fn at(mut self, step: Step) -> Self {
        self.path.insert(0, step);
        self
    }
}

impl Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.field(), self.message),
        }
    }
}

impl std::error::Error for FormError {}

impl Error for FormError {
    fn custom<T: Display>(message: T) -> Self {
        let message = message.to_string();
        // The time library's own message is about digits.
        match message.contains("failed to parse") {
            true => Self::new(
                Vec::new(),
                "expected a time such as 2026-01-31T12:00:00Z, found something else; remove or correct it",
            ),
            false => Self::new(Vec::new(), shown(&message).to_string()),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let expected = match (type_in_words(&expected), found) {
            (
                text @ "a text",
                Unexpected::Bool(_)
                | Unexpected::Unsigned(_)
                | Unexpected::Signed(_)
                | Unexpected::Float(_),
            ) => {
                format!("{text} (put it in quotes)")
            }
            (other, _) => other.to_owned(),
        };
        Self::custom(format_args!("expected {expected}, found {}", value_in_words(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {}, found {length} entries",
            type_in_words(&expected.to_string())
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(vec![Step::Field(field.into())], "it must be set")
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(vec![Step::Field(field.into())], "it is there twice; remove one of the two")
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(vec![Step::Field(field.into())], no_such_field(field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "expected {}, found {:?}",
            listed(expected, "or"),
            shown(variant)
        ))
    }
}

/// Returns a message that there is no such field, with the one that was probably meant.
pub fn no_such_field(field: &str, known: &[&str]) -> String {
    match nearest(field, known.iter().copied()) {
        Some(near) => format!("there is no such field; did you mean {near:?}?"),
        None => format!("there is no such field; expected {}", listed(known, "or")),
    }
}

fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => "no field here".to_owned(),
        [word] => (*word).to_owned(),
        [first @ .., word] => format!("{} {last} {word}", first.join(", ")),
    }
}

/// Returns the name of a type for people who write YAML.
fn type_in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "a character" => "a text",
        "a sequence" => "a list",
        "a map" => "fields with values",
        // Kubernetes' own name for it.
        "enum IntOrString" | "IntOrString" => "a number or a text",
        // Names of types in this program and in Kubernetes.
        other
            if ["struct ", "enum ", "unit ", "tuple ", "newtype "]
                .iter()
                .any(|word| other.starts_with(word)) =>
        {
            "another kind of value"
        }
        other if other.starts_with(|c: char| c.is_ascii_uppercase()) && !other.contains(' ') => {
            "another kind of value"
        }
        other => other,
    }
}

fn value_in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        // 1e3 is 1000.0, which is not a whole number.
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Char(value) => format!("{:?}", shown(&value.to_string())),
        Unexpected::Str(text) => format!("{:?}", shown(text)),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "fields".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// Describes a value for messages.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => value_in_words(Unexpected::Unit),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => value_in_words(Unexpected::Str(text)),
        Value::Array(_) => value_in_words(Unexpected::Seq),
        Value::Object(_) => value_in_words(Unexpected::Map),
    }
}

struct Form<'de>(&'de Value);

impl<'de> Deserializer<'de> for Form<'de> {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                _ => Err(FormError::custom("expected a number that is not as large")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(rows) => visitor.visit_seq(Rows { rows: rows.iter().enumerate() }),
            Value::Object(fields) => {
                visitor.visit_map(Fields { fields: fields.iter(), current: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(Word(word)),
            other => Err(FormError::custom(format_args!(
                "expected {}, found {}",
                listed(words, "or"),
                self::kind(other)
            ))),
        }
    }

    /// A derived type would accept a list of its fields in order. `[]` would then read like an
    /// object without fields.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(FormError::custom(format_args!("expected fields, found {}", kind(other)))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Rows<'de> {
    rows: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Rows<'de> {
    type Error = FormError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormError> {
        let Some((row, value)) = self.rows.next() else { return Ok(None) };
        seed.deserialize(Form(value)).map(Some).map_err(|error| error.at(Step::Row(row)))
    }
}

struct Fields<'de> {
    fields: serde_json::map::Iter<'de>,
    current: Option<(&'de String, &'de Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = FormError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FormError> {
        self.current = self.fields.next();
        let Some((name, _)) = self.current else { return Ok(None) };
        let name: serde::de::value::StrDeserializer<'_, FormError> =
            name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FormError> {
        let Some((name, value)) = self.current else {
            return Err(FormError::custom("expected a field's value"));
        };
        seed.deserialize(Form(value)).map_err(|error| error.below(name))
    }
}

/// A variant without content: all our enums are plain words.
struct Word<'de>(&'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = FormError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), FormError> {
        let word: serde::de::value::BorrowedStrDeserializer<'de, FormError> =
            serde::de::value::BorrowedStrDeserializer::new(self.0);
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = FormError;

    fn unit_variant(self) -> Result<(), FormError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, FormError> {
        Err(FormError::custom("expected fields, found a word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, FormError> {
        Err(FormError::custom("expected a list, found a word"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FormError> {
        Err(FormError::custom("expected fields, found a word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::FederationPolicySpec;
    use serde_json::json;

    fn wrong(value: &Value) -> String {
        read::<FederationPolicySpec>(value).unwrap_err().to_string()
    }

    #[test]
    fn a_mismatch_is_described_in_plain_words() {
        for (value, expected) in [
            (json!({"mode": "audit"}), "mode: expected Enforce or Audit, found \"audit\""),
            (json!({"mode": 7}), "mode: expected Enforce or Audit, found 7"),
            (json!({"peers": "beta"}), "peers: expected a list, found \"beta\""),
            (
                json!({"peers": ["beta", 5]}),
                "peers[1]: expected a text (put it in quotes), found 5",
            ),
            (
                json!({"services": [{"ports": [80, [1]]}]}),
                "services[0].ports[1]: expected a port from 1 to 65535 without quotes, or a port name such as http, found a list",
            ),
            (
                json!({"services": [{"ports": [80_000]}]}),
                "services[0].ports[0]: expected a port from 1 to 65535 without quotes, or a port name such as http, found 80000",
            ),
            (
                json!({"services": [{"namespace": []}]}),
                "services[0].namespace: there is no such field; did you mean \"namespaces\"?",
            ),
            (
                json!({"x": 1}),
                "x: there is no such field; expected peers, services, callers or mode",
            ),
            (json!([]), "expected fields, found a list"),
        ] {
            assert_eq!(wrong(&value), expected);
        }
        assert!(
            read::<FederationPolicySpec>(&json!({"services": [{"ports": [80, "http"]}]})).is_ok()
        );
    }

    #[test]
    fn the_first_field_without_a_value_is_found_at_any_depth() {
        let field = |value| empty_field(&value).map(|path| FormError::new(path, "").field());
        assert_eq!(field(json!({"services": null})).as_deref(), Some("services"));
        assert_eq!(
            field(json!({"services": [{}, {"ports": null}]})).as_deref(),
            Some("services[1].ports")
        );
        assert_eq!(field(json!({"services": [null]})).as_deref(), Some("services[0]"));
        assert_eq!(field(json!({"services": [{"ports": []}], "mode": ""})), None);
    }
}
