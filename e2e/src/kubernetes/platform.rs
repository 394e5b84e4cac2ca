//! Writes what the rest of Kubernetes would: kubelets, the scheduler, a cloud's load balancers.

use super::objects::{Key, Objects};
use anyhow::Result;
use serde_json::{Value, json};

/// A node, as its kubelet describes it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Pairs of type (`InternalIP`, `ExternalIP`, …) and address.
    pub addresses: Vec<(&'static str, String)>,
    /// The address range of its Pods.
    pub pod_cidr: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it accepts new Pods (is not cordoned).
    pub schedulable: bool,
}

impl Node {
    /// A ready node with an `InternalIP`.
    pub fn new(name: &str, address: impl ToString) -> Self {
        let addresses = vec![("InternalIP", address.to_string())];
        Self { name: name.into(), addresses, pod_cidr: None, ready: true, schedulable: true }
    }
}

/// A Pod, as the scheduler and its kubelet describe it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its service account.
    pub service_account: String,
    /// Its labels.
    pub labels: Value,
    /// Its address.
    pub address: String,
    /// Whether it is ready.
    pub ready: bool,
}

impl Objects {
    /// Creates a namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_namespace(&self, name: &str) -> Result<()> {
        let metadata = json!({ "name": name });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        self.apply_one(&namespace).await.map(drop)
    }

    /// Writes a node and its status.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_node(&self, node: &Node) -> Result<()> {
        let Node { name, addresses, pod_cidr, ready, schedulable } = node;
        let mut spec = json!({ "unschedulable": !schedulable });
        if let Some(cidr) = pod_cidr {
            spec["podCIDR"] = json!(cidr);
            spec["podCIDRs"] = json!([cidr]);
        }
        self.apply_one(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": spec }))
            .await?;
        let key = Key::cluster_scoped("v1", "Node", name);
        // A new node has a not-ready taint, which its kubelet would remove.
        self.patch(key, &json!({ "spec": { "taints": null } })).await?;
        let addresses: Vec<Value> = addresses
            .iter()
            .map(|(kind, address)| json!({ "type": kind, "address": address }))
            .collect();
        self.patch_status(
            key,
            &json!({ "addresses": addresses, "conditions": [ready_condition(*ready)] }),
        )
        .await
    }

    /// Writes a Pod and its status.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_pod(&self, pod: &Pod) -> Result<()> {
        let Pod { namespace, name, node, service_account, labels, address, ready } = pod;
        // fedgate's namespace accepts no other Pods (Pod Security `restricted`).
        let container =
            json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
        let containers = json!([{ "name": "main", "image": "none", "securityContext": container }]);
        let security =
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
        self.apply_one(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": namespace, "name": name, "labels": labels },
            "spec": { "nodeName": node, "serviceAccountName": service_account, "containers": containers, "securityContext": security },
        }))
        .await?;
        let status = json!({
            "phase": "Running",
            "hostIP": address,
            "podIP": address,
            "podIPs": [{ "ip": address }],
            "conditions": [ready_condition(*ready)],
        });
        self.patch_status(Key::namespaced("v1", "Pod", namespace, name), &status).await
    }

    /// Gives a Service of type LoadBalancer its addresses, for example `[{"ip": "10.77.0.2"}]`.
    ///
    /// # Errors
    /// When there is no such Service, or the API server refuses.
    pub async fn put_load_balancer(
        &self,
        namespace: &str,
        service: &str,
        ingress: &Value,
    ) -> Result<()> {
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        self.patch_status(Key::namespaced("v1", "Service", namespace, service), &status).await
    }
}

fn ready_condition(ready: bool) -> Value {
    json!({ "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "Test" })
}
