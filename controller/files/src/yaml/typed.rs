//! Reads the tree into any type that serde can read. Errors have line and field.

use super::{Node, Value};
use fedgate_federation::form::{self, FormError, Step};
use serde::de::DeserializeOwned;
use std::fmt;

/// Where and why a value does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeError {
    /// The line, counted from 1; 0 if it is unknown.
    pub(crate) line: u64,
    /// The path of the field, such as `spec.ports[0].port`.
    pub(crate) field: String,
    /// What was expected and found.
    pub(crate) message: String,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for TypeError {}

impl Node {
    /// Reads the node as a `T`.
    ///
    /// # Errors
    /// [`TypeError`] for the first value that does not fit.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        form::read(&self.to_json()).map_err(|error| self.wrong(&error))
    }

    /// Adds the line to an error about this node.
    pub(crate) fn wrong(&self, error: &FormError) -> TypeError {
        TypeError {
            line: self.line_of(&error.path),
            field: error.field(),
            message: error.message.clone(),
        }
    }

    /// The line of the field at the end of a path, or of the innermost value around it.
    fn line_of(&self, path: &[Step]) -> u64 {
        let below = path.split_first().and_then(|(step, rest)| match (step, &self.value) {
            (Step::Field(name), Value::Mapping(entries)) => {
                let entry = entries.iter().find(|entry| entry.key == *name)?;
                Some(if rest.is_empty() { entry.line } else { entry.node.line_of(rest) })
            }
            (Step::Row(row), Value::Sequence(rows)) => Some(rows.get(*row)?.line_of(rest)),
            _ => None,
        });
        below.unwrap_or(self.line)
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
    fn errors_name_line_and_field() {
        let text =
            "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - name: http\n    port: eighty\n";
        let error = read::<Service>(text).unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (6, "spec.ports[0].port"));
        assert_eq!(error.message, "expected a whole number, found \"eighty\"");
    }

    #[test]
    fn an_unknown_field_has_the_line_of_its_name() {
        let error =
            read::<FederationPolicySpec>("peers: [gamma]\nservices:\n- namespace:\n    - x\n")
                .unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (3, "services[0].namespace"));
        assert!(error.message.contains("\"namespaces\""), "{error}");
    }

    #[test]
    fn strings_are_read_as_enums() {
        assert!(read::<FederationPolicySpec>("mode: Audit\n").unwrap().mode.is_some());
        let error = read::<FederationPolicySpec>("\nmode: audit\n").unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (2, "mode"));
        assert!(error.message.contains("Enforce"), "{error}");
    }
}
