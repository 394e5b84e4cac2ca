//! Calls under load while a gateway and then a whole cluster dies.
//!
//! The egress passes bytes on, so it cannot repeat a request whose connection ended after it was
//! sent. The client repeats it, as HTTP clients do for idempotent requests (RFC 9110, section
//! 9.2.2). What must not happen is that a repeated request fails as well.

use crate::failover::{FAILOVER, Names, WEB, call, wait_answered_by, wait_healthy};
use anyhow::ensure;
use fedgate_e2e::gateway_front::{Front, GatewayFront};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: usize = 8;
/// A request, and its two repetitions.
const TRIES: usize = 3;

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    calls: AtomicUsize,
    repeated: AtomicUsize,
    failed: AtomicUsize,
    slowest: AtomicUsize,
}

async fn client(egress: SocketAddr, counts: Arc<Counts>) {
    while !counts.stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let mut tries = 0;
        let answered = loop {
            tries += 1;
            match call(egress).await {
                Ok(_) => break true,
                Err(_) if tries < TRIES => {}
                Err(error) => {
                    println!("a call failed after {:?}: {error:#}", start.elapsed());
                    break false;
                }
            }
        };
        counts.calls.fetch_add(1, Ordering::SeqCst);
        counts.repeated.fetch_add(tries - 1, Ordering::SeqCst);
        counts.failed.fetch_add(usize::from(!answered), Ordering::SeqCst);
        let millis = usize::try_from(start.elapsed().as_millis()).unwrap_or(usize::MAX);
        counts.slowest.fetch_max(millis, Ordering::SeqCst);
    }
}

#[test]
fn no_request_fails_while_a_gateway_and_then_a_cluster_dies() {
    scenario("failover-load", async |run: &RunFolder| {
        let members = "[{peers: [beta]}, {peers: [gamma]}]";
        let mut names = Names::start(run, members, async |_| Ok(())).await?;
        let gateway = names.beta().gateway_address();
        // beta announces two gateways.
        let second = GatewayFront::start(gateway).await?;
        let beta = &mut names.federation.clusters[1];
        beta.settings().advertise.push(second.address());
        beta.write_settings()?;
        let alpha = names.alpha();
        wait::until_true("alpha to know both gateways", SOON, async || {
            let status = alpha.status().await?;
            let imports = status.0["imports"].as_array().cloned().unwrap_or_default();
            Ok(imports
                .iter()
                .any(|import| import["gateways"].as_array().is_some_and(|all| all.len() == 2)))
        })
        .await?;
        let egress = alpha.wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        wait_healthy(alpha, &names.beta_web).await?;
        wait_healthy(alpha, &names.gamma_web).await?;

        let counts = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client(egress, Arc::clone(&counts)));
        }
        let more = async |count: usize| {
            let target = counts.calls.load(Ordering::SeqCst) + count;
            let what = format!("{count} more calls");
            wait::until_true(&what, Duration::from_secs(60), async || {
                Ok(counts.calls.load(Ordering::SeqCst) >= target)
            })
            .await
        };
        more(200).await?;
        // One of two gateways stops answering: calls stay at beta.
        second.set(Front::Silent).await?;
        let before = names.gamma_web.backend.connections();
        more(300).await?;
        ensure!(names.gamma_web.backend.connections() == before, "beta still has a gateway");
        // The whole cluster dies.
        names.beta_front.set(Front::Dead).await?;
        let start = Instant::now();
        wait_answered_by(egress, &names.gamma_web).await?;
        ensure!(start.elapsed() < FAILOVER, "{:?}", start.elapsed());
        more(300).await?;
        // And comes back.
        names.beta_front.set(Front::To(gateway)).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        more(200).await?;
        counts.stop.store(true, Ordering::SeqCst);
        while clients.join_next().await.is_some() {}
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let (calls, repeated) = (of(&counts.calls), of(&counts.repeated));
        println!("{calls} calls, {repeated} repeated, slowest {} ms", of(&counts.slowest));
        ensure!(of(&counts.failed) == 0, "{} of {calls} calls failed", of(&counts.failed));
        ensure!(of(&counts.slowest) < 5_000, "a call took {} ms", of(&counts.slowest));
        Ok(())
    });
}
