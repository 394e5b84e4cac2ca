//! What our importer asks a DKP exporter.

use crate::{Mixed, PRIVATE, PUBLIC, SUCCEEDED, service};
use anyhow::{Context, ensure};
use fedgate_e2e::dkp::{DkpPeer, header};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn documents_are_asked_for_with_get_over_http_1_1() {
    scenario("dkp-get", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.wait_asked(PRIVATE, 200, 2).await?;
        let expected = [DkpPeer::path(PUBLIC), DkpPeer::path(PRIVATE)];
        let paths: BTreeSet<_> =
            state.requests("").iter().map(|request| request["path"].as_str().unwrap()).collect();
        ensure!(paths == expected.iter().map(String::as_str).collect(), "{paths:?}");
        for request in state.requests("") {
            ensure!(request["method"] == "GET" && request["version"] == "HTTP/1.1", "{request}");
        }
        Ok(())
    });
}

#[test]
fn only_the_private_document_is_asked_for_with_a_bearer_token() {
    scenario("dkp-bearer", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.state().await?;
        for request in state.requests(PUBLIC) {
            ensure!(header(request, "authorization").is_none(), "{request}");
        }
        for request in state.requests(PRIVATE) {
            let sent = header(request, "authorization").context("no Authorization")?;
            ensure!(sent.starts_with("Bearer ey"), "{sent}");
        }
        ensure!(!state.requests(PRIVATE).is_empty());
        Ok(())
    });
}

#[test]
fn our_token_has_exactly_the_claims_of_the_protocol() {
    scenario("dkp-claims", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.wait_asked(PRIVATE, 200, 1).await?;
        let last = state.requests(PRIVATE).pop().context("no request")?.clone();
        let token = &last["token"];
        ensure!(token["header"] == r#"{"alg":"EdDSA"}"#, "{token}");
        let nbf = token["claims"]["nbf"].as_i64().context("nbf is not an integer")?;
        let expected = json!({
            "iss": "d8-istio",
            "aud": mixed.delta.uuid(),
            "sub": mixed.alpha.uuid(),
            "scope": "private-federation",
            "nbf": nbf,
            "exp": nbf + 60,
        });
        ensure!(token["claims"] == expected, "{token}");
        let late = token["at"].as_f64().context("no time")? - nbf as f64;
        // It runs ahead when a round comes early, because each token has another second.
        ensure!((-5.0..30.0).contains(&late), "nbf is {late} s before the request");
        Ok(())
    });
}

#[test]
fn every_request_has_a_fresh_token() {
    scenario("dkp-fresh", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.wait_asked(PRIVATE, 200, 4).await?;
        let requests = state.requests(PRIVATE);
        let tokens: BTreeSet<_> =
            requests.iter().map(|request| request["token"]["raw"].as_str()).collect();
        ensure!(tokens.len() == requests.len(), "{} of {}", tokens.len(), requests.len());
        Ok(())
    });
}

/// A DKP exporter knows no entity tags. So there is nothing to make a request conditional with, and
/// a change is noticed by its content.
#[test]
fn an_exporter_without_entity_tags_is_asked_in_full() {
    scenario("dkp-unconditional", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.wait_asked(PRIVATE, 200, 2).await?;
        for request in state.requests("") {
            ensure!(header(request, "if-none-match").is_none(), "{request}");
            ensure!(header(request, "if-modified-since").is_none(), "{request}");
        }
        mixed.wait_imported(&mixed.delta.web()).await?;
        let more = "more.shop.svc.delta.example";
        let rows = [service(&mixed.delta.web()), service(more)];
        mixed.delta.change(json!({ "privateExtra": { "publicServices": rows } })).await?;
        mixed.wait_imported(more).await
    });
}

/// A request of ours says that it may wait for a change (`Prefer`). A DKP exporter does not know that
/// and answers at once. Then it is not asked to wait, and asked again at the configured pace.
#[test]
fn an_exporter_that_cannot_wait_is_polled_at_the_configured_pace() {
    scenario("dkp-prefer", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let before = mixed.delta.state().await?.requests(PRIVATE).len();
        let state = mixed.delta.wait_asked(PRIVATE, 200, 6).await?;
        let requests = &state.requests(PRIVATE)[before..];
        for request in requests {
            ensure!(header(request, "prefer") == Some("wait=0"), "{request}");
        }
        let times: Vec<_> = requests.iter().filter_map(|request| request["at"].as_f64()).collect();
        let mut pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        pauses.sort_by(f64::total_cmp);
        // The interval is 1 s, with a jitter of a tenth. On a busy machine one request may be late,
        // which makes the next pause shorter.
        let is_pace = |pause: &f64| (0.8..3.0).contains(pause);
        let middle = pauses.get(pauses.len() / 2);
        ensure!(pauses.len() >= 5 && middle.is_some_and(is_pace), "{pauses:?}");
        Ok(())
    });
}

