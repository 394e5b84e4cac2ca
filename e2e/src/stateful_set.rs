//! A headless Service with the EndpointSlices that Kubernetes makes for a StatefulSet's Pods.

use crate::manifest::EXPORT_LABEL;
use std::fmt::Write;
use std::net::SocketAddr;

/// A headless Service `shop/NAME` with one port, and its Pods.
#[derive(Debug, Clone)]
pub struct StatefulSet {
    /// The Service's name.
    pub name: String,
    /// The port's name and number.
    pub port: (String, u16),
    /// Whether the Service has the export label.
    pub exported: bool,
    /// The annotation `fedgate.dev/pods`.
    pub by_name: Option<String>,
    /// The annotation `fedgate.dev/peers`.
    pub peers: Option<String>,
    /// The Pods.
    pub pods: Vec<Member>,
}

/// A Pod of a StatefulSet.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name, which is also its host name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is ready.
    pub ready: bool,
}

impl Member {
    /// A ready Pod.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self { name: name.into(), address, ready: true }
    }
}

impl StatefulSet {
    /// One that is exported with its Pods by name.
    pub fn new(name: &str, port: &str, number: u16) -> Self {
        Self {
            name: name.into(),
            port: (port.into(), number),
            exported: true,
            by_name: Some("true".into()),
            peers: None,
            pods: Vec::new(),
        }
    }

    /// The same with a Pod at each of these addresses, numbered from zero.
    pub fn with_pods(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let pods = addresses.into_iter().enumerate();
        self.pods =
            pods.map(|(n, address)| Member::new(&format!("{}-{n}", self.name), address)).collect();
        self
    }

    /// The Service's host.
    pub fn host(&self, trust_domain: &str) -> String {
        format!("{}.shop.svc.{trust_domain}", self.name)
    }

    /// The host of the Pod with this number.
    pub fn pod_host(&self, number: usize, trust_domain: &str) -> String {
        format!("{0}-{number}.{1}", self.name, self.host(trust_domain))
    }

    /// The name of the EndpointSlice of the Pod with this number.
    pub fn slice(&self, number: usize) -> String {
        format!("{}-slice-{number}", self.name)
    }

    /// Its file below `manifests/`.
    pub fn file(&self) -> String {
        format!("stateful-{}.yaml", self.name)
    }

    /// The manifests as YAML: the Service, and an EndpointSlice for each Pod, since each may listen
    /// on another port here. As in Kubernetes, the slices have the labels of their Service.
    pub fn yaml(&self) -> String {
        let (port, number) = &self.port;
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\n{}spec:\n  clusterIP: None\n  ports:\n    - {{name: {port}, port: {number}}}\n",
            self.metadata(&self.name, &[])
        );
        let headless = [
            ("kubernetes.io/service-name", self.name.as_str()),
            ("service.kubernetes.io/headless", ""),
        ];
        for (index, Member { name, address, ready }) in self.pods.iter().enumerate() {
            let _ = write!(
                yaml,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{}addressType: IPv4\nports:\n  \
                 - {{name: {port}, port: {}}}\nendpoints:\n  - addresses: [{}]\n    hostname: {name}\n    conditions: {{ready: {ready}}}\n",
                self.metadata(&self.slice(index), &headless),
                address.port(),
                address.ip(),
            );
        }
        yaml
    }

    /// Only the Service has annotations, which Kubernetes does not copy to its slices.
    fn metadata(&self, name: &str, labels: &[(&str, &str)]) -> String {
        let mut yaml = format!(
            "metadata:\n  namespace: shop\n  name: {name}\n  labels:\n    app: {}\n",
            self.name
        );
        let export = self.exported.then_some((EXPORT_LABEL, ""));
        for (label, value) in export.iter().chain(labels) {
            let _ = writeln!(yaml, "    {label}: \"{value}\"");
        }
        let annotations = [("pods", &self.by_name), ("peers", &self.peers)];
        let annotations: Vec<_> =
            annotations.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
        if labels.is_empty() && !annotations.is_empty() {
            yaml += "  annotations:\n";
            for (key, value) in annotations {
                let _ = writeln!(yaml, "    fedgate.dev/{key}: \"{value}\"");
            }
        }
        yaml
    }
}
