//! What fifty tables cost a gateway with each delivery: virtual machines, listeners, drains.

use super::fixture::{Pair, of_delivery, run, set_exported};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::{plain_greeting, send_line};
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use tokio::io::BufReader;
use tokio::net::TcpStream;

const TABLES: u64 = 50;

/// Envoy's counters about listeners.
const LISTENERS: [&str; 5] = [
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_in_place_updated",
    "listener_manager.listener_removed",
    DRAINING,
];

const DRAINING: &str = "listener_manager.total_filter_chains_draining";

const CREATED: &str = "wasm.envoy.wasm.runtime.v8.created";
const ACTIVE: &str = "wasm.envoy.wasm.runtime.v8.active";

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tables_by_envoy_filter_change_no_listener_and_keep_the_vms() -> Result<()> {
    // Envoy tries each configuration in a separate VM on the main thread.
    let created = fifty_tables("EnvoyFilter", |before| before + 1).await?;
    ensure!(created <= TABLES + 1, "{created} machines were made for {TABLES} tables");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tables_by_wasm_plugin_change_no_listener() -> Result<()> {
    // An old VM remains only on a worker that still holds a connection.
    let created = fifty_tables("WasmPlugin", |before| before * 3).await?;
    ensure!(created > TABLES, "each table makes new machines, as documented; {created} were made");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tables_by_dynamic_module_change_no_listener_and_need_no_vm() -> Result<()> {
    let created = fifty_tables("DynamicModule", |_| 0).await?;
    ensure!(created == 0, "{created} machines were made");
    Ok(())
}

/// Waits until at most that many VMs of those before are left. Returns the number of VMs created.
async fn fifty_tables(delivery: &str, most: impl Fn(u64) -> u64) -> Result<u64> {
    let run = run(&format!("deliveries-{delivery}"))?;
    let mut pair = Pair::start_with(&run, &of_delivery(delivery)).await?;
    pair.beta.cluster.restart_with(&[("FEDGATE_DELIVERY", delivery)]).await?;
    let mail = Backend::greeting_at(pair.beta.cluster.addresses().node, "mail", "beta").await?;
    let service = Service::new("mail", "smtp", 25, mail.address()).exported();
    pair.beta.cluster.put_service(&service).await?;
    let host = service.host("beta.example");
    let client = Client::start(
        &pair.alpha,
        "client",
        &[Import { host: host.clone(), port: 25, protocol: "TCP" }],
    )
    .await?;
    let open = async || {
        client
            .call(&host, 25, async |address| {
                Ok(plain_greeting(address).await?.0.into_inner().into_std()?)
            })
            .await
            .map(Some)
    };
    let stream = wait::until("a greeting", SOON, open).await?;
    let mut connection = BufReader::new(TcpStream::from_std(stream)?);
    // Wait until the other delivery's object is gone, so that it causes no further changes.
    let other = match delivery {
        "WasmPlugin" => Key::namespaced(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            NAMESPACE,
            "fedgate-table",
        ),
        _ => Key::namespaced("extensions.istio.io/v1alpha1", "WasmPlugin", NAMESPACE, "fedgate"),
    };
    pair.beta.cluster.objects().wait_absent(other).await?;
    pair.beta.wait_tables().await?;

    let gateway = pair.beta.gateway()?;
    let count = async |name: &str| anyhow::Ok(gateway.agent().stat(name).await?.unwrap_or(0));
    let (created, active) = (count(CREATED).await?, count(ACTIVE).await?);
    let counts = async || {
        let mut counts = Vec::new();
        for name in LISTENERS {
            counts.push(count(name).await?);
        }
        anyhow::Ok(counts)
    };
    // istiod may be about to send the listener without the other delivery's object.
    let listeners = wait::until("the listeners to be at rest", SOON, async || {
        let before = counts().await?;
        let same = async || Ok(counts().await? == before && count(DRAINING).await? == 0);
        wait::stays("no listener changes", std::time::Duration::from_secs(2), same).await?;
        Ok(Some(before))
    })
    .await?;
    for change in 0..TABLES {
        let before = gateway.table_generation().await?;
        set_exported(&pair.beta, "web", change % 2 == 1).await?;
        let changed = async || Ok(gateway.table_generation().await? > before);
        wait::until_true("the next table in the filter", SOON, changed).await?;
    }
    for ((name, before), after) in LISTENERS.iter().zip(listeners).zip(counts().await?) {
        ensure!(after == before, "{name} was {before} and is {after} after {TABLES} tables");
    }
    ensure!(send_line(&mut connection, "NOOP").await? == "250 NOOP", "the open connection is gone");
    // Machines that nobody uses any more end when their threads find the time.
    let now = wait::until("the machines of earlier tables to end", SOON, async || {
        let now = count(ACTIVE).await?;
        ensure!(now <= most(active), "{now} machines, before {active}");
        Ok(Some(now))
    })
    .await?;
    let made = count(CREATED).await? - created;
    println!(
        "{delivery}: {TABLES} tables, {made} machines made, {active} before and {now} after, no listener touched"
    );
    Ok(made)
}
