//! A gateway changes from the proxy-wasm filter to the native one and back.

use super::fixture::{Pair, of_delivery, run, set_exported};
use anyhow::{Result, ensure};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_changes_to_the_native_filter_and_back() -> Result<()> {
    let run = run("switch")?;
    let mut pair = Pair::start_with(&run, &of_delivery("EnvoyFilter")).await?;
    let client = pair.client().await?;
    for (delivery, name) in [("DynamicModule", "fedgate_native"), ("EnvoyFilter", "fedgate")] {
        pair.beta.cluster.restart_with(&[("FEDGATE_DELIVERY", delivery)]).await?;
        pair.beta.start_gateway().await?;
        pair.beta.retire_gateway().await?;
        pair.wait_answers(&client).await?;
        let config = pair.beta.gateway()?.agent().ask("/config_dump?resource=ecds_filters").await?;
        ensure!(config.contains(&format!(r#""name": "{name}""#)), "{delivery}: {config}");

        set_exported(&pair.beta, "web", false).await?;
        pair.wait_refused(&client).await?;
        set_exported(&pair.beta, "web", true).await?;
        pair.wait_answers(&client).await?;
    }
    Ok(())
}
