//! Who may be behind a name that several clusters serve, and what happens when none is left.

use crate::failover::{FAILOVER, Names, WEB, call, mails, wait_answered_by, wait_only};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{plain_get, plain_greeting, send_line};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::gateway_front::Front;
use fedgate_e2e::http2::{self, Http2Backend};
use fedgate_e2e::manifest::{Service, federated_service};
use fedgate_e2e::metadata_proxy::{MetadataProxy, PRIVATE, announce};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// gamma offers the same Service, but only beta is named.
#[test]
fn no_one_but_a_listed_member_is_called_and_a_call_fails_when_none_is_left() {
    scenario("no-member", async |run: &RunFolder| {
        let names = Names::start(run, "[{peers: [beta]}]", async |_| Ok(())).await?;
        let alpha = names.alpha();
        let egress = alpha.wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        names.gamma_web.wait_callable_from(alpha).await?;
        let before = names.gamma_web.backend.connections();
        names.beta_front.set(Front::Dead).await?;
        // The egress finds out, and then the controller's probe.
        let entry =
            wait::until("a call to fail at once, and the log to say why", SOON, async || {
                let start = Instant::now();
                ensure!(call(egress).await.is_err(), "somebody answered");
                ensure!(start.elapsed() < FAILOVER, "it took {:?} to fail", start.elapsed());
                logged(alpha.egress()?.log(), "UH")
            })
            .await?;
        ensure!(entry["service"] == WEB && entry["bytes_sent"] == 0, "{entry}");
        alpha.wait_members(WEB, &["beta peer_not_ready"]).await?;
        let finding = alpha.wait_finding("no_member_ready").await?;
        ensure!(finding.object["kind"] == "FederatedService", "{finding:?}");
        let explained = alpha.fedgate(&["explain", "--to", WEB]).await?;
        let text = String::from_utf8_lossy(&explained.stdout);
        ensure!(!explained.status.success() && text.contains("peer_not_ready"), "{text}");
        ensure!(names.gamma_web.backend.connections() == before, "gamma was called");
        Ok(())
    });
}

