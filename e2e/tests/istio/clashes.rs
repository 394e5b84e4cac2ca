//! A foreign ServiceEntry has the host of an import: fedgate reports it, everything else goes on,
//! and the report ends with that ServiceEntry.

use super::fixture::{Pair, run, set_exported};
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_entry_with_the_same_host_is_reported_and_the_rest_still_works() -> Result<()> {
    let run = run("clashes")?;
    let pair = Pair::start(&run).await?;
    let client = pair.client().await?;
    let objects = pair.alpha.cluster.objects();

    let theirs = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": { "namespace": SHOP, "name": "theirs" },
        "spec": {
            "hosts": [pair.host()],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
            "endpoints": [{ "address": "10.77.0.1" }],
        },
    });
    objects.apply_one(&theirs).await?;
    wait::until_true("an Event about it", SOON, async || {
        let events = objects.list(("events.k8s.io/v1", "Event"), None, "").await?;
        Ok(events.iter().any(|event| {
            event["reason"] == "HostTaken" && event.to_string().contains("shop/theirs")
        }))
    })
    .await?;

    // Everything else goes on: a new Service is imported, and an unexported one is removed.
    let late = Service::new("late", "http", 80, pair.backend.address()).exported();
    pair.beta.cluster.put_service(&late).await?;
    let host = late.host("beta.example");
    let entry = Key::namespaced(
        "networking.istio.io/v1",
        "ServiceEntry",
        fedgate_e2e::kubernetes::NAMESPACE,
        &host,
    );
    objects.wait_present(entry).await?;
    set_exported(&pair.beta, "late", false).await?;
    objects.wait_absent(entry).await?;

    objects.delete(Key::of(&theirs)?).await?;
    pair.wait_answers(&client).await?;
    wait::until("the report to end", SOON, async || {
        let printed = pair.alpha.cluster.fedgate(&["status"]).await?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        ensure!(!printed.contains("host_taken"), "{printed}");
        Ok(Some(()))
    })
    .await
}
