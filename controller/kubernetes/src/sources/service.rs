//! Services that may be exported. Unless `ServiceExport`s count, the API server sends only those
//! with the export label.

use fedgate_federation::form::{self, FormError};
use fedgate_federation::object::{PUBLIC_SERVICE_LABEL, ServiceObject};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::DynamicObject;

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// Whether it has the export label, with whatever value.
    pub(crate) has_label: bool,
    /// What an export needs of it, or why it cannot be exported.
    pub(crate) service: Result<ServiceObject, Box<Finding>>,
}

impl Read {
    /// The same Service with the export label.
    pub(crate) fn with_label(mut self) -> Self {
        if let Ok(service) = &mut self.service {
            service.labels.entry(PUBLIC_SERVICE_LABEL.to_owned()).or_default();
        }
        Self { has_label: true, ..self }
    }
}

/// Selects the Services with the label, including those whose label has a value by mistake.
pub(crate) const SELECTOR: &str = PUBLIC_SERVICE_LABEL;

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> Read {
    Read {
        uid: object.uid().unwrap_or_default(),
        has_label: object.labels().contains_key(PUBLIC_SERVICE_LABEL),
        service: service(object),
    }
}

fn service(object: DynamicObject) -> Result<ServiceObject, Box<Finding>> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let refused = |field: String, message: String| {
        let message = format!("{message}; the Service is not exported");
        Box::new(Finding::error(
            FindingReason::InvalidObject,
            ObjectRef::service(&namespace, &name),
            field,
            message,
        ))
    };
    let json = serde_json::to_value(&object)
        .map_err(|_| refused(String::new(), "it cannot be read".to_owned()))?;
    let wrong = |error: FormError| refused(error.field(), error.message);
    let service: Service = form::read(&json).map_err(wrong)?;
    let mut service =
        fedgate_engine::service_object(service, &namespace, &name, None).map_err(wrong)?;
    // Other annotations may be large, and change for unrelated reasons.
    service.annotations.retain(|key, _| key.to_ascii_lowercase().starts_with("fedgate.dev/"));
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::{GATEWAY_MODE_ANNOTATION, PEERS_ANNOTATION};
    use serde_json::json;

    #[test]
    fn a_service_keeps_what_exports_need() {
        let service = keep(
            serde_json::from_value(json!({
                "metadata": {
                    "name": "web", "namespace": "shop", "labels": { PUBLIC_SERVICE_LABEL: "" },
                    "annotations": { PEERS_ANNOTATION: "beta", GATEWAY_MODE_ANNOTATION: "passthrough", "kubectl.kubernetes.io/last-applied-configuration": "{}" },
                },
                "spec": { "ports": [{ "name": "http", "port": 80 }], "type": "ClusterIP", "selector": { "app": "web" } },
            }))
            .unwrap(),
        )
        .service
        .unwrap();
        assert_eq!(
            (service.namespace.as_str(), service.name.as_str(), service.ports.len()),
            ("shop", "web", 1)
        );
        assert_eq!((service.annotations.len(), service.selector["app"].as_str()), (2, "web"));
    }

    #[test]
    fn a_malformed_service_is_a_finding_that_names_it() {
        let finding = keep(
            serde_json::from_value(json!({
                "metadata": { "name": "web", "namespace": "shop" },
                "spec": { "ports": [{ "name": "http", "port": 80_000 }] },
            }))
            .unwrap(),
        )
        .service
        .unwrap_err();
        assert_eq!(finding.object, ObjectRef::service("shop", "web"));
        assert!(finding.field.is_some_and(|field| field == "spec.ports[0].port"));
    }
}
