//! Only what is exported and granted to a peer is reachable.

use crate::fixture::Gateway;
use anyhow::ensure;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::{EXPORT_LABEL, Service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

/// The SNI decides before the handshake: a name that is not exported gets no handshake.
#[test]
fn only_exported_names_get_a_handshake() {
    scenario("names", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let before = gateway.web.backend.connections();
        let cases = [
            ("outbound_.81_._.web.shop.svc.beta.example", "unknown_service"),
            ("outbound_.80_._.nothing.shop.svc.beta.example", "unknown_service"),
            ("outbound_.80_._.web.shop.svc.alpha.example", "unknown_service"),
            ("outbound_.80_._.web.shop.svc.cluster.local", "unknown_service"),
            ("outbound_.0_._.web.shop.svc.beta.example", "bad_sni"),
            ("outbound_.80_.web.shop.svc.beta.example", "bad_sni"),
            ("web.shop.svc.beta.example", "bad_sni"),
        ];
        for (sni, reason) in cases {
            let log = gateway.beta().access_log()?;
            let answer = gateway.alpha_client.connect(gateway.beta().gateway_address(), sni).await;
            ensure!(answer.is_err(), "{sni}: the handshake went through");
            log.wait_for(&format!("{sni} to be refused as {reason}"), |entry| {
                entry.reason.as_deref() == Some(reason) && entry.client_uri_san.is_none()
            })
            .await?;
        }
        let log = gateway.beta().access_log()?;
        let answer =
            gateway.alpha_client.connect_without_sni(gateway.beta().gateway_address()).await;
        ensure!(answer.is_err(), "without a server name the handshake went through");
        log.wait_for_reason("no_sni").await?;
        ensure!(gateway.web.backend.connections() == before, "the back end was touched");
        Ok(())
    });
}

/// The label must exist with an empty value. Its owner removes it and sets it again.
#[test]
fn the_label_decides_what_is_exported() {
    scenario("label", async |run: &RunFolder| {
        let mut gateway = Gateway::start(run).await?;
        let beta = &gateway.federation.clusters[1];
        let (web, client) = (&mut gateway.web, &gateway.alpha_client);

        web.apply(beta, |service| Service { exported: false, ..service })?;
        web.wait_refused(client, beta).await?;
        let with_a_value = vec![(EXPORT_LABEL.to_owned(), "true".to_owned())];
        web.apply(beta, |service| Service { labels: with_a_value, ..service })?;
        let finding = beta.wait_finding("label_not_empty").await?;
        ensure!(finding.object["name"] == "web", "{finding:?}");
        web.refuses(client, beta).await?;
        web.apply(beta, |service| Service { labels: Vec::new(), ..service }.exported())?;
        web.wait_reachable(client, beta).await
    });
}

/// The owner's annotation and the administrator's policy must both allow a peer.
#[test]
fn a_grant_is_for_the_named_peers_only() {
    scenario("grant", async |run: &RunFolder| {
        let mut gateway = Gateway::start(run).await?;
        gateway.grant_to_alpha_alone().await?;
        let beta = &gateway.federation.clusters[1];
        let (web, alpha, gamma) = (&mut gateway.web, &gateway.alpha_client, &gateway.gamma_client);

        // A policy allows gamma, which the owner does not: still refused. Another policy limits
        // alpha to other Services.
        beta.put_policy("gamma-may", r#"{"peers": ["gamma"]}"#)?;
        beta.put_policy(
            "alpha-catalog",
            r#"{"peers": ["alpha"], "services": [{"namespaces": ["catalog"]}]}"#,
        )?;
        web.wait_refused(alpha, beta).await?;
        web.refuses(gamma, beta).await?;

        web.apply(beta, |service| Service { peers: None, ..service })?;
        web.wait_reachable(gamma, beta).await?;
        web.refuses(alpha, beta).await.map(drop)
    });
}

/// One gateway, many services: each client gets the service that it requested.
#[test]
fn each_name_leads_to_its_own_back_end() {
    scenario("routes", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        let mut other = Deployed::http(beta, "other").await?;
        other.apply(beta, Service::exported)?;
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        other.wait_reachable(&gateway.alpha_client, beta).await?;
        for client in [&gateway.alpha_client, &gateway.gamma_client] {
            other.call(client, beta).await?;
            gateway.web.call(client, beta).await?;
            mail.wait_greeting(client, beta).await?;
        }
        Ok(())
    });
}