/// beta renames its Service: calls go to the new name as soon as it exists, and until then to the
/// old one.
#[test]
fn a_peers_service_may_have_two_names() {
    scenario("renamed", async |run: &RunFolder| {
        let members = "[{peers: [beta], service: {name: web-v2}}, {peers: [beta, gamma]}]";
        let mut names = Names::start(run, members, async |_| Ok(())).await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        names
            .alpha()
            .wait_members(WEB, &["beta not_offered", "*beta ready", "*gamma ready"])
            .await?;

        let beta = &mut names.federation.clusters[1];
        let mut new = Deployed::http(beta, "web-v2").await?;
        new.apply(beta, Service::exported)?;
        names.alpha().wait_members(WEB, &["*beta ready", "beta ready", "gamma ready"]).await?;
        wait_answered_by(egress, &new).await?;
        let status = names.alpha().fedgate(&["status"]).await?;
        let text = String::from_utf8_lossy(&status.stdout);
        let current = "calls go to beta (web-v2.shop.svc.beta.example:80)";
        ensure!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(current), "{text}");

        // The twin: the new one is no longer for alpha.
        let beta = &names.federation.clusters[1];
        new.apply(beta, |service| service.for_peers("gamma"))?;
        let all = ["beta not_offered", "*beta ready", "*gamma ready"];
        names.alpha().wait_members(WEB, &all).await?;
        wait::until_true("no call to go to the new one", SOON, async || {
            for _ in 0..10 {
                if call(egress).await? == new.identity() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    });
}

/// The last line of an access log with these flags.
fn logged(log: &Path, flags: &str) -> Result<Option<Value>> {
    let text = std::fs::read_to_string(log)?;
    let mut entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(entries.rfind(|entry| entry["flags"] == flags))
}

#[test]
fn a_member_that_is_not_granted_or_not_known_is_passed_over() {
    scenario("passed-over", async |run: &RunFolder| {
        let members = "[{peers: [nobody]}, {peers: [beta]}, {peers: [gamma]}]";
        let mut names = Names::start(run, members, async |_| Ok(())).await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        let finding = names.alpha().wait_finding("unknown_peer").await?;
        ensure!(finding.object["name"] == "web", "{finding:?}");

        let beta = &names.federation.clusters[1];
        names.beta_web.apply(beta, |service| service.for_peers("gamma"))?;
        let all = ["nobody unknown_peer", "beta not_offered", "*gamma ready"];
        names.alpha().wait_members(WEB, &all).await?;
        wait_only(egress, &names.gamma_web).await?;
        let before = names.beta_web.backend.connections();
        for _ in 0..20 {
            ensure!(call(egress).await? == names.gamma_web.identity());
        }
        ensure!(names.beta_web.backend.connections() == before, "beta was called");
        names.alpha().wait_finding("member_not_offered").await?;
        let explained = names.alpha().fedgate(&["explain", "--to", WEB]).await?;
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        ensure!(explained.status.success(), "{text}");
        for line in ["passed over  beta", "not_offered", "takes calls  gamma"] {
            ensure!(text.contains(line), "{line} is not in {text}");
        }
        // Granted again, beta takes the calls again.
        let beta = &names.federation.clusters[1];
        names.beta_web.apply(beta, |service| Service { peers: None, ..service })?;
        wait_answered_by(egress, &names.beta_web).await
    });
}

/// A connection that is open stays where it is while members come and go.
#[test]
fn a_servers_first_words_arrive_and_an_open_connection_stays() {
    scenario("failover-greeting", async |run: &RunFolder| {
        let mut names = Names::start(run, "[{peers: [beta]}]", async |_| Ok(())).await?;
        let [alpha, beta, gamma] = &names.federation.clusters;
        let mut mails = mails([beta, gamma]).await?;
        let members = "[{peers: [beta]}, {allPeers: {}}]";
        alpha.put_manifest("mail.yaml", &federated_service("mail", ("tcp-smtp", 25), members))?;
        let egress = alpha.wait_name("mail.shop.global:25").await?;
        let greeted_by = async |mail: &Deployed| {
            wait::until(&format!("{} to greet", mail.identity()), SOON, async || {
                let (connection, line) = plain_greeting(egress).await?;
                Ok((line == format!("220 {}", mail.identity())).then_some(connection))
            })
            .await
        };
        let mut open = greeted_by(&mails[0]).await?;
        names
            .beta_web
            .apply(&names.federation.clusters[1], |service| service.for_peers("gamma"))?;
        let beta = &names.federation.clusters[1];
        mails[0].apply(beta, |service| service.for_peers("gamma"))?;
        drop(greeted_by(&mails[1]).await?);
        // beta's gateway ends the connection, since alpha's grant is gone.
        fedgate_e2e::client::wait_closed(&mut open, SOON).await?;

        mails[0].apply(beta, |service| Service { peers: None, ..service })?;
        let mut open = greeted_by(&mails[0]).await?;
        // gamma leaves and comes back, which changes the aggregate.
        let gamma = &names.federation.clusters[2];
        mails[1].apply(gamma, |service| Service { exported: false, ..service })?;
        let alpha = &names.federation.clusters[0];
        alpha.wait_members("mail.shop.global:25", &["*beta ready"]).await?;
        mails[1].apply(gamma, Service::exported)?;
        alpha.wait_members("mail.shop.global:25", &["*beta ready", "gamma ready"]).await?;
        ensure!(send_line(&mut open, "still here").await? == "250 still here");
        Ok(())
    });
}

#[test]
fn members_of_one_priority_share_by_weight_and_take_over_from_each_other() {
    scenario("weights", async |run: &RunFolder| {
        let members = "[{peers: [beta], priority: 0, weight: 3}, {local: {}, priority: 0}]";
        let mut local = None;
        let backend = Backend::http("web", "alpha").await?;
        let names = Names::start(run, members, async |[alpha, ..]| {
            let service = Service::new("web", "http", 80, backend.address());
            alpha.put_service(&service)?;
            local = Some(service);
            Ok(())
        })
        .await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        names.alpha().wait_members(WEB, &["*beta ready", "*local ready"]).await?;
        let mut of_beta = 0;
        for _ in 0..200 {
            let answer = call(egress).await?;
            of_beta += usize::from(answer == names.beta_web.identity());
            ensure!(answer == names.beta_web.identity() || answer == "this is web of alpha");
        }
        println!("beta answered {of_beta} of 200 calls with weight 3 of 4");
        ensure!((115..=185).contains(&of_beta), "beta answered {of_beta} of 200");
        names.beta_front.set(Front::Dead).await?;
        wait::until_true("beta to be left out", FAILOVER, async || {
            Ok(call(egress).await? == "this is web of alpha")
        })
        .await?;
        for _ in 0..30 {
            ensure!(call(egress).await? == "this is web of alpha");
        }
        // And the other way round: the local workload dies, beta is back.
        names.beta_front.set(Front::To(names.beta().gateway_address())).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        backend.stop().await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let answer = call(egress).await?;
            ensure!(answer == names.beta_web.identity(), "{answer}");
        }
        Ok(())
    });
}

/// gamma announces hosts under the suffix, in its document.
#[test]
fn a_peer_can_not_take_a_name_or_its_calls() {
    scenario("claim", async |run: &RunFolder| {
        let mut proxy = None;
        let names = Names::start(run, "[{peers: [beta]}]", async |[alpha, _, gamma]| {
            let liar = MetadataProxy::in_front_of(gamma).await?;
            liar.alter_json(PRIVATE, |document| {
                announce(document, "web.shop.global");
                announce(document, "web.shop.svc.global");
            });
            alpha.put_peer(gamma, &liar.url())?;
            proxy = Some(liar);
            Ok(())
        })
        .await?;
        let alpha = names.alpha();
        let egress = alpha.wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        let finding = alpha.wait_finding("foreign_name").await?;
        ensure!(finding.object["name"] == "gamma", "{finding:?}");
        ensure!(alpha.wait_name(WEB).await? == egress, "the port changed");
        let before = names.gamma_web.backend.connections();
        for _ in 0..20 {
            ensure!(call(egress).await? == names.beta_web.identity());
        }
        names.beta_front.set(Front::Dead).await?;
        wait::until_true("calls to fail", SOON, async || Ok(call(egress).await.is_err())).await?;
        ensure!(plain_get(egress, "web.shop.global").await.is_err());
        ensure!(names.gamma_web.backend.connections() == before, "gamma attracted calls");
        ensure!(proxy.is_some());
        Ok(())
    });
}

/// The YAML of a recipe of `docs/failover.md`, by its heading.
fn recipe(heading: &str) -> Result<String> {
    let page = std::fs::read_to_string(xtask::root().join("docs/failover.md"))?;
    let (_, rest) = page.split_once(&format!("### {heading}\n")).context("the heading")?;
    let (_, rest) = rest.split_once("```yaml\n").context("the recipe")?;
    Ok(rest.split_once("```").context("its end")?.0.to_owned())
}

#[test]
fn the_recipes_of_the_docs_do_what_they_say() {
    scenario("recipes", async |run: &RunFolder| {
        let names = Names::start(run, "[{peers: [beta]}]", async |_| Ok(())).await?;
        let [alpha, beta, gamma] = &names.federation.clusters;
        let mut all = Vec::new();
        for name in ["orders", "carts"] {
            for cluster in [alpha, beta, gamma] {
                let mut deployed = Deployed::http(cluster, name).await?;
                deployed.apply(cluster, Service::exported)?;
                all.push(deployed);
            }
        }
        alpha.put_manifest("orders.yaml", &recipe("Active-passive")?)?;
        alpha.put_manifest("carts.yaml", &recipe("Active-active")?)?;
        let (orders, carts) = ("orders.shop.global:80", "carts.shop.global:80");
        alpha.wait_members(orders, &["*beta ready", "gamma ready"]).await?;
        alpha.wait_members(carts, &["*local ready", "*beta ready", "gamma ready"]).await?;
        let [orders, carts] = [alpha.wait_name(orders).await?, alpha.wait_name(carts).await?];
        let answers = async |egress, name: &str| {
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..40 {
                let answer = plain_get(egress, name).await?.body;
                *answers
                    .entry(answer.rsplit(' ').next().unwrap_or_default().into())
                    .or_default() += 1;
            }
            anyhow::Ok(answers)
        };
        let settled = async |egress, name: &str, expected: &[&str]| {
            wait::until(&format!("{name} to be served by {expected:?}"), SOON, async || {
                let answers = answers(egress, name).await?;
                let from: Vec<_> = answers.keys().map(String::as_str).collect();
                ensure!(from == expected, "{answers:?}");
                Ok(Some(answers))
            })
            .await
        };
        settled(orders, "orders", &["beta"]).await?;
        let shares = settled(carts, "carts", &["alpha", "beta"]).await?;
        ensure!(shares["alpha"] > shares["beta"], "{shares:?}");
        names.beta_front.set(Front::Dead).await?;
        settled(orders, "orders", &["gamma"]).await?;
        settled(carts, "carts", &["alpha"]).await.map(drop)
    });
}

/// TLS ends at the gateways, and the bytes inside are the protocol's own.
#[test]
fn http2_and_grpc_fail_over_as_well() {
    scenario("failover-grpc", async |run: &RunFolder| {
        let names = Names::start(run, "[{peers: [beta]}]", async |_| Ok(())).await?;
        let [alpha, beta, gamma] = &names.federation.clusters;
        let mut backends = Vec::new();
        for cluster in [beta, gamma] {
            let backend =
                Http2Backend::start_at(Ipv4Addr::LOCALHOST, "api", cluster.name()).await?;
            cluster
                .put_service(&Service::new("api", "grpc", 9090, backend.address()).exported())?;
            backends.push(backend);
        }
        let members = "[{peers: [beta]}, {peers: [gamma]}]";
        alpha.put_manifest("api.yaml", &federated_service("api", ("grpc", 9090), members))?;
        let egress = alpha.wait_name("api.shop.global:9090").await?;
        let answered_by = async |cluster: &str| {
            wait::until_true(&format!("{cluster} to answer"), SOON, async || {
                http2::grpc_check(egress, "api.shop.global").await?;
                Ok(http2::get(egress, "api.shop.global").await? == identity("api", cluster))
            })
            .await
        };
        answered_by("beta").await?;
        names.beta_front.set(Front::Dead).await?;
        let start = Instant::now();
        answered_by("gamma").await?;
        ensure!(start.elapsed() < FAILOVER, "{:?}", start.elapsed());
        names.beta_front.set(Front::To(beta.gateway_address())).await?;
        answered_by("beta").await
    });
}
