//! What our importer makes of a DKP cluster's documents.

use crate::{Mixed, PRIVATE, PUBLIC, SUCCEEDED, service};
use anyhow::{Context, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

const INVALID_PUBLIC: [&str; 2] = ["False", "InvalidPublicMetadata"];
const INVALID_PRIVATE: [&str; 2] = ["False", "InvalidPrivateMetadata"];

#[test]
fn a_key_with_the_standard_label_is_read_as_well() {
    scenario("dkp-label", async |run: &RunFolder| {
        let mixed =
            Mixed::start(run, async |_, delta| delta.quirk("keyLabel", "PUBLIC KEY").await).await?;
        // alpha accepts delta's token, so it has read the key.
        let state = mixed.wait_paired().await?;
        ensure!(state.import(&mixed.web.host()).is_some(), "{:#}", state.0["imports"]);
        mixed.delta.quirk("keyLabel", "RSA PUBLIC KEY").await?;
        let message = mixed.wait_public(INVALID_PUBLIC).await?;
        ensure!(message.contains("authnKeyPub"), "{message}");
        Ok(())
    });
}

/// DKP exporters have an empty string where they have nothing yet.
#[test]
fn a_public_document_with_an_empty_string_is_invalid() {
    scenario("dkp-empty-strings", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |_, delta| delta.quirk("emptyKey", true).await).await?;
        let message = mixed.wait_public(INVALID_PUBLIC).await?;
        ensure!(message.contains("authnKeyPub"), "{message}");
        // No token is made for a cluster that is not known.
        mixed.wait_private(["Unknown", "AwaitingPublic"]).await?;
        ensure!(mixed.delta.state().await?.requests(PRIVATE).is_empty());
        mixed.delta.change(json!({ "quirks": { "emptyKey": false, "emptyRoot": true } })).await?;
        let root = async || {
            let message = mixed.wait_public(INVALID_PUBLIC).await?;
            Ok(message.contains("rootCA"))
        };
        wait::until_true("the root to be missed", 2 * SOON, root).await?;
        mixed.delta.quirk("emptyRoot", false).await?;
        mixed.delta.wait_asked(PUBLIC, 200, 1).await?;
        mixed.wait_paired().await.map(drop)
    });
}

/// Neither form is an empty list. What is known stays in force.
#[test]
fn null_or_missing_gateways_are_an_error() {
    scenario("dkp-null-gateways", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        mixed.wait_imported(&mixed.delta.web()).await?;
        for gateways in ["null", "missing"] {
            mixed.delta.quirk("gateways", gateways).await?;
            let message = mixed.wait_private(INVALID_PRIVATE).await?;
            ensure!(message.contains("ingressGateways"), "{gateways}: {message}");
            ensure!(mixed.is_imported().await?, "{gateways} has wiped the peer");
            mixed.delta.quirk("gateways", "listed").await?;
            mixed.delta.wait_asked(PRIVATE, 200, 1).await?;
            mixed.wait_private(SUCCEEDED).await?;
        }
        Ok(())
    });
}

/// A DKP exporter that has just started serves empty lists for a moment. They are held, and calls go
/// on through the gateways that are known.
#[test]
fn empty_lists_of_a_starting_exporter_wipe_nothing() {
    scenario("dkp-empty-lists", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        let egress = mixed.alpha.wait_import(&mixed.import()).await?;
        let answers = async || Ok(plain_get(egress, &mixed.delta.web()).await?.status == 200);
        wait::until_true("delta's web to answer", SOON, answers).await?;
        for (gateways, services) in
            [("empty", "listed"), ("empty", "empty"), ("listed", "empty"), ("listed", "null")]
        {
            let lists = |gateways: &str, services: &str| json!({ "quirks": { "gateways": gateways, "services": services } });
            mixed.delta.change(lists(gateways, services)).await?;
            mixed.delta.wait_asked(PRIVATE, 200, 2).await?;
            let what = format!("gateways {gateways}, services {services}");
            let finding = mixed.alpha.wait_finding("held_document").await?;
            ensure!(finding.object["name"] == "delta", "{what}: {finding:?}");
            ensure!(answers().await.context(what.clone())?, "{what}");
            // A document that is held delays the next poll, so a good one comes in between.
            mixed.delta.change(lists("listed", "listed")).await?;
            mixed.alpha.wait_no_finding("held_document").await.context(what)?;
        }
        // The counterpart: a full document with another service replaces what is known.
        let rows = [service("other.shop.svc.delta.example")];
        mixed.delta.change(json!({ "privateExtra": { "publicServices": rows } })).await?;
        mixed.alpha.wait_no_import(&mixed.import()).await
    });
}

/// A DKP exporter that starts with empty lists is paired nevertheless, and imported once it lists
/// something.
#[test]
fn empty_lists_at_first_are_no_error() {
    scenario("dkp-empty-first", async |run: &RunFolder| {
        let quirks = json!({ "quirks": { "gateways": "empty", "services": "null" } });
        let mixed = Mixed::start(run, async |_, delta| delta.change(quirks.clone()).await).await?;
        mixed.wait_paired().await?;
        ensure!(!mixed.is_imported().await?);
        let quirks = json!({ "gateways": "listed", "services": "listed" });
        mixed.delta.change(json!({ "quirks": quirks })).await?;
        mixed.wait_imported(&mixed.delta.web()).await
    });
}

/// A DKP exporter lists every port with its name and number, and says nothing of the protocol. What
/// is UDP is known from nothing but its name, and a number that comes twice is imported once.
#[test]
fn udp_ports_of_a_service_do_no_harm() {
    scenario("dkp-udp", async |run: &RunFolder| {
        let rows = json!([{
            "hostname": "dns.shop.svc.delta.example",
            "ports": [
                { "name": "dns", "port": 53 },
                { "name": "dns-tcp", "port": 53 },
                { "name": "http-metrics", "port": 80 },
            ],
        }]);
        let mixed = Mixed::start(run, async |_, delta| {
            delta.change(json!({ "privateExtra": { "publicServices": rows.clone() } })).await
        })
        .await?;
        mixed.wait_paired().await?;
        mixed.wait_imported("dns.shop.svc.delta.example").await?;
        let status = mixed.alpha.status().await?;
        let imports = status.0["imports"].as_array().context("no imports")?;
        let of_53 =
            imports.iter().filter(|row| row["service"] == "dns.shop.svc.delta.example:53").count();
        ensure!(of_53 == 1, "{imports:#?}");
        Ok(())
    });
}

/// The words of the conditions are those that a DKP operator knows.
#[test]
fn conditions_have_the_reasons_of_the_protocol() {
    scenario("dkp-reasons", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |_, delta| {
            delta.change(json!({ "metadataPath": "/elsewhere" })).await
        })
        .await?;
        mixed.wait_public(["False", "NonOKResponse"]).await?;
        mixed.wait_private(["Unknown", "AwaitingPublic"]).await?;
        let nowhere = mixed.delta.federation("https://127.0.0.1:1/metadata");
        mixed.alpha.put_manifest(&mixed.delta.manifest_file(), &nowhere)?;
        mixed.wait_public(["False", "FetchFailed"]).await?;
        Ok(())
    });
}
