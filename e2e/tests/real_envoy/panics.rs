//! A panic in the native filter costs one connection, or a configuration, and never the Envoy. The
//! module under test is built with a feature that makes it panic when it is asked to.

use anyhow::{Result, ensure};
use fedgate_e2e::client::{Client, wait_closed};
use fedgate_e2e::cluster::{Cluster, Filter};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::Envoy;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::path::{Path, PathBuf};

/// The variable with the path of the file that names the function to panic. Only the module of this
/// test knows it.
const VARIABLE: &str = "FEDGATE_PANIC_FILE";

struct Rig {
    federation: Federation<2>,
    web: Deployed,
    mail: Deployed,
    client: Client,
    asked: PathBuf,
}

impl Rig {
    async fn start(run: &RunFolder) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let asked = run.path().join("panic-in");
        let [alpha, beta] = &mut federation.clusters;
        beta.settings().filter = Filter::Native;
        beta.settings().filter_module = programs::panicking_filter()?.to_owned();
        beta.write_settings()?;
        beta.set_variable(VARIABLE, asked.display().to_string());
        let client = Client::new(Some(&alpha.workload()?))?;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        federation.start_controllers().await?;
        let [_, beta] = &mut federation.clusters;
        beta.start_gateway().await?;
        web.wait_reachable(&client, beta).await?;
        Ok(Self { federation, web, mail, client, asked })
    }

    fn beta(&self) -> &Cluster {
        &self.federation.clusters[1]
    }

    fn gateway(&self) -> Result<&Envoy> {
        self.beta().gateway()
    }

    /// Makes the calls of a function panic until `act` returns, and waits until one has.
    async fn panicking_in<T>(
        &self,
        entry: &str,
        act: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        std::fs::write(&self.asked, entry)?;
        let result = act().await;
        let expected = format!("the filter panicked in {entry}; the connection or configuration");
        let logged =
            async || Ok(std::fs::read_to_string(self.gateway()?.log())?.contains(&expected));
        wait::until_true(&format!("a panic in {entry} in the log"), SOON, logged).await?;
        std::fs::remove_file(&self.asked)?;
        result
    }

    /// Changes the table.
    fn grant_mail_to(&self, peer: &str) -> Result<()> {
        self.beta().put_service(&self.mail.service.clone().for_peers(peer))
    }

    /// The gateway works as before.
    async fn works(&self) -> Result<()> {
        self.gateway()?.ask("/server_info").await?;
        self.web.call(&self.client, self.beta()).await.map(drop)
    }
}

/// The proxy-wasm filter has other tests for this (`wasm-host-tests`), and runs in older Envoys.
fn is_native_run() -> Result<bool> {
    Ok(Filter::of_run()? == Filter::Native)
}

#[test]
fn a_panic_costs_a_connection_or_a_configuration_and_not_the_envoy() {
    scenario("panics", async |run: &RunFolder| {
        if !is_native_run()? {
            return Ok(());
        }
        let mut rig = Rig::start(run).await?;
        let before = rig.web.backend.connections();
        for entry in ["new", "new_connection", "event", "read", "write"] {
            rig.panicking_in(entry, async || refused(&rig).await).await?;
            rig.works().await?;
        }
        // Five calls that work. With "read" and "write" the refused one reaches the back end before
        // the panic, but no data does, or none comes back.
        ensure!(rig.web.backend.connections() <= before + 7, "refused calls reached the back end");
        rig.panicking_in("destroy", async || rig.works().await).await?;
        rig.works().await?;

        // A panic while a table is loaded refuses the table; the last one stays in force.
        let generation = rig.gateway()?.table_generation().await?;
        rig.panicking_in("config_new", async || rig.grant_mail_to("gamma")).await?;
        rig.works().await?;
        ensure!(rig.gateway()?.table_generation().await? == generation);

        // A panic when a table wakes a thread: its connection is closed, although it is granted.
        let mut open = rig.mail.wait_greeting(&rig.client, rig.beta()).await?;
        let wake = async || {
            rig.grant_mail_to("alpha")?;
            wait_closed(&mut open, SOON).await
        };
        rig.panicking_in("scheduled", wake).await?;
        rig.works().await?;
        rig.federation.clusters[1].gateway_process()?.check()
    });
}

/// A call that the gateway does not answer.
async fn refused(rig: &Rig) -> Result<()> {
    let answer = rig.web.call(&rig.client, rig.beta()).await;
    ensure!(answer.is_err(), "expected no answer, found {answer:?}");
    Ok(())
}

#[test]
fn the_module_that_ships_does_not_panic_on_request() {
    scenario("shipped", async |_: &RunFolder| {
        if !is_native_run()? {
            return Ok(());
        }
        let asks = |module: &Path| -> Result<bool> {
            let bytes = std::fs::read(module)?;
            Ok(bytes.windows(VARIABLE.len()).any(|bytes| bytes == VARIABLE.as_bytes()))
        };
        ensure!(asks(programs::panicking_filter()?)?);
        ensure!(!asks(programs::native_filter()?)?);
        Ok(())
    });
}
