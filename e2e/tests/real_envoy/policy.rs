//! The administrator's policies: callers, ports, audit mode; and the effect of an unreadable
//! policy.

use crate::fixture::Gateway;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::envoy::access_log::Entry;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

fn client_of(gateway: &Gateway, namespace: &str, service_account: &str) -> Result<Client> {
    let alpha = gateway.alpha();
    let id = format!("spiffe://{}/ns/{namespace}/sa/{service_account}", alpha.trust_domain());
    Client::new(Some(&alpha.authority().workload(&id)?))
}

#[test]
fn callers_are_matched_by_namespace_and_service_account() {
    scenario("callers", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        beta.put_policy(
            "callers",
            r#"{"peers": ["alpha"], "callers": [{"namespace": "shop", "serviceAccount": "cart*"}, {"namespace": "ops-*"}]}"#,
        )?;
        gateway.web.wait_refused(&client_of(&gateway, "other", "cart")?, beta).await?;
        let cases = [
            ("shop", "cart", true),
            ("shop", "cart-2", true),
            ("shop", "web", false),
            ("shop2", "cart", false),
            ("ops-night", "anyone", true),
            ("ops", "anyone", false),
            ("x-ops-", "anyone", false),
        ];
        for (namespace, account, allowed) in cases {
            let what = || format!("{namespace}/{account}");
            let client = client_of(&gateway, namespace, account)?;
            if allowed {
                gateway.web.call(&client, beta).await.with_context(what)?;
                continue;
            }
            let log = beta.access_log()?;
            gateway.web.refuses(&client, beta).await.with_context(what)?;
            let entry = log.wait_for_reason("caller_not_granted").await.with_context(what)?;
            ensure!(entry.peer.as_deref() == Some("alpha"), "{entry:?}");
        }
        // The policy does not concern gamma.
        gateway.web.call(&gateway.gamma_client, beta).await.map(drop)
    });
}

/// Audit mode lets through what would be refused, and logs it. A client without a valid identity is
/// still refused.
#[test]
fn audit_mode_lets_calls_pass_and_logs_them() {
    scenario("audit", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        let spec = |mode| {
            format!(
                r#"{{"peers": ["alpha"], "services": [{{"namespaces": ["none"]}}], "mode": "{mode}"}}"#
            )
        };
        beta.put_policy("try", &spec("Enforce"))?;
        gateway.web.wait_refused(&gateway.alpha_client, beta).await?;
        beta.put_policy("try", &spec("Audit"))?;
        gateway.web.wait_reachable(&gateway.alpha_client, beta).await?;

        let log = beta.access_log()?;
        gateway.web.call(&gateway.alpha_client, beta).await?;
        let is_audited = |entry: &Entry| entry.outcome.as_deref() == Some("audited");
        let entry = log.wait_for("an audited connection", is_audited).await?;
        ensure!(entry.reason.as_deref() == Some("not_granted"), "{entry:?}");

        let impostor = gateway.gamma().authority().workload(&gateway.alpha().spiffe_id("cart"))?;
        gateway.web.refuses(&Client::new(Some(&impostor))?, beta).await.map(drop)
    });
}

/// An unreadable policy denies everything to the peers that it names, and is reported.
#[test]
fn an_unreadable_policy_grants_nothing() {
    scenario("unreadable-policy", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        beta.put_policy("broken", r#"{"peers": ["alpha"], "servises": [{"namespaces": ["*"]}]}"#)?;
        gateway.web.wait_refused(&gateway.alpha_client, beta).await?;
        let finding = beta.wait_finding("invalid_policy").await?;
        ensure!(finding.object["name"] == "broken", "{finding:?}");
        ensure!(finding.field.as_deref() == Some("spec.servises"), "{finding:?}");
        gateway.web.call(&gateway.gamma_client, beta).await?;
        beta.remove_manifest("policy-broken.yaml")?;
        gateway.web.wait_reachable(&gateway.alpha_client, beta).await
    });
}
