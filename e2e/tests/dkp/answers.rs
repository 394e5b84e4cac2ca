//! What a DKP importer reads from our exporter.

use crate::{Mixed, PRIVATE, PRIVATE_READY, PUBLIC, PUBLIC_READY};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::dkp::{DkpState, gateway_row, header};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

/// Several ports of each kind, in an order of their own.
const PORTS: &str = "apiVersion: v1
kind: Service
metadata:
  namespace: shop
  name: ports
  labels: {federation.istio.deckhouse.io/public-service: \"\"}
spec:
  ports:
    - {name: tls-admin, port: 9443}
    - {name: dns, port: 53, protocol: UDP}
    - {name: dns-tcp, port: 53}
    - {name: grpc-web, port: 8080}
    - {name: http2, port: 8081}
    - {name: http, port: 80}
    - {name: https, port: 443}
    - {name: mysql, port: 3306}
";

/// The last document of alpha that delta read.
fn document<'s>(state: &'s DkpState, kind: &str) -> &'s Value {
    &state.0["peers"]["alpha"][kind]
}

/// Polls until delta's import of a host is there, and returns that.
async fn wait_import(mixed: &Mixed, host: &str) -> Result<Value> {
    wait::until(&format!("delta to import {host}"), SOON, async || {
        Ok(mixed.delta.poll().await?.import(host).cloned())
    })
    .await
}

#[test]
fn a_dkp_importer_reads_our_documents() {
    scenario("dkp-reads", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.poll().await?;
        for kind in [PUBLIC_READY, PRIVATE_READY] {
            ensure!(state.condition("alpha", kind) == ["True", "Succeeded", ""], "{kind}");
        }
        let public = document(&state, "public");
        ensure!(public["clusterUUID"] == mixed.alpha.uuid(), "{public}");
        let root = |text: &str| text.split_whitespace().collect::<String>();
        let found = public["rootCA"].as_str().context("no root")?;
        ensure!(root(found) == root(&mixed.alpha.authority().pem()), "{found}");
        let key = public["authnKeyPub"].as_str().context("no key")?;
        ensure!(key.starts_with("-----BEGIN ED25519 PUBLIC KEY-----\n"), "{key}");
        let private = document(&state, "private");
        let gateway = gateway_row(mixed.alpha.gateway_address());
        ensure!(private["ingressGateways"] == json!([gateway]), "{private}");
        ensure!(public["fedgate"].is_object() && private["fedgate"].is_object(), "no key of ours");
        Ok(())
    });
}

/// A DKP importer sends no conditions, and gets the whole document each time.
#[test]
fn each_unconditional_request_is_answered_in_full() {
    scenario("dkp-in-full", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        mixed.delta.poll().await?;
        let state = mixed.delta.poll().await?;
        let answers = state.0["peers"]["alpha"]["answers"].as_array().context("no answers")?;
        for suffix in [PUBLIC, PRIVATE] {
            let of_it: Vec<_> = answers
                .iter()
                .filter(|answer| answer["suffix"] == suffix && answer["status"] == 200)
                .collect();
            ensure!(of_it.len() >= 2, "{answers:#?}");
            let [.., before, last] = of_it[..] else { continue };
            ensure!(last["body"] == before["body"], "{suffix}: {last}");
            let length = last["body"].as_str().map(str::len).unwrap_or_default().to_string();
            ensure!(header(last, "content-length") == Some(&length), "{suffix}: {last}");
        }
        Ok(())
    });
}

#[test]
fn an_endpoint_is_asked_with_or_without_a_trailing_slash() {
    scenario("dkp-our-slash", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let endpoint = format!("{}/", mixed.alpha.metadata_url());
        mixed.delta.change(json!({ "peers": {} })).await?;
        mixed.delta.know(&mixed.alpha, &endpoint).await?;
        mixed.wait_paired().await?;
        // Of two slashes one is left, and that is no path of ours.
        mixed.delta.know(&mixed.alpha, &format!("{endpoint}/")).await?;
        let state = mixed.delta.poll().await?;
        let condition = state.condition("alpha", PUBLIC_READY);
        ensure!(condition[1] == "NonOKResponse", "{condition:?}");
        Ok(())
    });
}

