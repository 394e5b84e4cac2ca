//! A peer whose documents contain markup, scripts, text that runs from right to left, and very long
//! text in every field. The page shows it as text.

use crate::site::{origin, picture};
use anyhow::ensure;
use fedgate_e2e::browser::Browser;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::{MetadataProxy, PRIVATE, PUBLIC, Reply};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

const SCRIPT: &str = "<script>window.hit=1</script><img src=x onerror=window.hit=1>";
const REVERSED: &str = "\u{202e}gpj.exe\u{2066}\u{5e9}\u{5dc}\u{5d5}\u{5dd}";

/// Every string of the document, keys included, has an evil twin.
fn poisoned(value: &Value, long: &str) -> Value {
    match value {
        Value::String(text) => json!(format!("{SCRIPT}{REVERSED}{text}{long}")),
        Value::Array(rows) => {
            rows.iter().map(|row| poisoned(row, long)).chain(rows.iter().cloned()).collect()
        }
        Value::Object(fields) => {
            let evil = fields.iter().map(|(name, value)| (name.clone(), poisoned(value, long)));
            evil.chain([(SCRIPT.to_owned(), json!(SCRIPT))])
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

#[test]
fn hostile_strings_stay_text() {
    scenario("page-hostile", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &federation.clusters;
        let web = Service::new("web", "http", 80, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        beta.put_service(&web.clone().exported())?;
        gamma.put_service(&web.exported())?;
        let (liar, fool) =
            (MetadataProxy::in_front_of(beta).await?, MetadataProxy::in_front_of(gamma).await?);
        alpha.put_peer(beta, &liar.url())?;
        alpha.put_peer(gamma, &fool.url())?;
        // beta adds evil rows to a good document, so that its good ones are used; all of gamma's
        // documents are evil.
        liar.alter(|path, reply| {
            let Ok(mut document) = serde_json::from_slice::<Value>(&reply.body) else {
                return reply;
            };
            if path == PRIVATE && reply.status == 200 {
                let long = "x".repeat(3000);
                for list in ["publicServices", "ingressGateways"] {
                    document[list] = poisoned(&document[list], &long);
                }
                let count = document["publicServices"].as_array().map_or(0, Vec::len);
                document["fedgate"]["serviceCount"] = count.into();
            }
            Reply { body: document.to_string().into_bytes(), ..reply }
        });
        fool.alter(|path, reply| match serde_json::from_slice::<Value>(&reply.body) {
            Ok(document) if path == PUBLIC => Reply::ok(poisoned(&document, "").to_string()),
            _ => Reply { status: 500, body: format!("{SCRIPT}{REVERSED}").into_bytes(), ..reply },
        });
        federation.start_controllers().await?;
        let origin = origin(&federation.clusters[0]).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser.wait("the evil text", "document.body.innerText.includes('onerror')").await?;
        // The good rows of the document are used, the others are reported.
        browser
            .wait(
                "one import",
                "[...document.querySelectorAll('.peer')].some(peer => peer.innerText.includes('1 import'))",
            )
            .await?;
        picture(&mut browser, "hostile").await?;
        let views = [
            "federation",
            "exports",
            "imports",
            "matrix",
            "audit",
            "refusals",
            "changes",
            "peer?name=beta",
            "peer?name=gamma",
        ];
        for view in views {
            browser.evaluate(&format!("location.hash = '#/{view}'; 0")).await?;
            browser
                .wait(view, "!/^(Loading)?$/.test((panel.hidden ? main : panel).innerText.trim())")
                .await?;
            let bad = browser.evaluate("JSON.stringify([typeof hit, document.querySelectorAll('main script, main img, #panel script, #panel img').length, document.documentElement.scrollWidth > innerWidth])").await?;
            ensure!(bad == r#"["undefined",0,false]"#, "{view}: {bad}");
            if view.starts_with("peer") {
                picture(&mut browser, &format!("hostile-{}", view.replace("?name=", "-"))).await?;
            }
        }
        // What a person types, and a link that somebody sends.
        for hash in ["explain", "peer"] {
            let evil = format!(
                "location.hash = '#/{hash}?' + new URLSearchParams({{to: `{SCRIPT}`, from: `{SCRIPT}`, name: `{SCRIPT}`}}); 0"
            );
            browser.evaluate(&evil).await?;
            browser
                .wait("an answer", "document.querySelector('.note, #details .note') !== null")
                .await?;
            ensure!(browser.evaluate("typeof hit").await? == "undefined", "a script ran");
        }
        browser.check(&origin).await?;
        // Twins: the browser would run a script, and refuse markup made from text.
        let refused = browser
            .evaluate("try { document.body.innerHTML = '<b>x</b>'; 'written' } catch { 'refused' }")
            .await?;
        ensure!(refused == "refused", "markup can be made from text: {refused}");
        Ok(())
    });
}
