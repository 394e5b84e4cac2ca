//! The client's side: whom the egress trusts, and what it does when a gateway is gone.

use crate::fixture::Pair;
use anyhow::ensure;
use fedgate_e2e::authority::{Authority, Identity, Leaf};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::stock::StockGateway;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use xtask::ports;

/// The server at beta's gateway address must be beta. The egress refuses a certificate of another
/// trust domain, even from a root that alpha trusts for that domain. It also refuses beta's name
/// from another root.
#[test]
fn the_server_must_be_of_the_peers_trust_domain() {
    scenario("server-identity", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let egress = pair.alpha().wait_import(&pair.web.name()).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        beta.stop_gateway();
        let impostor = Backend::http("web", "an impostor").await?;
        let address = beta.gateway_address();
        let (a, b) = (alpha.authority(), beta.authority());
        let stranger = Authority::root("root of beta")?;
        let refused: [(&str, Identity); 5] = [
            ("alpha's name, by alpha's root", alpha.workload()?),
            ("beta's name, by alpha's root", a.workload(&beta.spiffe_id("gateway"))?),
            ("beta's name, by a stranger's root", stranger.workload(&beta.spiffe_id("gateway"))?),
            (
                "no SPIFFE ID, by beta's root",
                b.sign(&Leaf::new().dns("web.shop.svc.beta.example")?)?,
            ),
            ("alpha's name, by beta's root", b.workload(&alpha.spiffe_id("gateway"))?),
        ];
        let roots = a.pem() + &b.pem();
        for (what, identity) in refused {
            let files = identity.write(run.path(), "impostor")?;
            let _gateway =
                StockGateway::start_in_place(address, run, &roots, &files, impostor.address())
                    .await?;
            ensure!(plain_get(egress, "web").await.is_err(), "{what}: the egress believed it");
        }
        // The same gateway is accepted with beta's own certificate.
        let files =
            beta.authority().workload(&beta.spiffe_id("gateway"))?.write(run.path(), "impostor")?;
        let _gateway =
            StockGateway::start_in_place(address, run, &roots, &files, impostor.address()).await?;
        wait::until_true("beta's own gateway to be believed", SOON, async || {
            Ok(plain_get(egress, "web").await?.status == 200)
        })
        .await
    });
}

/// Of two gateway addresses one is dead, and calls still go through.
#[test]
fn a_dead_gateway_address_is_skipped() {
    scenario("dead-gateway", async |run: &RunFolder| {
        let dead = ports::free()?;
        let pair = Pair::start(run, |_, beta| {
            beta.settings().advertise.insert(0, dead);
            beta.write_settings()
        })
        .await?;
        let egress = pair.alpha().wait_import(&pair.web.name()).await?;
        for _ in 0..20 {
            pair.web.call_through(egress).await?;
        }
        Ok(())
    });
}

/// Ports stay the same, because programs have them in their configuration.
#[test]
fn ports_stay_the_same_across_restarts_and_changes() {
    scenario("ports", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let (web, mail) = (pair.web.name(), pair.mail.name());
        let before =
            (pair.alpha().wait_import(&web).await?, pair.alpha().wait_import(&mail).await?);
        ensure!(before.0 != before.1);

        // Other services are added, and one is removed and returns.
        let [alpha, beta] = &mut pair.federation.clusters;
        let mut more = Vec::new();
        for number in 0..5 {
            let mut deployed = Deployed::http(beta, &format!("more{number}")).await?;
            deployed.apply(beta, Service::exported)?;
            more.push(deployed);
        }
        pair.mail.apply(beta, |service| Service { exported: false, ..service })?;
        alpha.wait_no_import(&mail).await?;
        alpha.kill_controller()?;
        alpha.start_controller().await?;
        alpha.start_egress().await?;
        pair.mail.apply(beta, Service::exported)?;
        let after = (alpha.wait_import(&web).await?, alpha.wait_import(&mail).await?);
        ensure!(before == after, "{before:?} became {after:?}");
        Ok(())
    });
}