/// The public documents need no token, the private one does. All are below one path.
#[test]
fn the_three_documents_are_at_their_paths() {
    scenario("dkp-paths", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let ca = reqwest::Certificate::from_pem(mixed.alpha.metadata_authority().pem().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        let get = async |suffix: &str| client.get(mixed.alpha.metadata_url() + suffix).send().await;
        ensure!(get(PUBLIC).await?.status() == 200);
        ensure!(get(PRIVATE).await?.status() == 401);
        let bundle: Value = get("/public/spiffe-bundle-endpoint").await?.json().await?;
        ensure!(bundle["spiffe_sequence"].is_u64(), "{bundle}");
        ensure!(bundle["spiffe_refresh_hint"].is_u64(), "{bundle}");
        let keys = bundle["keys"].as_array().context("no keys")?;
        ensure!(keys.len() == 1 && keys[0]["use"] == "x509-svid", "{bundle}");
        let root = mixed.alpha.authority().pem().lines().collect::<String>();
        let x5c = keys[0]["x5c"][0].as_str().context("no x5c")?;
        ensure!(root.contains(x5c), "{bundle}");
        Ok(())
    });
}

/// Every port with its name and number, in the Service's order, UDP as well. The importer derives
/// the protocol from the name.
#[test]
fn every_port_is_listed_in_the_services_order() {
    scenario("dkp-ports", async |run: &RunFolder| {
        let mixed =
            Mixed::start(run, async |alpha, _| alpha.put_manifest("ports.yaml", PORTS)).await?;
        mixed.wait_paired().await?;
        let host = "ports.shop.svc.alpha.example";
        let import = wait_import(&mixed, host).await?;
        let state = mixed.delta.state().await?;
        let services =
            document(&state, "private")["publicServices"].as_array().context("no services")?;
        let row = services.iter().find(|row| row["hostname"] == host).context("no row")?;
        let port = |name: &str, number: u16| json!({ "name": name, "port": number });
        let expected = json!([
            port("tls-admin", 9443),
            port("dns", 53),
            port("dns-tcp", 53),
            port("grpc-web", 8080),
            port("http2", 8081),
            port("http", 80),
            port("https", 443),
            port("mysql", 3306),
        ]);
        ensure!(row["ports"] == expected, "{row}");
        let protocols: Vec<_> = import["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|port| &port["protocol"])
            .collect();
        ensure!(
            protocols == ["TLS", "TCP", "TCP", "HTTP2", "HTTP2", "HTTP", "TLS", "TCP"],
            "{import}"
        );
        ensure!(import["resolution"] == "STATIC", "{import}");
        Ok(())
    });
}

/// Only an empty value of the label exports a Service.
#[test]
fn what_is_not_labelled_with_an_empty_value_is_not_listed() {
    scenario("dkp-label-value", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |alpha, _| {
            let service = |name: &str, label: &str| {
                PORTS.replace("name: ports", &format!("name: {name}")).replace("\"\"", label)
            };
            alpha.put_manifest("valued.yaml", &service("valued", "\"true\""))?;
            alpha.put_manifest("marked.yaml", &service("marked", "\"\""))
        })
        .await?;
        mixed.wait_paired().await?;
        wait_import(&mixed, "marked.shop.svc.alpha.example").await?;
        let state = mixed.delta.poll().await?;
        ensure!(state.import("valued.shop.svc.alpha.example").is_none(), "it is listed");
        Ok(())
    });
}

/// A cluster that only consumes publishes its gateway, and nothing but its health name.
#[test]
fn a_cluster_that_only_consumes_publishes_its_gateway() {
    scenario("dkp-consumer", async |run: &RunFolder| {
        let mixed =
            Mixed::start(run, async |alpha, _| alpha.remove_manifest("service-shop-web.yaml"))
                .await?;
        let state = mixed.wait_paired().await?;
        let private = document(&state, "private");
        let gateway = gateway_row(mixed.alpha.gateway_address());
        ensure!(private["ingressGateways"] == json!([gateway]), "{private}");
        let services = private["publicServices"].as_array().context("no services")?;
        let hosts: Vec<_> = services.iter().map(|row| row["hostname"].as_str()).collect();
        let health = fedgate_e2e::dkp::health_host(mixed.alpha.uuid(), mixed.alpha.trust_domain());
        ensure!(hosts == [Some(&*health)], "{hosts:?}");
        Ok(())
    });
}

/// Sorted by address, then by port.
#[test]
fn gateways_are_listed_in_order() {
    scenario("dkp-gateway-order", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |alpha, _| {
            let addresses = ["192.0.2.1:15444", "192.0.2.9:15443", "192.0.2.1:443"];
            alpha.settings().advertise =
                addresses.iter().filter_map(|address| address.parse().ok()).collect();
            alpha.write_settings()
        })
        .await?;
        let state = mixed.wait_paired().await?;
        let gateways = &document(&state, "private")["ingressGateways"];
        let row = |address: &str, port: u16| json!({ "address": address, "port": port });
        let expected =
            json!([row("192.0.2.1", 443), row("192.0.2.1", 15444), row("192.0.2.9", 15443)]);
        ensure!(*gateways == expected, "{gateways}");
        Ok(())
    });
}
