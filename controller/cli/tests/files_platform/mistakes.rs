//! Manifests and settings with one mistake each, as people make them.

pub(crate) fn policy(spec: &str) -> String {
    format!(
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {{name: NAME}}\nspec: {spec}\n"
    )
}

pub(crate) fn federation(spec: &str) -> String {
    format!(
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {{name: NAME}}\nspec:\n  trustDomain: NAME.example\n  \
         metadataEndpoint: https://NAME.example/metadata\n{spec}"
    )
}

pub(crate) fn service(ports: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: NAME\n  namespace: shop\n  labels: {{federation.istio.deckhouse.io/public-service: ''}}\n\
         {more}spec:\n  ports: {ports}\n"
    )
}

pub(crate) fn federated(spec: &str) -> String {
    format!(
        "apiVersion: fedgate.dev/v1alpha1\nkind: FederatedService\nmetadata: {{name: NAME, namespace: shop}}\nspec: {spec}\n"
    )
}

pub(crate) const PORTS: &str = "[{name: http, port: 80}]";

/// Manifests with one mistake each; NAME stands for the file's name.
pub(crate) fn manifests() -> Vec<(&'static str, String)> {
    let endpoint = |url: &str| federation("").replace("https://NAME.example/metadata", url);
    let domain = |domain: &str| {
        federation("").replace("trustDomain: NAME.example", &format!("trustDomain: {domain}"))
    };
    let ca = |ca: &str| federation(&format!("  metadata: {{ca: {ca}}}\n"));
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: NAME, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n";
    vec![
        // YAML.
        ("bracket", "kind: [\n".into()),
        ("brace", "metadata: {name: x\nkind: y\n".into()),
        ("tab", "kind: Service\nmetadata:\n\tname: x\n".into()),
        ("colon", "kind: a: b\n".into()),
        ("quote", "kind: \"Service\nmetadata: x\n".into()),
        ("indent", "kind: Service\nmetadata:\n    name: x\n  namespace: y\n".into()),
        ("twice", "kind: Service\nkind: Service\n".into()),
        ("alias", "kind: *nothing\n".into()),
        ("recursion", "a: &a [*a]\n".into()),
        ("merge", "a: &a 1\nb: {<<: *a}\n".into()),
        ("tag", "kind: !secret Service\n".into()),
        ("binary", "kind: !!binary '@'\n".into()),
        ("template", "kind: {{ .Values.kind }}\n".into()),
        ("conflict", "kind: Service\n<<<<<<< HEAD\nmetadata: 1\n=======\n".into()),
        ("infinite", "kind: Service\nx: .inf\n".into()),
        ("directive", "%YAML nonsense\n---\nkind: x\n".into()),
        ("deep", "[".repeat(100) + &"]".repeat(100)),
        ("many", format!("[{}]", "1, ".repeat(60_000))),
        ("nul", "kind: Ser\0vice\n".into()),
        ("text", "hello\n".into()),
        ("number", "42\n".into()),
        ("list", "- a\n- b\n".into()),
        ("html", "<html><body>404</body></html>\n".into()),
        ("emoji", "\u{1f600}\n".into()),
        // Kinds.
        ("no-kind", "metadata: {name: x}\n".into()),
        ("kind-number", "apiVersion: v1\nkind: 7\n".into()),
        ("no-version", "kind: Service\nmetadata: {name: NAME}\n".into()),
        ("version", service(PORTS, "").replace("apiVersion: v1", "apiVersion: v2")),
        ("other", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n".into()),
        ("empty-list", "apiVersion: v1\nkind: List\nitems: {a: 1}\n".into()),
        ("plural", policy("{}").replace("FederationPolicy", "FederationPolicies")),
        // Names.
        ("nameless", service(PORTS, "").replace("  name: NAME\n", "")),
        ("name-number", service(PORTS, "").replace("NAME", "7")),
        ("underscore", service(PORTS, "").replace("NAME", "my_web")),
        ("capitals", federation("").replace("name: NAME", "name: Beta")),
        ("namespace", service(PORTS, "").replace("shop", "Shop!")),
        // Services.
        ("port-word", service("[{name: http, port: eighty}]", "")),
        ("port-quoted", service("[{name: http, port: '80'}]", "")),
        ("port-large", service("[{name: http, port: 80000}]", "")),
        ("port-zero", service("[{name: http, port: 0}]", "")),
        ("port-half", service("[{name: http, port: 1.5}]", "")),
        ("port-missing", service("[{name: http}]", "")),
        ("ports-fields", service("{name: http, port: 80}", "")),
        ("ports-none", service("[]", "")),
        ("unnamed", service("[{port: 80}]", "")),
        ("protocol", service("[{name: http, port: 80, protocol: tcp}]", "")),
        ("label", service(PORTS, "").replace("public-service: ''", "public-service: 'true'")),
        ("label-number", service(PORTS, "").replace("public-service: ''", "public-service: 1")),
        ("annotation", service(PORTS, "  annotations: {fedgate.dev/peers: '*'}\n")),
        ("annotation-misspelt", service(PORTS, "  annotations: {fedgate.dev/peer: beta}\n")),
        ("annotation-list", service(PORTS, "  annotations: {fedgate.dev/peers: [beta]}\n")),
        ("mode", service(PORTS, "  annotations: {fedgate.dev/gateway-mode: Passthrough}\n")),
        ("pods-word", service(PORTS, "  annotations: {fedgate.dev/pods: 'all'}\n")),
        ("pods-address", service(PORTS, "  annotations: {fedgate.dev/pods: 'true'}\n")),
        (
            "pods-nobody",
            service(PORTS, "  annotations: {fedgate.dev/pods: 'true'}\n")
                .replace("  ports:", "  clusterIP: None\n  ports:"),
        ),
        ("external", service(PORTS, "").replace("  ports:", "  type: ExternalName\n  ports:")),
        ("spec-list", "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: []\n".into()),
        // FederatedServices.
        ("name-version", federated("{}").replace("v1alpha1", "v1")),
        ("name-empty", federated("")),
        ("name-ports", federated("{members: [{local: {}}]}")),
        ("name-unknown", federated(&format!("{{ports: {PORTS}, members: [{{peer: [beta]}}]}}"))),
        ("name-null", federated(&format!("{{ports: {PORTS}, members: [{{local: }}]}}"))),
        (
            "name-two",
            federated(&format!("{{ports: {PORTS}, members: [{{local: {{}}, allPeers: {{}}}}]}}")),
        ),
        (
            "name-host",
            federated(&format!(
                "{{host: web.example, ports: {PORTS}, members: [{{local: {{}}}}]}}"
            )),
        ),
        ("name-none", federated(&format!("{{ports: {PORTS}, members: []}}"))),
        ("name-peer", federated(&format!("{{ports: {PORTS}, members: [{{peers: [nobody]}}]}}"))),
        (
            "name-weight",
            federated(&format!("{{ports: {PORTS}, members: [{{local: {{}}, weight: none}}]}}")),
        ),
        // EndpointSlices.
        ("slice-address", format!("{slice}endpoints: [{{addresses: [here]}}]\n")),
        ("slice-text", format!("{slice}endpoints: [{{addresses: 10.0.0.1}}]\n")),
        (
            "slice-label",
            format!("{slice}endpoints: []\n").replace("service-name: web", "service: web"),
        ),
        // IstioFederations.
        ("no-spec", federation("").split("spec:").next().unwrap().into()),
        ("no-domain", federation("").replace("  trustDomain: NAME.example\n", "")),
        ("domain-capitals", domain("Beta.example")),
        ("domain-local", domain("cluster.local")),
        ("domain-number", domain("7")),
        ("domain-spiffe", domain("spiffe://beta.example")),
        ("domain-nothing", domain("")),
        ("endpoint-http", endpoint("http://beta.example")),
        ("endpoint-query", endpoint("https://beta.example?x")),
        ("endpoint-password", endpoint("https://user:secret@beta.example")),
        ("endpoint-host", endpoint("beta.example")),
        ("ca-text", ca("here")),
        ("ca-nothing", ca("")),
        ("ca-number", ca("7")),
        ("ca-place", federation("  ca: x\n")),
        ("field", federation("  trustDomian: x\n")),
        ("insecure", federation("  metadata: {insecureSkipVerify: yes}\n")),
        // FederationPolicies.
        ("policy-null", policy("{services: }")),
        ("policy-deep-null", policy("{services: [{namespaces: }]}")),
        ("policy-empty", policy("")),
        ("policy-peers-empty", policy("{peers: []}")),
        ("policy-callers-empty", policy("{callers: []}")),
        ("policy-namespaces-empty", policy("{services: [{namespaces: []}]}")),
        ("policy-word", policy("{peers: beta}")),
        ("policy-number", policy("{peers: [7]}")),
        ("policy-mode", policy("{mode: audit}")),
        ("policy-mode-list", policy("{mode: [Audit]}")),
        ("policy-field", policy("{service: []}")),
        ("policy-row", policy("{services: [{namespace: [shop]}]}")),
        ("policy-port", policy("{services: [{ports: [[80]]}]}")),
        ("policy-port-large", policy("{services: [{ports: [99999]}]}")),
        ("policy-pattern", policy("{callers: [{namespace: Shop}]}")),
        (
            "policy-operator",
            policy("{services: [{selector: {matchExpressions: [{key: a, operator: Eq}]}}]}"),
        ),
        (
            "policy-values",
            policy("{services: [{selector: {matchExpressions: [{key: a, operator: In}]}}]}"),
        ),
        ("policy-outside", policy("{}") + "callers: []\n"),
        ("policy-list", policy("[]")),
        ("policy-peer", policy("{peers: [nobody], services: []}")),
        ("policy-port-zero", policy("{services: [{ports: [0]}]}")),
        ("policy-port-quoted", policy("{services: [{ports: ['80']}]}")),
        ("policy-port-range", policy("{services: [{ports: [80-90]}]}")),
        ("policy-port-capitals", policy("{services: [{ports: [HTTP]}]}")),
        ("policy-port-negative", policy("{services: [{ports: [-1]}]}")),
        ("policy-star", policy("{peers: ['*']}")),
        ("policy-peers-fields", policy("{peers: {beta: true}}")),
        ("policy-services-star", policy("{services: '*'}")),
        ("policy-services-fields", policy("{services: {namespaces: [shop]}}")),
        ("policy-services-name", policy("{services: [shop/web]}")),
        ("policy-namespaces-word", policy("{services: [{namespaces: shop}]}")),
        ("policy-labels", policy("{services: [{selector: {app: web}}]}")),
        ("policy-labels-list", policy("{services: [{selector: {matchLabels: [a]}}]}")),
        ("policy-label-number", policy("{services: [{selector: {matchLabels: {a: 1}}}]}")),
        ("policy-callers-word", policy("{callers: shop}")),
        ("policy-callers-name", policy("{callers: [shop/sa]}")),
        ("policy-callers-plural", policy("{callers: [{namespaces: [shop]}]}")),
        ("policy-callers-case", policy("{callers: [{serviceaccount: x}]}")),
        ("policy-mode-on", policy("{mode: on}")),
        // More Services.
        ("port-negative", service("[{name: http, port: -1}]", "")),
        ("port-octal", service("[{name: http, port: 080}]", "")),
        ("port-underscore", service("[{name: http, port: 8_0}]", "")),
        ("port-exponent", service("[{name: http, port: 1e3}]", "")),
        ("port-bare", service("[80]", "")),
        ("port-name-number", service("[{name: 80, port: 80}]", "")),
        ("port-name-capitals", service("[{name: HTTP, port: 80}]", "")),
        ("port-case", service("[{Name: http, Port: 80}]", "")),
        ("port-target", service("[{name: http, port: 80, targetPort: [1]}]", "")),
        ("selector-list", service(PORTS, "") + "  selector: [app]\n"),
        ("selector-number", service(PORTS, "") + "  selector: {app: 1}\n"),
        ("labels-list", service(PORTS, "").replace("labels: {", "labels: [").replace("''}", "'']")),
        ("labels-twice", service(PORTS, "  labels: {}\n")),
        ("annotations-list", service(PORTS, "  annotations: []\n")),
        ("mode-nothing", service(PORTS, "  annotations: {fedgate.dev/gateway-mode: }\n")),
        ("created", service(PORTS, "  creationTimestamp: yesterday\n")),
        ("namespace-empty", service(PORTS, "").replace("shop", "''")),
        ("name-dash", service(PORTS, "").replace("NAME", "-web")),
        ("kind-case", service(PORTS, "").replace("kind: Service", "Kind: Service")),
        ("kind-lower", service(PORTS, "").replace("kind: Service", "kind: service")),
        ("version-number", service(PORTS, "").replace("apiVersion: v1", "apiVersion: 1")),
        ("metadata-word", service(PORTS, "").replace("metadata:", "metadata: web")),
        // More EndpointSlices.
        ("slice-port-address", format!("{slice}endpoints: [{{addresses: ['10.0.0.1:80']}}]\n")),
        ("slice-octal", format!("{slice}endpoints: [{{addresses: [010.0.0.1]}}]\n")),
        ("slice-singular", format!("{slice}endpoints: [{{address: 10.0.0.1}}]\n")),
        ("slice-bare", format!("{slice}endpoints: [10.0.0.1]\n")),
        ("slice-fields", format!("{slice}endpoints: {{addresses: [10.0.0.1]}}\n")),
        (
            "slice-ready",
            format!(
                "{slice}endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: 'yes'}}}}]\n"
            ),
        ),
        ("slice-type", format!("{slice}endpoints: []\n").replace("IPv4", "FQDN")),
        ("slice-type-case", format!("{slice}endpoints: []\n").replace("IPv4", "ipv4")),
        ("slice-port-zero", format!("{slice}endpoints: []\nports: [{{port: 0}}]\n")),
        ("slice-port-name", format!("{slice}endpoints: []\nports: [{{port: http}}]\n")),
        ("slice-port-none", format!("{slice}endpoints: []\nports: [{{name: http}}]\n")),
        // More IstioFederations.
        ("domain-star", domain("'*.example'")),
        ("domain-dot", domain("beta.example.")),
        ("domain-dash", domain("-beta.example")),
        ("domain-list", domain("[a]")),
        ("domain-twice", federation("  trustDomain: again\n")),
        ("endpoint-port-zero", endpoint("https://beta.example:0/metadata")),
        ("endpoint-port-large", endpoint("https://beta.example:65536/metadata")),
        ("endpoint-port-name", endpoint("https://beta.example:https/metadata")),
        ("endpoint-ipv6", endpoint("https://fd00::1:443/metadata")),
        ("endpoint-fragment", endpoint("https://beta.example/metadata#x")),
        ("endpoint-space", endpoint("https://beta example/metadata")),
        ("endpoint-number", endpoint("7")),
        ("endpoint-scheme", endpoint("tcp://beta.example:1")),
        ("ca-file", ca("/etc/ca.pem")),
        ("ca-list", ca("[a]")),
        ("ca-cut", ca("\"-----BEGIN CERTIFICATE-----\\nMIIB\\n\"")),
        ("ca-bare", ca("MIIBszCCAVmgAwIBAgIU")),
        ("ca-field", federation("  metadata: {caFile: x}\n")),
        ("insecure-on", federation("  metadata: {insecureSkipVerify: on}\n")),
        ("group", federation("").replace("v1alpha1", "v1")),
        // More YAML.
        ("comma", "apiVersion: v1\nkind: Service\nmetadata: {name: a\n".into()),
        ("escape", "a: \"bad \\q escape\"\n".into()),
        ("braces", "{a: b}}\n".into()),
        ("dedent", "a: b\n c: d\n".into()),
        ("after-list", "a:\n- b\nc\n".into()),
        ("literal", "a: |\nb\n".into()),
        ("at", "a: @b\n".into()),
        ("backtick", "a: `b`\n".into()),
        ("percent", "a: %b\n".into()),
        ("complex", "? x\n".into()),
        ("python", "!!python/object:os.system x\n".into()),
        ("list-row", "apiVersion: v1\nkind: List\nitems:\n- x\n".into()),
        ("list-items", "apiVersion: v1\nkind: List\n".into()),
        ("yes", "yes\n".into()),
        ("second", "kind: Service\n---\n\tx: y\n".into()),
    ]
}

const SETTINGS: &str = "trustDomain: alpha.example
gateway: {advertise: ['192.0.2.1:15443']}
metadata: {plain: true}
identity: {certificateChain: chain.pem, privateKey: key.pem, roots: roots.pem}
";

/// Settings with one mistake each.
pub(crate) fn settings() -> Vec<String> {
    let with = |line: &str| format!("{SETTINGS}{line}\n");
    let instead = |from: &str, to: &str| SETTINGS.replace(from, to);
    vec![
        String::new(),
        "- a\n".into(),
        "hello\n".into(),
        "trustDomain: [\n".into(),
        "\ttrustDomain: x\n".into(),
        with("trustDomain: again"),
        with("clusterUUID: 7"),
        with("network: {podCIDRs: 10.0.0.0/8}"),
        with("network: {podCIDRs: [10.0.0.0/99]}"),
        with("network: [a]"),
        with("egress: {ports: 15199-15100}"),
        with("egress: {ports: [1, 2]}"),
        with("egress: {listen: everywhere}"),
        with("times: {poll: 10}"),
        with("times: {staleAfter: 2h, stalenessLimit: 1h}"),
        with("admin: {listen: '0.0.0.0:1'}"),
        with("limits: {documents: 5}"),
        with("keyFile: 7"),
        with("keyFile: {a: 1}"),
        instead("trustDomain: alpha.example\n", ""),
        instead("alpha.example", "Alpha.Example"),
        instead("alpha.example", "7"),
        instead("plain: true", "plain: yes"),
        instead("plain: true", "plain: true, tls: {certificate: a, key: b}"),
        instead("plain: true", "plain: false"),
        instead("plain: true", "tls: {certificate: a}"),
        instead("plain: true", "plain: true, path: a b"),
        instead("advertise: ['192.0.2.1:15443']", "advertise: ['0.0.0.0:1', gw, 7]"),
        instead("advertise: ['192.0.2.1:15443']", "listen: 15443"),
        instead("advertise: ['192.0.2.1:15443']", ""),
        instead("roots: roots.pem", "root: roots.pem"),
        with("TrustDomain: x"),
        with("times: 30s"),
        with("times: {poll: -5s}"),
        with("times: {poll: 0s}"),
        with("times: {timeout: 2h}"),
        with("times: {poll: 99999999999999999999s}"),
        with("times: {stalenessLimit: 1y}"),
        with("egress: {ports: 15100}"),
        with("egress: {ports: 15100..15999}"),
        with("egress: {ports: 0-100}"),
        with("egress: {ports: 15100-65536}"),
        with("egress: {listen: '127.0.0.1:1'}"),
        with("egress: {admin: '192.0.2.1:9'}"),
        with("egress: {port: 1-2}"),
        with("egress: {openFiles: 64k}"),
        with("egress: {addresses: 127.96.0.0/30}"),
        with("egress: {locality: ''}"),
        with("egress: {serverNames: '127.0.0.1:15443'}"),
        with("egress: {serverNames: '127.0.0.1:15080'}"),
        with("network: {podCIDRs: [10.0.0.0]}"),
        with("network: {podCidrs: [10.0.0.0/8]}"),
        with("network: {name: ''}"),
        with("clusterUUID: not-a-uuid"),
        with("admin: {listen: 'localhost:1'}"),
        with("admin: {port: 9}"),
        with("tracing: {otlpEndpoint: 'http://user:secret@collector:4318'}"),
        with("'': x"),
        with("[a]: b"),
        with("x: !!binary aa"),
        format!("{SETTINGS}---\n{SETTINGS}"),
        instead("alpha.example", "alpha example"),
        instead("alpha.example", "spiffe://alpha.example"),
        instead("alpha.example", "[alpha.example]"),
        instead("alpha.example", ""),
        instead("plain: true", "plain: on"),
        instead("plain: true", "plain: 1, tls: {certificate: a, key: b}"),
        instead("{plain: true}", "plain"),
        instead("plain: true", "plain: true, listen: 15080"),
        instead("plain: true", "tls: {cert: a, key: b}"),
        instead("advertise: ['192.0.2.1:15443']", "advertise: []"),
        instead("advertise: ['192.0.2.1:15443']", "advertise: '192.0.2.1:15443'"),
        instead("advertise: ['192.0.2.1:15443']", "advertise: {a: 1}"),
        instead(
            "advertise: ['192.0.2.1:15443']",
            "advertise: ['169.254.169.254:80', '192.0.2.1:15443@a/b/c/d']",
        ),
        instead("gateway: {", "gateway: {advertiseTo: {beta: []}, "),
        instead("'192.0.2.1:15443'", "'fd00::1:15443'"),
        instead("'192.0.2.1:15443'", "192.0.2.1"),
        instead("'192.0.2.1:15443'", "'https://gw.example:15443/x'"),
        instead("'192.0.2.1:15443'", "'gw.example:0'"),
        instead("'192.0.2.1:15443'", "'gw.example:http'"),
        instead("advertise: ['192.0.2.1:15443']", "listen: '192.0.2.1:0'"),
        instead("advertise: ['192.0.2.1:15443']", "listen: 'localhost:15443'"),
        instead(
            "gateway: {",
            "gateway: {openFiles: 10, workers: 3, healthName: on, filter: wasm, ",
        ),
        instead("gateway: {", "gateway: {namedCallers: 1001, "),
        instead("gateway: {", "gateway: {namedCallers: 10, filter: native, "),
        instead("roots: roots.pem", "roots: [roots.pem]"),
        instead("roots: roots.pem", "roots: ''"),
        instead("gateway: {", "gateway: gateway {"),
        instead("advertise: ['192.0.2.1:15443']", "listen: [::1]:15443"),
        instead("advertise: ['192.0.2.1:15443']", "advertise: [[2001:db8::1]:15443]"),
        with("egress:\n  serverNames: [::1]:15444"),
    ]
}
