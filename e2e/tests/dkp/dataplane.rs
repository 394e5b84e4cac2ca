//! Calls and probes in both directions.

use crate::{Mixed, SUCCEEDED};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::dkp::{DkpPeer, health_host};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

const DATAPLANE: &str = "DataplaneConnectionReady";

/// DKP probes `http://alliance-healthcheck-<uuid>.d8-istio.svc.<domain>:80/healthz` through the data
/// plane. The name must be among the public services.
#[test]
fn a_dkp_prober_is_answered_200() {
    scenario("dkp-prober", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        let answered = async || {
            let probe = mixed.delta.probe().await?.probe("alpha").clone();
            ensure!(probe["status"] == 200, "{probe}");
            Ok(Some(probe))
        };
        let probe = wait::until("alpha's health host to answer", SOON, answered).await?;
        let host = health_host(mixed.alpha.uuid(), mixed.alpha.trust_domain());
        ensure!(probe["host"] == host, "{probe}");
        // The counterpart: a cluster that is no peer is not answered.
        mixed.alpha.remove_manifest(&mixed.delta.manifest_file())?;
        let refused = async || {
            let probe = mixed.delta.probe().await?.probe("alpha").clone();
            Ok(probe["error"].is_string())
        };
        wait::until_true("the prober to be refused", SOON, refused).await
    });
}

/// A DKP cluster whose peer does not list its health host raises an alert.
#[test]
fn without_the_health_name_a_dkp_prober_raises_its_alert() {
    scenario("dkp-alert", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |alpha, _| {
            let file = alpha.folder().join("fedgate.yaml");
            let text = std::fs::read_to_string(file)?;
            alpha
                .put("fedgate.yaml", &text.replace("gateway:\n", "gateway:\n  healthName: false\n"))
        })
        .await?;
        mixed.wait_paired().await?;
        let state = mixed.delta.probe().await?;
        let error = state.probe("alpha")["error"].as_str().context("no alert")?;
        ensure!(error.starts_with("alert: "), "{error}");
        Ok(())
    });
}

/// Our probe asks for the same host at a DKP cluster.
#[test]
fn our_probe_asks_a_dkp_cluster_for_its_health_host() {
    scenario("dkp-our-probe", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        mixed.alpha.wait_condition("delta", DATAPLANE, SUCCEEDED).await?;
        let sni = format!("outbound_.80_._.{}", mixed.delta.health_host());
        let asked = async || {
            let state = mixed.delta.state().await?;
            let seen = state
                .connections()
                .iter()
                .find(|seen| seen["sni"] == sni && seen["request"] == "GET /healthz HTTP/1.1");
            Ok(seen.cloned())
        };
        let seen = wait::until("alpha's probe", SOON, asked).await?;
        ensure!(seen["identities"] == json!([mixed.alpha.spiffe_id("gateway")]), "{seen}");

        // The counterpart: a workload that another root has signed does not pass for delta.
        let stranger = Authority::root("root of delta")?;
        let files = workload(&mixed.delta, &stranger, "d8-istio", "delta.example", "other")?;
        mixed.delta.change(json!({ "health": files })).await?;
        mixed.alpha.wait_condition("delta", DATAPLANE, ["False", "ProbeFailed"]).await.map(drop)
    });
}

/// The server name, the client's certificate, and what the client offers as protocols.
#[test]
fn our_calls_have_the_form_of_istio() {
    scenario("dkp-our-calls", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        called(&mixed).await?;
        let sni = format!("outbound_.80_._.{}", mixed.delta.web());
        // delta writes a connection down after it has answered.
        let written = async || {
            let state = mixed.delta.state().await?;
            let seen = state.connections().iter().find(|seen| seen["sni"] == sni).cloned();
            seen.with_context(|| format!("{:#?}", state.connections())).map(Some)
        };
        let seen = wait::until("alpha's call", SOON, written).await?;
        ensure!(seen["alpn"] == "istio", "{seen}");
        ensure!(seen["identities"] == json!([mixed.alpha.spiffe_id("gateway")]), "{seen}");
        Ok(())
    });
}

/// A DKP client offers Istio's protocols. Our gateway ends TLS, so it must not agree to one whose
/// preamble it does not understand.
#[test]
fn the_gateway_never_agrees_to_istio_peer_exchange() {
    scenario("dkp-alpn", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        let answered = async || {
            let answer = mixed.delta.call(&mixed.web.host(), 80).await?;
            ensure!(answer["status"] == 200, "{answer}");
            Ok(Some(answer))
        };
        let answer = wait::until("alpha's web to answer", SOON, answered).await?;
        ensure!(answer["alpn"] != "istio-peer-exchange", "{answer}");
        let only =
            mixed.delta.call_offering(&mixed.web.host(), 80, &["istio-peer-exchange"]).await?;
        ensure!(only["alpn"] != "istio-peer-exchange", "{only}");
        Ok(())
    });
}

/// With DKP any certificate from any trusted root passes for the remote service. With us it must
/// have an identity of the peer's trust domain, from a root of the peer.
#[test]
fn a_server_of_another_trust_domain_is_refused() {
    scenario("dkp-server-identity", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        called(&mixed).await?;
        let egress = mixed.alpha.wait_import(&mixed.import()).await?;
        let own = web(
            &mixed,
            workload(&mixed.delta, mixed.delta.authority(), "shop", "delta.example", "own")?,
        );
        let foreign = [
            ("alpha's identity by delta's root", mixed.delta.authority(), "alpha.example"),
            ("delta's identity by alpha's root", mixed.alpha.authority(), "delta.example"),
        ];
        for (number, (what, authority, domain)) in foreign.into_iter().enumerate() {
            let files =
                workload(&mixed.delta, authority, "shop", domain, &format!("foreign{number}"))?;
            mixed.delta.change(json!({ "services": [web(&mixed, files)] })).await?;
            let answer = plain_get(egress, &mixed.delta.web()).await;
            ensure!(!answer.is_ok_and(|answer| answer.status == 200), "{what}");
        }
        mixed.delta.change(json!({ "services": [own] })).await?;
        called(&mixed).await
    });
}

/// Waits until delta's web answers a call through alpha's egress.
pub(crate) async fn called(mixed: &Mixed) -> Result<()> {
    let egress = mixed.alpha.wait_import(&mixed.import()).await?;
    wait::until_true("delta's web to answer", SOON, async || {
        Ok(plain_get(egress, &mixed.delta.web()).await?.body == mixed.delta.answer())
    })
    .await
}

/// delta's web with another certificate.
pub(crate) fn web(mixed: &Mixed, mut files: serde_json::Map<String, Value>) -> Value {
    files.insert("hostname".into(), mixed.delta.web().into());
    files.insert("ports".into(), json!([{ "name": "http", "port": 80 }]));
    files.insert("answer".into(), mixed.delta.answer().into());
    files.into()
}

/// A certificate of a workload, in delta's folder.
pub(crate) fn workload(
    delta: &DkpPeer,
    authority: &Authority,
    namespace: &str,
    domain: &str,
    file: &str,
) -> Result<serde_json::Map<String, Value>> {
    let id = format!("spiffe://{domain}/ns/{namespace}/sa/web");
    delta.workload_files(file, &authority.workload(&id)?)
}
