//! Someone deletes the objects that protect the gateway: it becomes a black hole, never an open
//! door, and the controller restores them.

use super::fixture::{Pair, of_delivery, run};
use anyhow::Result;
use fedgate_e2e::kubernetes::{Key, NAMESPACE};

const fn of_gateway<'a>(api_version: &'a str, kind: &'a str, name: &'a str) -> Key<'a> {
    Key::namespaced(api_version, kind, NAMESPACE, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_filter_the_gateway_is_a_black_hole() -> Result<()> {
    let run = run("tampering")?;
    let mut pair = Pair::start(&run).await?;
    let client = pair.client().await?;

    let envoy_filter = "networking.istio.io/v1alpha3";
    let table = of_gateway(envoy_filter, "EnvoyFilter", "fedgate-table");
    let listener = of_gateway(envoy_filter, "EnvoyFilter", "fedgate-gateway");

    // Without a controller nothing restores them: filter and table are gone, and nothing passes.
    pair.beta.cluster.kill_leader().await?;
    pair.beta.cluster.objects().delete(listener).await?;
    pair.wait_refused(&client).await?;
    pair.beta.cluster.objects().delete(table).await?;
    pair.wait_refused(&client).await?;

    // A new controller restores both.
    pair.beta.cluster.start_replica().await?;
    pair.wait_answers(&client).await?;

    // A running controller restores each object at once.
    for key in [
        listener,
        table,
        of_gateway("networking.istio.io/v1", "Gateway", "fedgate-gateway"),
        of_gateway("networking.istio.io/v1", "VirtualService", "fedgate-black-hole"),
        of_gateway("networking.istio.io/v1", "ServiceEntry", "fedgate-black-hole"),
    ] {
        pair.beta.cluster.objects().delete(key).await?;
        pair.beta.cluster.objects().wait_present(key).await?;
        pair.wait_answers(&client).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_wasm_plugin_the_gateway_is_a_black_hole() -> Result<()> {
    let run = run("tampering-plugin")?;
    let mut pair = Pair::start_with(&run, &of_delivery("WasmPlugin")).await?;
    pair.beta.cluster.restart_with(&[("FEDGATE_DELIVERY", "WasmPlugin")]).await?;
    let plugin = of_gateway("extensions.istio.io/v1alpha1", "WasmPlugin", "fedgate");
    pair.beta.cluster.objects().wait_present(plugin).await?;
    pair.beta
        .cluster
        .objects()
        .wait_absent(of_gateway("networking.istio.io/v1alpha3", "EnvoyFilter", "fedgate-table"))
        .await?;
    let client = pair.client().await?;

    pair.beta.cluster.kill_leader().await?;
    pair.beta.cluster.objects().delete(plugin).await?;
    pair.wait_refused(&client).await?;
    pair.beta.cluster.start_replica().await?;
    pair.wait_answers(&client).await
}
