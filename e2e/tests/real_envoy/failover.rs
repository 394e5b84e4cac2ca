//! One name that several clusters serve: calls go to the first member that works.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::gateway_front::{Front, GatewayFront};
use fedgate_e2e::manifest::{Service, federated_service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

pub(crate) const WEB: &str = "web.shop.global:80";

/// How long it may take until calls go elsewhere.
pub(crate) const FAILOVER: Duration = Duration::from_secs(2);

/// alpha calls `web.shop.global`. beta and gamma export `web`, each behind an address that can fail.
pub(crate) struct Names {
    pub(crate) federation: Federation<3>,
    pub(crate) beta_web: Deployed,
    pub(crate) gamma_web: Deployed,
    pub(crate) beta_front: GatewayFront,
    pub(crate) gamma_front: GatewayFront,
}

impl Deref for Names {
    type Target = Federation<3>;

    fn deref(&self) -> &Self::Target {
        &self.federation
    }
}

impl Names {
    /// Starts everything, after `prepare` has changed the clusters.
    pub(crate) async fn start(
        run: &RunFolder,
        members: &str,
        prepare: impl AsyncFnOnce(&mut [Cluster; 3]) -> Result<()>,
    ) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &mut federation.clusters;
        alpha.settings().probe = "1s".into();
        alpha.write_settings()?;
        let beta_front = front(beta).await?;
        let gamma_front = front(gamma).await?;
        let mut beta_web = Deployed::http(beta, "web").await?;
        beta_web.apply(beta, Service::exported)?;
        let mut gamma_web = Deployed::http(gamma, "web").await?;
        gamma_web.apply(gamma, Service::exported)?;
        alpha.put_manifest("name-web.yaml", &federated_service("web", ("http", 80), members))?;
        prepare(&mut federation.clusters).await?;
        federation.start().await?;
        Ok(Self { federation, beta_web, gamma_web, beta_front, gamma_front })
    }
}

/// Lets a cluster announce an address that can fail, in front of its gateway.
async fn front(cluster: &mut Cluster) -> Result<GatewayFront> {
    let front = GatewayFront::start(cluster.gateway_address()).await?;
    cluster.settings().advertise = vec![front.address()];
    cluster.write_settings()?;
    Ok(front)
}

/// `mail` in these clusters, exported. Its servers speak first.
pub(crate) async fn mails<const N: usize>(clusters: [&Cluster; N]) -> Result<Vec<Deployed>> {
    let mut mails = Vec::new();
    for cluster in clusters {
        let mut mail = Deployed::greeting(cluster, "mail").await?;
        mail.apply(cluster, Service::exported)?;
        mails.push(mail);
    }
    Ok(mails)
}

/// Waits until the egress's health checks find the gateways of this member alive.
pub(crate) async fn wait_healthy(alpha: &Cluster, web: &Deployed) -> Result<()> {
    let cluster = format!("member|{}::", web.name());
    wait::until_true(&format!("{cluster} to be healthy"), SOON, async || {
        let text = alpha.egress()?.ask("/clusters").await?;
        let mut flags = text.lines().filter_map(|line| {
            let (_, flags) = line.strip_prefix(&cluster)?.split_once("::health_flags::")?;
            Some(flags == "healthy")
        });
        Ok(flags.next() == Some(true) && flags.all(|healthy| healthy))
    })
    .await
}

/// Calls the name once.
pub(crate) async fn call(egress: SocketAddr) -> Result<String> {
    let response = plain_get(egress, "web.shop.global").await?;
    ensure!(response.status == 200, "{response:?}");
    Ok(response.body)
}

/// Waits until calls go to this back end.
pub(crate) async fn wait_answered_by(egress: SocketAddr, web: &Deployed) -> Result<()> {
    wait::until_true(&format!("calls to go to {}", web.identity()), SOON, async || {
        Ok(call(egress).await? == web.identity())
    })
    .await
}

