//! What the annotations of the gateway's Service tell a cloud's load balancer.

use crate::settings::ControllerSettings;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::ResourceExt;
use kube::api::DynamicObject;

/// Annotations that turn on the PROXY protocol, with the values that do not.
const PROXY_PROTOCOL: [(&str, &[&str]); 6] = [
    ("service.beta.kubernetes.io/aws-load-balancer-proxy-protocol", &[""]),
    ("service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol", &["", "false"]),
    ("loadbalancer.openstack.org/proxy-protocol", &["", "false"]),
    ("load-balancer.hetzner.cloud/uses-proxyprotocol", &["", "false"]),
    ("service.beta.kubernetes.io/linode-loadbalancer-default-proxy-protocol", &["", "none"]),
    ("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2", &["", "false"]),
];

/// The annotation that makes the Service's balancer send the PROXY protocol, if there is one.
pub(super) fn proxy_protocol(service: &DynamicObject) -> Option<&'static str> {
    let is_on = |(name, off): &&(&str, &[&str])| {
        service.annotations().get(*name).is_some_and(|value| !off.contains(&value.trim()))
    };
    PROXY_PROTOCOL.iter().find(is_on).map(|(name, _)| *name)
}

/// The finding for a balancer that sends a header that the gateway does not expect. The opposite
/// cannot be seen: most balancers are not configured by annotations.
pub(crate) fn finding(
    settings: &ControllerSettings,
    service: ObjectRef,
    annotation: &str,
) -> Option<Finding> {
    let message = "the load balancer sends the PROXY protocol, and the gateway does not expect it, so no peer gets through; set \
                   --gateway-proxy-protocol=true (gateway.proxyProtocol in the chart), or remove the annotation";
    let field = format!("metadata.annotations[{annotation}]");
    let unexpected = !settings.gateway.proxy_protocol;
    unexpected
        .then(|| Finding::error(FindingReason::UnexpectedProxyProtocol, service, field, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::read;
    use serde_json::json;

    fn on(name: &str, value: &str) -> bool {
        let service = json!({ "metadata": { "name": "x", "annotations": { name: value } } });
        proxy_protocol(&serde_json::from_value(service).unwrap()).is_some()
    }

    #[test]
    fn annotations_that_turn_it_on_are_recognised() {
        assert!(on("service.beta.kubernetes.io/aws-load-balancer-proxy-protocol", "*"));
        assert!(on("loadbalancer.openstack.org/proxy-protocol", "v2"));
        assert!(!on("load-balancer.hetzner.cloud/uses-proxyprotocol", "false"));
        assert!(!on(
            "service.beta.kubernetes.io/linode-loadbalancer-default-proxy-protocol",
            "none"
        ));
        assert!(!on("example.com/proxy-protocol", "true"));
    }

    #[test]
    fn a_header_that_the_gateway_expects_is_no_fault() {
        let of = |flags: &[&str]| {
            finding(&read(flags).unwrap(), ObjectRef::service("a", "b"), "example")
        };
        assert_eq!(of(&["--gateway-proxy-protocol", "true"]), None);
        assert!(of(&[]).unwrap().message.contains("no peer gets through"));
    }
}
