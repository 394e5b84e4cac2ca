//! Manifests and settings with one mistake each, as people make them.

pub(crate) fn policy(spec: &str) -> String {
    format!("apiVersion: fedgate.dev/v1alpha1\nkind: FederationPolicy\nmetadata: {{name: NAME}}\nspec: {spec}\n")
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

pub(crate) const PORTS: &str = "[{name: http, port: 80}]";

/// Manifests with a mistake each; NAME is the file's.
pub(crate) fn manifests() -> Vec<(&'static str, String)> {
    let endpoint = |url: &str| federation("").replace("https://NAME.example/metadata", url);
    let domain = |domain: &str| federation("").replace("trustDomain: NAME.example", &format!("trustDomain: {domain}"));
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
        ("external", service(PORTS, "").replace("  ports:", "  type: ExternalName\n  ports:")),
        ("spec-list", "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: []\n".into()),
        // EndpointSlices.
        ("slice-address", format!("{slice}endpoints: [{{addresses: [here]}}]\n")),
        ("slice-text", format!("{slice}endpoints: [{{addresses: 10.0.0.1}}]\n")),
        ("slice-label", format!("{slice}endpoints: []\n").replace("service-name: web", "service: web")),
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
        ("policy-operator", policy("{services: [{selector: {matchExpressions: [{key: a, operator: Eq}]}}]}")),
        ("policy-values", policy("{services: [{selector: {matchExpressions: [{key: a, operator: In}]}}]}")),
        ("policy-outside", policy("{}") + "callers: []\n"),
        ("policy-list", policy("[]")),
        ("policy-peer", policy("{peers: [nobody], services: []}")),
    ]
}

const SETTINGS: &str = "trustDomain: alpha.example
gateway: {advertise: ['192.0.2.1:15443']}
metadata: {plain: true}
identity: {certificateChain: chain.pem, privateKey: key.pem, roots: roots.pem}
";

/// Settings with a mistake each.
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
    ]
}