/// Calls until the other back end answers. No call may fail or take too long, and none may take the
/// old one afterwards.
/// The same, until nobody else answers. Each of the egress's worker threads takes a change by
/// itself, and a call meets one of them.
pub(crate) async fn wait_only(egress: SocketAddr, web: &Deployed) -> Result<()> {
    wait::until_true(&format!("all calls to go to {}", web.identity()), SOON, async || {
        for _ in 0..10 {
            if call(egress).await? != web.identity() {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

async fn fails_over(what: &str, egress: SocketAddr, from: &Deployed, to: &Deployed) -> Result<()> {
    let start = Instant::now();
    loop {
        let called = Instant::now();
        let answer = call(egress).await.with_context(|| format!("{what}: a call failed"))?;
        ensure!(called.elapsed() < FAILOVER, "{what}: a call took {:?}", called.elapsed());
        if answer == to.identity() {
            break;
        }
        ensure!(answer == from.identity(), "{what}: {answer}");
        ensure!(start.elapsed() < FAILOVER, "{what}: {answer} after {:?}", start.elapsed());
    }
    println!("{what}: calls went to {} after {:?}", to.identity(), start.elapsed());
    for _ in 0..20 {
        ensure!(call(egress).await? == to.identity(), "{what}: the dead member was called");
    }
    Ok(())
}

/// By default, Envoy would send a part of the calls to the next member.
#[test]
fn a_member_with_one_of_two_gateways_left_keeps_all_calls() {
    scenario("half", async |run: &RunFolder| {
        let mut other = None;
        let members = "[{peers: [beta]}, {peers: [gamma]}]";
        let names = Names::start(run, members, async |[_, beta, _]| {
            let second = GatewayFront::start(beta.gateway_address()).await?;
            beta.settings().advertise.push(second.address());
            beta.write_settings()?;
            other = Some(second);
            Ok(())
        })
        .await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_healthy(names.alpha(), &names.beta_web).await?;
        wait_healthy(names.alpha(), &names.gamma_web).await?;
        names.beta_front.set(Front::Dead).await?;
        for _ in 0..100 {
            let answer = call(egress).await?;
            ensure!(answer == names.beta_web.identity(), "{answer}");
        }
        // The deny twin: with the other one dead too, it keeps none.
        other.context("the second address")?.set(Front::Dead).await?;
        fails_over("both gateways", egress, &names.beta_web, &names.gamma_web).await
    });
}

#[test]
fn calls_go_to_the_first_member_that_works_and_return_to_it() {
    scenario("failover", async |run: &RunFolder| {
        let names =
            Names::start(run, "[{peers: [beta]}, {peers: [gamma]}]", async |_| Ok(())).await?;
        let (alpha, gateway) = (names.alpha(), names.beta().gateway_address());
        let egress = alpha.wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        wait_healthy(alpha, &names.gamma_web).await?;
        alpha.wait_members(WEB, &["*beta ready", "gamma ready"]).await?;
        for (what, how) in [
            ("a process that died", Front::Dead),
            ("no answer", Front::Silent),
            ("a gateway that accepts and closes", Front::Closing),
            ("another cluster at the address", Front::To(names.gamma().gateway_address())),
        ] {
            names.beta_front.set(how).await?;
            fails_over(what, egress, &names.beta_web, &names.gamma_web).await?;
            wait::until(&format!("{what}: status to say so"), SOON, async || {
                let members = alpha.status().await?.members(WEB);
                ensure!(
                    members.get(1).is_some_and(|gamma| gamma.starts_with("*gamma")),
                    "{members:?}"
                );
                let dead = ["beta not_answering", "beta peer_not_ready"];
                ensure!(dead.contains(&members[0].as_str()), "{members:?}");
                Ok(Some(()))
            })
            .await?;
            names.beta_front.set(Front::To(gateway)).await?;
            let start = Instant::now();
            wait_only(egress, &names.beta_web).await?;
            println!("{what}: calls returned after {:?}", start.elapsed());
            for _ in 0..50 {
                ensure!(call(egress).await? == names.beta_web.identity(), "{what}: it flaps");
            }
            alpha.wait_members(WEB, &["*beta ready", "gamma ready"]).await?;
        }
        // With both gone a call fails, and the first to return takes the calls.
        names.beta_front.set(Front::Dead).await?;
        names.gamma_front.set(Front::Silent).await?;
        wait::until_true("calls to fail", SOON, async || Ok(call(egress).await.is_err())).await?;
        names.gamma_front.set(Front::To(names.gamma().gateway_address())).await?;
        wait_answered_by(egress, &names.gamma_web).await
    });
}
