//! From the tree into any type that serde can read, with line and field when it cannot.

use super::{Node, Value};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt::{self, Display};

/// Where and why a value does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeError {
    /// The line, counted from 1; 0 when it is not known.
    pub line: u64,
    /// The path of the field, such as `spec.ports[0].port`.
    pub field: String,
    /// What was expected and found.
    pub message: String,
}

impl Node {
    /// Reads it as a `T`.
    ///
    /// # Errors
    /// [`TypeError`] with the first thing that does not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        T::deserialize(self).map_err(|mut error| {
            error.line = if error.line == 0 { self.line } else { error.line };
            error
        })
    }
}

impl TypeError {
    fn at(mut self, step: &str, line: u64) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self.field = match self.field.as_str() {
            "" => step.to_owned(),
            rest if rest.starts_with('[') => format!("{step}{rest}"),
            rest => format!("{step}.{rest}"),
        };
        self
    }
}

impl Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for TypeError {}

impl Error for TypeError {
    fn custom<T: Display>(message: T) -> Self {
        Self { line: 0, field: String::new(), message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {}, found {found}", in_words(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {}, found {found}", in_words(&expected.to_string())))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: field.into(), ..Self::custom("the field is missing") }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let field = fedgate_federation::shown(field);
        Self::custom(format_args!("there is no field {field:?}, expected one of {}", expected.join(", ")))
    }
}

/// What a type is called by people who write YAML.
fn in_words(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "a whole number",
        "a string" => "a text",
        "a sequence" => "a list",
        other => other,
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => number.deserialize_any(visitor).map_err(TypeError::custom),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Sequence(rows) => visitor.visit_seq(Rows { rows: rows.iter().enumerate() }),
            Value::Mapping(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.value {
            Value::String(word) => visitor.visit_enum(Word(word)),
            other => Err(TypeError::custom(format_args!("expected a word, found {}", other.kind()))),
        }
    }

    /// A derived type would take a list for its fields in their order, so that `[]` reads like one without any.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.value {
            Value::Mapping(_) => self.deserialize_any(visitor),
            other => Err(TypeError::custom(format_args!("expected fields, found {}", other.kind()))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Rows<'de> {
    rows: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Rows<'de> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TypeError> {
        let Some((number, node)) = self.rows.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|error| error.at(&format!("[{number}]"), node.line))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, super::Entry>,
    current: Option<&'de super::Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypeError> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: serde::de::value::StrDeserializer<'_, TypeError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| TypeError { line: entry.line, ..error })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TypeError> {
        let entry = self.current.ok_or_else(|| TypeError::custom("a value without its field"))?;
        seed.deserialize(&entry.node).map_err(|error| error.at(&entry.key, entry.node.line))
    }
}

/// A variant without content: all of our enums are words.
struct Word<'de>(&'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), TypeError> {
        let word: serde::de::value::BorrowedStrDeserializer<'de, TypeError> =
            serde::de::value::BorrowedStrDeserializer::new(self.0);
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, TypeError> {
        Err(TypeError::custom("expected a mapping, found a word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TypeError> {
        Err(TypeError::custom("expected a list, found a word"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, TypeError> {
        Err(TypeError::custom("expected a mapping, found a word"))
    }
}

#[cfg(test)]
mod tests {
    use crate::yaml::{Document, Limits, TypeError, parse};
    use fedgate_federation::object::FederationPolicySpec;
    use k8s_openapi::api::core::v1::Service;

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, TypeError> {
        parse(Document { text, line: 1 }, &Limits::default()).unwrap().unwrap().read()
    }

    #[test]
    fn reads_a_kubernetes_type() {
        let service: Service = read(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {a: ''}}\n\
             spec:\n  ports:\n  - {name: http, port: 80, targetPort: 8080}\n  - {name: x, port: 81, targetPort: web}\n",
        )
        .unwrap();
        let ports = service.spec.unwrap().ports.unwrap();
        assert_eq!(ports[0].port, 80);
        assert_eq!(service.metadata.labels.unwrap()["a"], "");
    }

    #[test]
    fn says_line_and_field_of_what_does_not_fit() {
        let text = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - name: http\n    port: eighty\n";
        let error = read::<Service>(text).unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (6, "spec.ports[0].port"));
        assert_eq!(error.message, "expected a whole number, found string \"eighty\"");
    }

    #[test]
    fn an_unknown_field_has_the_line_of_its_name() {
        let error = read::<FederationPolicySpec>("peers: [gamma]\nservices:\n- namespace:\n    - x\n").unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (3, "services[0]"));
        assert!(error.message.contains("\"namespace\"") && error.message.contains("namespaces"), "{error}");
    }

    #[test]
    fn words_are_enums() {
        assert!(read::<FederationPolicySpec>("mode: Audit\n").unwrap().mode.is_some());
        let error = read::<FederationPolicySpec>("\nmode: audit\n").unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (2, "mode"));
        assert!(error.message.contains("Enforce"), "{error}");
    }
}
