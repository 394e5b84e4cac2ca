use super::server::{FEDERATIONS, Server, Unknown, federation};
use anyhow::ensure;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

const URL: &str = "https://fedgate.beta.example/metadata";

fn with_domain(trust_domain: &str) -> Value {
    federation(&json!({ "trustDomain": trust_domain, "metadataEndpoint": URL }))
}

fn with_endpoint(endpoint: &str) -> Value {
    federation(&json!({ "trustDomain": "beta.example", "metadataEndpoint": endpoint }))
}

fn with_metadata(metadata: &Value) -> Value {
    federation(
        &json!({ "trustDomain": "beta.example", "metadataEndpoint": URL, "metadata": metadata }),
    )
}

#[test]
fn an_invalid_peer_is_refused() {
    scenario("federations", async |run: &RunFolder| {
        let server = Server::with_admission(run).await?;
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

        // alpha.example is this cluster: operators apply the same objects to every cluster.
        server
            .takes(
                FEDERATIONS,
                ["beta.example", "alpha.example", "staging_1.beta-2.example"].map(with_domain),
            )
            .await?;
        server
            .refuses(
                FEDERATIONS,
                [(with_domain("cluster.local"), "every cluster calls itself that")],
            )
            .await?;
        for wrong in [
            "Beta.example",
            "spiffe://beta.example",
            "beta.example:443",
            "bêta.example",
            "beta example",
        ] {
            server
                .refuses(
                    FEDERATIONS,
                    [(with_domain(wrong), "expected a trust domain such as beta.example")],
                )
                .await?;
        }
        server.refuses(FEDERATIONS, [(with_domain(&"a".repeat(254)), "Too long")]).await?;

        let good =
            [URL, "https://beta.example", "https://10.0.0.1:8443/a/", "https://[2001:db8::1]/a@b"];
        server.takes(FEDERATIONS, good.map(with_endpoint)).await?;
        server
            .refuses(
                FEDERATIONS,
                [
                    (
                        "beta.example/metadata",
                        "expected a URL such as https://fedgate.beta.example/metadata",
                    ),
                    (
                        "https://[::1/",
                        "expected a URL such as https://fedgate.beta.example/metadata",
                    ),
                    ("http://beta.example", "expected a URL that begins with https://"),
                    ("https:///metadata", "expected a URL with a host"),
                    ("https://beta.example/?a=b", "expected a URL without '?' and '#'"),
                    ("https://beta.example/#a", "expected a URL without '?' and '#'"),
                    ("https://user@beta.example/", "expected a URL without user name and password"),
                ]
                .map(|(endpoint, words)| (with_endpoint(endpoint), words)),
            )
            .await?;

        server
            .takes(FEDERATIONS, [with_metadata(&json!({ "ca": pem })), with_metadata(&json!({}))])
            .await?;
        let file = with_metadata(&json!({ "ca": "/etc/ssl/beta.pem" }));
        server.refuses(FEDERATIONS, [(file, "expected CA certificates in PEM")]).await?;
        server
            .refuses(
                FEDERATIONS,
                [
                    (
                        federation(&json!({ "metadataEndpoint": URL })),
                        "spec.trustDomain: Required value",
                    ),
                    (
                        federation(&json!({ "trustDomain": "beta.example" })),
                        "spec.metadataEndpoint: Required value",
                    ),
                    (
                        with_metadata(&json!({ "insecureSkipVerify": "yes" })),
                        "must be of type boolean",
                    ),
                    (federation(&Value::Null), "spec: Required value"),
                ],
            )
            .await
    });
}

/// The controller must cope with these objects: it reports them in a condition, and the others go
/// on.
#[test]
fn what_the_definition_cannot_check_is_accepted() {
    scenario("let-through", async |run: &RunFolder| {
        let server = Server::with_admission(run).await?;
        let no_certificate =
            json!({ "ca": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n" });
        let endpoints = ["https://beta.example:99999/", "https://bêta.example/"].map(with_endpoint);
        server
            .takes(
                FEDERATIONS,
                endpoints.into_iter().chain([with_domain("-.-"), with_metadata(&no_certificate)]),
            )
            .await?;

        // Only the setting with the typing error is lost: the certificate is still verified.
        let typo = with_metadata(&json!({ "insecureSkipVerifi": true }));
        let stored =
            server.attempt(FEDERATIONS, &typo, Unknown::Warn).await.map_err(anyhow::Error::msg)?;
        ensure!(stored["spec"]["metadata"] == json!({ "insecureSkipVerify": false }), "{stored}");
        let refused = server.attempt(FEDERATIONS, &typo, Unknown::Refuse).await;
        let words = r#"unknown field "spec.metadata.insecureSkipVerifi""#;
        ensure!(refused.as_ref().is_err_and(|message| message.contains(words)), "{refused:?}");
        Ok(())
    });
}
