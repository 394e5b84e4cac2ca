//! Health checks of members: they find dead workloads behind a gateway that works.

use crate::failover::{FAILOVER, Names, WEB, call, mails, wait_answered_by, wait_only};
use anyhow::ensure;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::plain_greeting;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::federated_service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::time::Instant;

const MEMBERS: &str = "[{peers: [beta]}, {peers: [gamma]}]";

/// A `FederatedService` `shop/NAME` with a health check.
fn checked(name: &str, port: (&str, u16), check: &str) -> String {
    let plain = federated_service(name, port, MEMBERS);
    plain.replace(&format!("port: {}", port.1), &format!("port: {}, healthCheck: {check}", port.1))
}

#[test]
fn a_member_whose_workloads_are_dead_is_left_if_it_is_checked() {
    scenario("health-check", async |run: &RunFolder| {
        let mut names = Names::start(run, MEMBERS, async |_| Ok(())).await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        let address = names.beta_web.backend.address();
        let none = Backend::http("none", "beta").await?;
        std::mem::replace(&mut names.beta_web.backend, none).stop().await;

        // Without a check, calls go on to beta: its gateway works.
        let fails = async || Ok(call(egress).await.is_err());
        wait::stays("calls fail without a check", FAILOVER, fails).await?;
        names.alpha().wait_members(WEB, &["*beta ready", "gamma ready"]).await?;
        let manifest = checked("web", ("http", 80), "{path: /healthz}");
        names.alpha().put_manifest("name-web.yaml", &manifest)?;
        wait_answered_by(egress, &names.gamma_web).await?;
        names.alpha().wait_members(WEB, &["beta not_healthy", "*gamma ready"]).await?;
        let explained = names.alpha().fedgate(&["explain", "--to", WEB]).await?;
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        for part in ["health check GET /healthz every 500ms", "not_healthy", "takes calls  gamma"] {
            ensure!(text.contains(part), "{part} is not in {text}");
        }

        let mut times = Vec::new();
        for _ in 0..2 {
            names.beta_web.backend = Backend::http_again(address, "web", "beta").await?;
            wait_only(egress, &names.beta_web).await?;
            for _ in 0..50 {
                ensure!(call(egress).await? == names.beta_web.identity(), "it flaps");
            }
            let none = Backend::http("none", "beta").await?;
            std::mem::replace(&mut names.beta_web.backend, none).stop().await;
            let start = Instant::now();
            wait::until_true("gamma to answer", 2 * FAILOVER, async || {
                Ok(call(egress).await.is_ok_and(|answer| answer == names.gamma_web.identity()))
            })
            .await?;
            times.push(start.elapsed());
            wait_only(egress, &names.gamma_web).await?;
            for _ in 0..20 {
                ensure!(call(egress).await? == names.gamma_web.identity(), "beta was called");
            }
        }
        println!("gamma answered {times:?} after the death of beta's workload");
        // On a busy machine one of them may take longer.
        ensure!(times.iter().any(|took| *took < FAILOVER), "gamma answered only after {times:?}");
        Ok(())
    });
}

#[test]
fn a_check_over_tcp_expects_what_the_server_says() {
    scenario("health-check-tcp", async |run: &RunFolder| {
        let names = Names::start(run, MEMBERS, async |_| Ok(())).await?;
        let [alpha, beta, gamma] = &names.federation.clusters;
        let mut mails = mails([beta, gamma]).await?;
        let put = |check: &str| {
            alpha.put_manifest("mail.yaml", &checked("mail", ("tcp-smtp", 25), check))
        };
        put("{tcp: {expect: '220 '}}")?;
        let egress = alpha.wait_name("mail.shop.global:25").await?;
        let greeted_by = async |mail: &Deployed, within| {
            wait::until_true(&format!("{} to greet", mail.identity()), within, async || {
                Ok(plain_greeting(egress).await?.1 == format!("220 {}", mail.identity()))
            })
            .await
        };
        greeted_by(&mails[0], SOON).await?;
        alpha.wait_members("mail.shop.global:25", &["*beta ready", "gamma ready"]).await?;
        // Only gamma says this.
        put("{tcp: {expect: of gamma}}")?;
        alpha.wait_members("mail.shop.global:25", &["beta not_healthy", "*gamma ready"]).await?;
        greeted_by(&mails[1], SOON).await?;
        put("{tcp: {send: \"EHLO\\r\\n\", expect: '250 EHLO'}}")?;
        greeted_by(&mails[0], SOON).await?;
        let none = Backend::http("none", "beta").await?;
        std::mem::replace(&mut mails[0].backend, none).stop().await;
        greeted_by(&mails[1], 2 * FAILOVER).await?;

        // With no member left it is an error, whoever found out.
        let says_none = async || {
            let output = alpha.fedgate(&["status"]).await?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(!output.status.success() && text.contains("no_member_ready"))
        };
        ensure!(!says_none().await?, "gamma is left");
        put("{tcp: {expect: of nobody}}")?;
        wait::until_true("no_member_ready", SOON, says_none).await
    });
}
