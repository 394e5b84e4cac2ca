use super::server::{EXPORTED, SERVICES, Server, service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

fn exported(spec: Value) -> Value {
    service(&json!({ EXPORTED: "" }), &spec)
}

#[test]
fn a_service_that_cannot_be_exported_is_refused_and_others_are_left_alone() {
    scenario("services", async |run: &RunFolder| {
        let server = Server::with_admission(run).await?;
        let named = json!({ "ports": [{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }] });
        let unnamed = json!({ "ports": [{ "port": 80 }] });
        let external = json!({ "type": "ExternalName", "externalName": "web.example" });
        let empty = json!({ "clusterIP": "None" });
        let value = service(&json!({ EXPORTED: "true" }), &named);

        server
            .refuses(
                SERVICES,
                [
                    (exported(unnamed.clone()), "each port of an exported Service needs a name, whose beginning says the protocol (http-web, grpc-api, tcp-db); without a name: 80"),
                    (exported(external.clone()), "a Service of type ExternalName cannot be exported"),
                    (exported(empty.clone()), "an exported Service needs one port at least"),
                    (value, "must have an empty value, found 'true'. To export the Service, set the label to \"\""),
                ],
            )
            .await?;
        server.takes(SERVICES, [exported(named)]).await?;
        // The same Services without the export label are accepted.
        let plain = [unnamed, external, empty].map(|spec| service(&json!({ "app": "web" }), &spec));
        server.takes(SERVICES, plain).await
    });
}
