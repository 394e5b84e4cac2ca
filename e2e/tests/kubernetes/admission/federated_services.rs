use super::server::{FEDERATED_SERVICES, Server, federated_service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

fn with_member(member: Value) -> Value {
    federated_service(&json!({ "members": [member] }))
}

fn with_port(port: Value) -> Value {
    federated_service(&json!({ "ports": [port] }))
}

fn with_check(check: Value) -> Value {
    with_port(json!({ "name": "http", "port": 80, "healthCheck": check }))
}

#[test]
fn an_invalid_federated_service_is_refused() {
    scenario("federated-services", async |run: &RunFolder| {
        let server = Server::with_admission(run).await?;
        let full = json!({
            "host": "shop.web.global",
            "ports": [
                { "name": "http", "port": 80, "healthCheck": { "path": "/healthz?a=1", "interval": "1m" } },
                { "name": "tcp-tls", "port": 3306, "healthCheck": { "tcp": { "send": "a\r\n", "expect": "b" } } },
            ],
            "members": [
                { "local": {}, "service": { "name": "web", "namespace": "attic" }, "ports": { "http": 8080 } },
                { "peers": ["beta", "gamma.eu"], "priority": 1, "weight": 3 },
                { "allPeers": {}, "priority": 1 },
            ],
        });
        let valid = [federated_service(&json!({})), federated_service(&full)];
        server.takes(FEDERATED_SERVICES, valid).await?;

        let one_of = "expected exactly one of local: {}, peers: [NAME] and allPeers: {}";
        server
            .refuses(
                FEDERATED_SERVICES,
                [
                    (
                        federated_service(&json!({ "members": [] })),
                        "expected the Services behind the name",
                    ),
                    (
                        federated_service(&json!({ "ports": [] })),
                        "expected the ports that callers use",
                    ),
                    (
                        federated_service(&json!({ "host": "Web.global" })),
                        "expected a host name such as",
                    ),
                    (
                        federated_service(&json!({ "host": "global" })),
                        "expected a host name such as",
                    ),
                    (with_port(json!({ "port": 80 })), "name: Required value"),
                    (
                        with_port(json!({ "name": "", "port": 80 })),
                        "should be at least 1 chars long",
                    ),
                    (with_port(json!({ "name": "HTTP", "port": 80 })), "which says the protocol"),
                    (
                        with_port(json!({ "name": "http", "port": 0 })),
                        "should be greater than or equal to 1",
                    ),
                    (with_check(json!({})), "expected exactly one of path and tcp"),
                    (
                        with_check(json!({ "path": "/", "tcp": { "expect": "x" } })),
                        "expected exactly one of path and tcp",
                    ),
                    (with_check(json!({ "path": "healthz" })), "expected a path such as /healthz"),
                    (with_check(json!({ "path": "/a b" })), "expected a path such as /healthz"),
                    (
                        with_check(json!({ "path": "/", "interval": "100ms" })),
                        "expected a time from 500ms to 1m",
                    ),
                    (
                        with_check(json!({ "path": "/", "interval": "1h" })),
                        "expected a time from 500ms to 1m",
                    ),
                    (with_check(json!({ "tcp": { "send": "x" } })), "expect: Required value"),
                    (
                        with_port(
                            json!({ "name": "https", "port": 443, "healthCheck": { "path": "/" } }),
                        ),
                        "a TLS port cannot be checked",
                    ),
                    (with_member(json!({})), one_of),
                    (with_member(json!({ "local": {}, "peers": ["beta"] })), one_of),
                    (
                        with_member(json!({ "peers": [] })),
                        "expected at least one peer, found an empty list",
                    ),
                    (
                        with_member(json!({ "peers": ["bet*"] })),
                        "expected the name of an IstioFederation object",
                    ),
                    (
                        with_member(json!({ "local": {}, "weight": 0 })),
                        "should be greater than or equal to 1",
                    ),
                ],
            )
            .await?;
        let mut dotted = federated_service(&json!({}));
        dotted["metadata"]["name"] = json!("web.old");
        let mut beside = federated_service(&json!({}));
        beside["members"] = json!([{ "local": {} }]);
        server
            .refuses(
                FEDERATED_SERVICES,
                [
                    (dotted, "expected a name without '.'"),
                    (beside, "unknown field members; the name, its ports and its members belong under spec"),
                    (
                        federated_service(&json!({ "hosts": ["web.shop.global"] })),
                        "unknown field spec.hosts; expected some of host, members, ports",
                    ),
                    (
                        with_port(json!({ "name": "http", "port": 80, "targetPort": 8080 })),
                        "unknown field in spec.ports: targetPort; expected some of healthCheck, name, port",
                    ),
                    (
                        with_member(json!({ "local": {}, "wieght": 3 })),
                        "unknown field in spec.members: wieght; expected some of allPeers, local",
                    ),
                    (
                        with_member(json!({ "local": {}, "service": { "host": "web" } })),
                        "unknown field in a service of spec.members: host; expected some of name, namespace",
                    ),
                    (
                        with_member(json!({ "local": { "name": "web" } })),
                        "local and allPeers have no fields",
                    ),
                    (
                        with_check(json!({ "path": "/", "port": 81 })),
                        "unknown field in a healthCheck of spec.ports: port; expected some of interval, path, tcp",
                    ),
                    (
                        with_check(json!({ "tcp": { "expect": "x", "receive": "y" } })),
                        "unknown field in a tcp of spec.ports: receive; expected some of expect, send",
                    ),
                    (
                        with_check(json!({ "path": "/", "interval": null })),
                        "no value in spec.ports[].healthCheck.interval",
                    ),
                    (with_member(json!({ "local": null })), one_of),
                    (
                        with_member(json!({ "local": {}, "weight": null })),
                        "no value in spec.members[].weight",
                    ),
                ],
            )
            .await
    });
}
