//! The manifests in a cluster folder, as an operator would write them.

use std::fmt::Write;
use std::net::SocketAddr;

/// The label that exports a Service.
pub const EXPORT_LABEL: &str = "federation.istio.deckhouse.io/public-service";

/// A Service with one EndpointSlice.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports. All ports of one Service have the same endpoints here.
    pub ports: Vec<Port>,
    /// Whether it has the export label.
    pub exported: bool,
    /// The annotation `fedgate.dev/peers`.
    pub peers: Option<String>,
    /// The annotation `fedgate.dev/gateway-mode`.
    pub gateway_mode: Option<String>,
    /// The Pod that backs this Service, in the same namespace. The Service selects it by its label
    /// `app`.
    pub pod: Option<String>,
    /// Further labels.
    pub labels: Vec<(String, String)>,
}

/// A port of a Service.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number, which is part of the SNI.
    pub number: u16,
    /// The address of the back end.
    pub target: SocketAddr,
}

impl Service {
    /// A Service `shop/NAME` with one port, not exported.
    pub fn new(name: &str, port: &str, number: u16, target: SocketAddr) -> Self {
        let port = Port { name: port.into(), number, target };
        Self {
            namespace: "shop".into(),
            name: name.into(),
            ports: vec![port],
            exported: false,
            peers: None,
            gateway_mode: None,
            pod: None,
            labels: Vec::new(),
        }
    }

    /// Adds the export label.
    pub fn exported(self) -> Self {
        Self { exported: true, ..self }
    }

    /// Limits the export to these peers (`fedgate.dev/peers`).
    pub fn for_peers(self, peers: &str) -> Self {
        Self { peers: Some(peers.into()), ..self }
    }

    /// Passes TLS through the gateway to the workload.
    pub fn passed_through(self) -> Self {
        Self { gateway_mode: Some("passthrough".into()), ..self }
    }

    /// Makes this Pod its back end.
    pub fn of_pod(self, pod: &str) -> Self {
        Self { pod: Some(pod.into()), ..self }
    }

    /// Its file below `manifests/`.
    pub fn file(&self) -> String {
        format!("service-{}-{}.yaml", self.namespace, self.name)
    }

    /// Its host in a cluster.
    pub fn host(&self, trust_domain: &str) -> String {
        format!("{}.{}.svc.{trust_domain}", self.name, self.namespace)
    }

    /// `host:port` of its first port, the name under which peers call it.
    pub fn import(&self, trust_domain: &str) -> String {
        format!("{}:{}", self.host(trust_domain), self.number())
    }

    /// The SNI that clients of its first port send.
    pub fn sni(&self, trust_domain: &str) -> String {
        format!("outbound_.{}_._.{}", self.number(), self.host(trust_domain))
    }

    fn number(&self) -> u16 {
        self.ports.first().map_or(0, |port| port.number)
    }

    /// The manifest as YAML.
    pub fn yaml(&self) -> String {
        let Self { namespace, name, .. } = self;
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: {namespace}\n  name: {name}\n"
        );
        let export = self.exported.then(|| (EXPORT_LABEL.to_owned(), String::new()));
        let mut labels = export.iter().chain(&self.labels).peekable();
        if labels.peek().is_some() {
            yaml += "  labels:\n";
        }
        for (label, value) in labels {
            let _ = writeln!(yaml, "    {label}: \"{value}\"");
        }
        let annotations = [("peers", &self.peers), ("gateway-mode", &self.gateway_mode)];
        let mut annotations =
            annotations.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).peekable();
        if annotations.peek().is_some() {
            yaml += "  annotations:\n";
        }
        for (name, value) in annotations {
            let _ = writeln!(yaml, "    fedgate.dev/{name}: \"{value}\"");
        }
        yaml += "spec:\n";
        if let Some(pod) = &self.pod {
            let _ = writeln!(yaml, "  selector: {{app: {pod}}}");
        }
        yaml += "  ports:\n";
        for Port { name, number, .. } in &self.ports {
            let _ = writeln!(yaml, "    - {{name: {name}, port: {number}}}");
        }
        yaml + &self.endpoints()
    }

    fn endpoints(&self) -> String {
        let Self { namespace, name, .. } = self;
        let mut yaml = format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  namespace: {namespace}\n  \
             name: {name}-1\n  labels:\n    kubernetes.io/service-name: {name}\naddressType: IPv4\nports:\n"
        );
        for Port { name, target, .. } in &self.ports {
            let _ = writeln!(yaml, "  - {{name: {name}, port: {}}}", target.port());
        }
        yaml += "endpoints:\n";
        if let Some(port) = self.ports.first() {
            let _ = writeln!(yaml, "  - addresses: [{}]", port.target.ip());
        }
        if let Some(pod) = &self.pod {
            let _ =
                writeln!(yaml, "    targetRef: {{kind: Pod, namespace: {namespace}, name: {pod}}}");
        }
        yaml
    }
}

/// A peer's `IstioFederation`.
pub fn federation(name: &str, trust_domain: &str, endpoint: &str, ca: &str) -> String {
    format!(
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata:\n  name: {name}\nspec:\n  \
         trustDomain: {trust_domain}\n  metadataEndpoint: {endpoint}\n  metadata:\n    ca: |\n{}",
        indent(ca, 6)
    )
}

/// The same manifest with annotations on its first object.
pub fn annotated(manifest: &str, annotations: &[(&str, &str)]) -> String {
    let lines: String =
        annotations.iter().map(|(name, value)| format!("    {name}: \"{value}\"\n")).collect();
    let with = format!("metadata:\n  annotations:\n{lines}");
    manifest.replacen("metadata:\n", &with, 1)
}

/// A `FederationPolicy` with this spec in JSON or YAML flow style.
pub fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata:\n  name: {name}\nspec: {spec}\n"
    )
}

/// A `FederatedService` `shop/NAME` with this port and these members, the latter in JSON.
pub fn federated_service(name: &str, port: (&str, u16), members: &str) -> String {
    let (port, number) = port;
    let spec = format!("{{ports: [{{name: {port}, port: {number}}}], members: {members}}}");
    format!(
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederatedService\nmetadata: {{namespace: shop, name: {name}}}\nspec: {spec}\n"
    )
}

/// Indents each line.
pub fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}
