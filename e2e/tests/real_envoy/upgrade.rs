//! An upgrade and a rollback of a site, step by step. The previous build of controller and filter is
//! an earlier commit, built from the history. At each step, peers of today's build call.

use crate::fixture::Gateway;
use anyhow::{Context, Result, bail, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::{Cluster, Filter};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::path::Path;

/// A build.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Build {
    Previous,
    Present,
}
use Build::{Present, Previous};

impl Build {
    fn fedgate(self) -> Result<&'static Path> {
        match self {
            Previous => programs::previous_fedgate(),
            Present => programs::fedgate(),
        }
    }

    fn filter(self) -> Result<&'static Path> {
        match self {
            Previous => programs::previous_filter(),
            Present => programs::filter(),
        }
    }
}

/// Starts the cluster's controller and gives the gateway a filter. The gateway keeps running.
async fn run_with(cluster: &mut Cluster, controller: Build, filter: Build) -> Result<()> {
    if cluster.controller().is_ok() {
        cluster.kill_controller()?;
    }
    cluster.set_program(controller.fedgate()?);
    cluster.settings().filter_module = filter.filter()?.to_owned();
    cluster.write_settings()?;
    cluster.start_controller().await
}

/// Waits until the gateway's Envoy says that it runs this module. The controller copies the module
/// to a file that is named after its hash.
async fn wait_filter(cluster: &Cluster, filter: Build) -> Result<()> {
    let module = std::fs::read(filter.filter()?)?;
    let gateway = cluster.gateway()?;
    wait::until_true(&format!("the gateway to run the {filter:?} filter"), SOON, async || {
        let config = gateway.ask("/config_dump?resource=ecds_filters").await?;
        let (_, rest) = config.split_once(r#""filename": ""#).context("it runs no filter")?;
        let file = rest.split('"').next().unwrap_or_default();
        Ok(std::fs::read(file).is_ok_and(|bytes| bytes == module))
    })
    .await
}

/// Grants gamma the service and takes the grant back, so that each answer is one to a table of the
/// running controller. alpha gets through all the time; a client with the name of another trust
/// domain never does.
async fn judges(gateway: &mut Gateway) -> Result<()> {
    gateway.grant_to_alpha_alone().await?;
    let beta = &gateway.federation.clusters[1];
    let (web, alpha, gamma) = (&mut gateway.web, &gateway.alpha_client, &gateway.gamma_client);
    web.apply(beta, |service| service.for_peers("alpha,gamma"))?;
    web.wait_reachable(gamma, beta).await?;
    web.call(alpha, beta).await?;

    let alpha_id = gateway.federation.clusters[0].spiffe_id("cart");
    let impostor = gateway.federation.clusters[2].authority().workload(&alpha_id)?;
    web.refuses(&Client::new(Some(&impostor))?, beta).await?;
    let nobody =
        Client::new(Some(&beta.authority().workload("spiffe://delta.example/ns/a/sa/b")?))?;
    web.refuses(&nobody, beta).await.map(drop)
}

/// Goes through pairs of controller and filter. The gateway runs from the first to the last.
async fn goes_through(run: &RunFolder, steps: &[(Build, Build)]) -> Result<()> {
    // The previous build has no native filter; there is another test for that one.
    if Filter::of_run()? == Filter::Native {
        return Ok(());
    }
    // Otherwise this shows nothing.
    let differ = |files: [&Path; 2]| {
        Ok::<_, anyhow::Error>(std::fs::read(files[0])? != std::fs::read(files[1])?)
    };
    ensure!(differ([Previous.fedgate()?, Present.fedgate()?])?, "both controllers are one build");
    ensure!(differ([Previous.filter()?, Present.filter()?])?, "both filters are one build");
    let Some((&(controller, filter), later)) = steps.split_first() else { bail!("no steps") };
    let mut gateway = Gateway::start_with(run, |beta| {
        beta.settings().filter_module = filter.filter()?.to_owned();
        beta.set_program(controller.fedgate()?);
        beta.write_settings()
    })
    .await?;
    wait_filter(gateway.beta(), filter).await?;
    judges(&mut gateway).await.with_context(|| format!("{controller:?} with {filter:?} filter"))?;
    for &(controller, filter) in later {
        let step = || format!("{controller:?} controller with the {filter:?} filter");
        let beta = &mut gateway.federation.clusters[1];
        run_with(beta, controller, filter).await.with_context(step)?;
        wait_filter(beta, filter).await.with_context(step)?;
        judges(&mut gateway).await.with_context(step)?;
    }
    Ok(())
}

#[test]
fn an_upgrade_and_a_rollback_go_through_the_new_controller_with_the_old_filter() {
    scenario("upgrade", async |run: &RunFolder| {
        let steps =
            [(Previous, Previous), (Present, Previous), (Present, Present), (Present, Previous)];
        goes_through(run, &[&steps[..], &[(Previous, Previous)]].concat()).await
    });
}

#[test]
fn an_upgrade_and_a_rollback_go_through_the_old_controller_with_the_new_filter() {
    scenario("upgrade-filter-first", async |run: &RunFolder| {
        let steps =
            [(Previous, Previous), (Previous, Present), (Present, Present), (Previous, Present)];
        goes_through(run, &steps).await
    });
}

/// Today's, and those of the first commit that has a native filter.
struct Native {
    controllers: [&'static Path; 2],
    filters: [&'static Path; 2],
}

impl Native {
    /// `None` in a run with the wasm filter.
    fn of_run() -> Result<Option<Self>> {
        if Filter::of_run()? != Filter::Native {
            return Ok(None);
        }
        let controllers = [programs::previous_native_fedgate()?, programs::fedgate()?];
        let filters = [programs::previous_native_filter()?, programs::native_filter()?];
        for [previous, present] in [controllers, filters] {
            let differ = std::fs::read(previous)? != std::fs::read(present)?;
            ensure!(differ, "{} and {} are one build", previous.display(), present.display());
        }
        Ok(Some(Self { controllers, filters }))
    }
}

/// Starts a federation whose beta has these two.
async fn start_natively(run: &RunFolder, controller: &Path, filter: &Path) -> Result<Gateway> {
    Gateway::start_with(run, |beta| {
        beta.set_program(controller);
        beta.settings().filter_module = filter.to_owned();
        beta.write_settings()
    })
    .await
}

/// Gives the gateway another native filter. Its Envoy loads it when it starts.
async fn restart_with(gateway: &mut Gateway, controller: &Path, filter: &Path) -> Result<()> {
    let beta = &mut gateway.federation.clusters[1];
    beta.kill_controller()?;
    beta.set_program(controller);
    beta.settings().filter_module = filter.to_owned();
    beta.write_settings()?;
    beta.start_controller().await?;
    // Until the gateway restarts, it goes on with the filter that it has.
    judges(gateway).await.context("before the gateway restarts")?;
    let beta = &mut gateway.federation.clusters[1];
    beta.stop_gateway();
    beta.start_gateway().await?;
    judges(gateway).await.context("after the gateway has restarted")
}

/// The controller is upgraded first and the gateway later; a rollback puts back the filter alone.
#[test]
fn todays_controller_works_with_the_native_filter_before() {
    scenario("upgrade-native", async |run: &RunFolder| {
        let Some(Native { controllers: [_, controller], filters: [previous, present] }) =
            Native::of_run()?
        else {
            return Ok(());
        };
        let mut gateway = start_natively(run, controller, previous).await?;
        judges(&mut gateway).await.context("the previous filter")?;
        restart_with(&mut gateway, controller, present).await.context("the present filter")?;
        restart_with(&mut gateway, controller, previous).await.context("the previous filter again")
    });
}

/// The other way round: the filter is upgraded first, and a rollback puts back the controller alone.
#[test]
fn the_controller_before_works_with_todays_native_filter() {
    scenario("upgrade-native-filter-first", async |run: &RunFolder| {
        let Some(Native { controllers: [before, today], filters: [previous, present] }) =
            Native::of_run()?
        else {
            return Ok(());
        };
        let mut gateway = start_natively(run, before, previous).await?;
        judges(&mut gateway).await.context("both from before")?;
        restart_with(&mut gateway, before, present).await.context("today's filter")?;
        restart_with(&mut gateway, today, present).await.context("both of today")?;
        restart_with(&mut gateway, before, present).await.context("the controller from before")
    });
}