#[test]
fn exactly_one_trailing_slash_of_the_endpoint_is_stripped() {
    scenario("dkp-slashes", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |alpha, delta| {
            let endpoint = format!("{}/", delta.metadata_url());
            alpha.put_manifest(&delta.manifest_file(), &delta.federation(&endpoint))
        })
        .await?;
        mixed.wait_public(SUCCEEDED).await?;
        let state = mixed.delta.wait_asked(PUBLIC, 200, 1).await?;
        for request in state.requests(PUBLIC) {
            ensure!(request["path"] == DkpPeer::path(PUBLIC), "{request}");
        }
        // Of two slashes one stays, which is another path.
        let endpoint = format!("{}//", mixed.delta.metadata_url());
        let manifest = mixed.delta.federation(&endpoint);
        mixed.alpha.put_manifest(&mixed.delta.manifest_file(), &manifest)?;
        let state = mixed.delta.wait_asked(PUBLIC, 404, 1).await?;
        let last = state.requests(PUBLIC).pop().context("no request")?.clone();
        ensure!(last["path"] == DkpPeer::path(&format!("/{PUBLIC}")), "{last}");
        mixed.wait_public(["False", "NonOKResponse"]).await.map(drop)
    });
}

/// DKP sends `text/plain`.
#[test]
fn documents_of_any_content_type_are_read() {
    scenario("dkp-content-type", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        for (version, content_type) in
            ["text/plain; charset=utf-8", "application/json", "image/png", ""].iter().enumerate()
        {
            mixed.delta.quirk("contentType", *content_type).await?;
            let host = format!("web{version}.shop.svc.delta.example");
            let rows = [service(&host), service(&mixed.delta.web())];
            mixed.delta.change(json!({ "privateExtra": { "publicServices": rows } })).await?;
            mixed.wait_imported(&host).await.with_context(|| format!("as {content_type:?}"))?;
        }
        Ok(())
    });
}

/// The body is a good document each time.
#[test]
fn only_200_is_success() {
    scenario("dkp-status", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        mixed.wait_imported(&mixed.delta.web()).await?;
        for status in [203, 500] {
            mixed.delta.quirk("status", status).await?;
            wait::until("this status to be told", SOON, async || {
                let message = mixed.wait_public(["False", "NonOKResponse"]).await?;
                ensure!(message.contains(&status.to_string()), "{status}: {message}");
                Ok(Some(()))
            })
            .await?;
            ensure!(mixed.is_imported().await?, "{status} has wiped the peer");
            mixed.delta.quirk("status", 200).await?;
            wait::until_true("delta to be well again", SOON, async || {
                let status = mixed.alpha.status().await?;
                Ok(status.condition("delta", crate::PRIVATE_READY).is_some_and(|c| c[0] == "True"))
            })
            .await?;
        }
        Ok(())
    });
}

/// Keys of both kinds of unknown names, in both documents and in rows.
#[test]
fn unknown_keys_of_a_document_are_ignored() {
    scenario("dkp-unknown-keys", async |run: &RunFolder| {
        let unknown = json!({ "apiHost": "api.delta.example", "later": { "a": [1, null] } });
        let host = "more.shop.svc.delta.example";
        let rows = json!([{
            "hostname": host,
            "weight": 3,
            "ports": [{ "name": "http", "port": 80, "protocol": "SCTP", "nodePort": null }],
        }]);
        let mut private = unknown.clone();
        private["publicServices"] = rows;
        let mixed = Mixed::start(run, async |_, delta: &DkpPeer| {
            let changes: Value = json!({ "publicExtra": unknown, "privateExtra": private });
            delta.change(changes).await
        })
        .await?;
        mixed.wait_paired().await?;
        mixed.wait_imported(host).await
    });
}
