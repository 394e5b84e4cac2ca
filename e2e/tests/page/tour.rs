//! All views on a federation with real gateways: they say what the commands say, and need no mouse.

use crate::site::{origin, picture};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::browser::Browser;
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::{Service, federated_service, federation as peer};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::process::Command;
use xtask::ports;

/// beta exports `web` and `stock` to alpha and gamma; a policy lets gamma call `web` only, another
/// would let only one caller of alpha through, but is in Audit.
struct Tour {
    federation: Federation<3>,
    origin: String,
    browser: Browser,
}

impl Tour {
    async fn start(run: &RunFolder) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &mut federation.clusters;
        let log = beta.folder().join("access.log");
        beta.settings().gateway_admin = Some(ports::free()?);
        beta.settings().gateway_access_log = Some(log);
        let egress_admin = format!("admin: {}", ports::free()?);
        beta.settings().more.egress.push(egress_admin);
        beta.write_settings()?;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, |service| Service {
            labels: vec![("app".into(), "web".into())],
            ..service.exported()
        })?;
        let mut stock = Deployed::http(beta, "stock").await?;
        stock.apply(beta, Service::exported)?;
        beta.put_policy(
            "web-only",
            r#"{"peers": ["gamma"], "services": [{"selector": {"matchLabels": {"app": "web"}}}]}"#,
        )?;
        beta.put_policy("try-callers", r#"{"peers": ["alpha"], "callers": [{"namespace": "shop", "serviceAccount": "till"}], "mode": "Audit"}"#)?;
        let members = "[{peers: [nobody]}, {peers: [gamma]}]";
        beta.put_manifest("name.yaml", &federated_service("reports", ("http", 80), members))?;
        let mut reports = Deployed::http(gamma, "reports").await?;
        reports.apply(gamma, Service::exported)?;
        // A peer that cannot be reached.
        let endpoint = format!("https://127.0.0.1:{}/metadata", ports::free()?.port());
        let ca = gamma.authority().pem();
        beta.put_manifest("delta.yaml", &peer("delta", "delta.example", &endpoint, &ca))?;
        let (alpha_client, gamma_client) =
            (Client::new(Some(&alpha.workload()?))?, Client::new(Some(&gamma.workload()?))?);
        federation.start().await?;
        let [_, beta, _] = &federation.clusters;
        web.wait_reachable(&alpha_client, beta).await?;
        // The page needs a refusal by the policy.
        let refused = async || stock.refuses(&gamma_client, beta).await.map(drop);
        let log = AccessLog::from_now(&beta.folder().join("access.log"));
        log.call_until("not_granted", refused).await?;
        reports.wait_callable_from(beta).await?;
        let origin = origin(beta).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser.wait("ready peers", "document.querySelectorAll('.peer.good').length === 2").await?;
        Ok(Self { federation, origin, browser })
    }

    fn beta(&self) -> &Cluster {
        &self.federation.clusters[1]
    }

    /// Opens a view by its link, and takes pictures of it.
    async fn visit(&mut self, hash: &str, what: &str, expression: &str) -> Result<()> {
        self.browser.evaluate(&format!("location.hash = {hash:?}; 0")).await?;
        self.browser.wait(what, expression).await?;
        let name = hash.trim_start_matches("#/").split('?').next().unwrap_or_default().to_owned();
        picture(&mut self.browser, &name).await
    }
}

fn fedgate(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let (command, rest) = arguments.split_first().context("a command")?;
    let mut program = Command::new(programs::fedgate()?);
    let output = program.arg(command).arg("--dir").arg(cluster.folder()).args(rest).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

const HAS: &str = "document.querySelector('main').innerText.includes";

#[test]
fn every_view_says_what_the_commands_say() {
    scenario("page-tour", async |run: &RunFolder| {
        let mut tour = Tour::start(run).await?;
        tour.browser
            .wait(
                "refusals",
                "/Refused\\s*[1-9]/i.test(document.querySelector('.tiles').innerText)",
            )
            .await?;
        // A peer that is not ready has the cause on its card.
        tour.browser
            .wait(
                "the cause",
                "document.querySelector('.peer.warn .why')?.innerText.startsWith('cannot connect')",
            )
            .await?;
        picture(&mut tour.browser, "federation").await?;
        tour.browser.colours("dark").await?;
        picture(&mut tour.browser, "federation-dark").await?;
        tour.browser.colours("light").await?;

        calls(&mut tour).await?;

        states(&mut tour).await?;

        tour.visit("#/peer?name=alpha", "a peer", "document.querySelector('#panel')?.innerText.includes('Its view of this cluster'.toUpperCase())").await?;
        tour.visit("#/exports", "exports", &format!("{HAS}('stock.shop.svc.beta.example:80')"))
            .await?;
        tour.visit(
            "#/export?name=web.shop.svc.beta.example:80",
            "an export",
            "document.querySelector('#panel').innerText.includes('some callers')",
        )
        .await?;
        tour.visit("#/imports", "imports", &format!("{HAS}('reports.shop.svc.gamma.example:80')"))
            .await?;
        tour.visit(
            "#/imports",
            "a name that several clusters serve",
            &format!("{HAS}('reports.shop.global:80') && {HAS}('unknown_peer')"),
        )
        .await?;
        tour.visit(
            "#/matrix",
            "the matrix",
            "document.querySelectorAll('.cell.refused').length === 1",
        )
        .await?;
        tour.visit("#/audit", "audit", &format!("{HAS}('try-callers')")).await?;
        tour.visit(
            "#/refusals",
            "refusals",
            &format!("{HAS}('spiffe://gamma.example/ns/shop/sa/cart')"),
        )
        .await?;
        ensure!(tour.browser.text().await?.contains("not_granted"), "no reason");
        tour.visit("#/changes", "changes", &format!("{HAS}('is ready')")).await?;
        explain(&mut tour).await?;
        tour.browser.size(390, 844).await?;
        for view in ["federation", "exports", "matrix", "refusals"] {
            tour.browser.evaluate(&format!("location.hash = '#/{view}'; 0")).await?;
            tour.browser.wait(view, "document.querySelector('main').innerText.length > 60 && !document.querySelector('main').innerText.startsWith('Loading')").await?;
            let fits = "document.documentElement.scrollWidth <= innerWidth";
            tour.browser.wait(&format!("{view} to fit on a phone"), fits).await?;
            if view == "exports" {
                let names = "[...document.querySelectorAll('a.row > .three')]";
                let whole = format!(
                    "{names}.length > 0 && {names}.every(name => name.scrollWidth <= name.clientWidth)"
                );
                tour.browser.wait("whole names of services", &whole).await?;
            }
            let name =
                if view == "federation" { "phone".to_owned() } else { format!("phone-{view}") };
            picture(&mut tour.browser, &name).await?;
        }
        let origin = tour.origin.clone();
        tour.browser.check(&origin).await
    });
}

/// The calls on the page are those of `fedgate top`.
async fn calls(tour: &mut Tour) -> Result<()> {
    let node = "[...document.querySelectorAll('.peer')].find(peer => peer.innerText.includes('gamma')).innerText";
    tour.browser.wait("a call to gamma", &format!("/[1-9]\\d* calls? to it/.test({node})")).await?;
    // The page asks the Envoys now and then.
    wait::until("the page to count as the command does", SOON, async || {
        let shown = tour.browser.evaluate("fetch('/page/peers?search=gamma&limit=1').then(r => r.json()).then(p => p.rows[0].calls)").await?;
        let top: Value = serde_json::from_str(&fedgate(tour.beta(), &["top", "--output", "json"])?)?;
        let gamma =
            top["peers"].as_array().and_then(|peers| peers.iter().find(|it| it["name"] == "gamma"));
        let gamma = gamma.with_context(|| format!("no gamma: {top:#}"))?;
        for (on_page, in_terminal) in [
            ("connections", "calls"),
            ("failures", "failures"),
            ("toService", "sent"),
            ("fromService", "received"),
        ] {
            ensure!(shown[on_page] == gamma[in_terminal], "{on_page}: {shown:#} {gamma:#}");
        }
        ensure!(shown["fromService"].as_u64() > Some(0), "{shown}");
        let import = "fetch('/page/imports?search=reports&limit=1').then(r => r.json()).then(p => p.rows[0].calls)";
        let import = tour.browser.evaluate(import).await?;
        ensure!(import["connections"] == shown["connections"], "{import:#} {shown:#}");
        Ok(Some(()))
    })
    .await
}

/// The state of each peer on the page is a part of what `fedgate status` prints.
async fn states(tour: &mut Tour) -> Result<()> {
    wait::until("the page and the command to agree", SOON, async || {
        let states = tour.browser.evaluate("fetch('/page/peers?limit=50').then(r => r.json()).then(p => p.rows.map(r => r.state))").await?;
        let status = fedgate(tour.beta(), &["status"])?;
        let joined = status.split_whitespace().collect::<Vec<_>>().join(" ");
        let states = states.as_array().filter(|states| states.len() == 3).context("states")?;
        for state in states {
            ensure!(joined.contains(state.as_str().unwrap_or("?")), "{state} is not in\n{status}");
        }
        Ok(Some(()))
    })
    .await
}

/// The steps on the page are those of `fedgate explain`.
async fn explain(tour: &mut Tour) -> Result<()> {
    for (to, from) in [
        ("web.shop.svc.beta.example:80", "gamma"),
        ("web.shop.svc.beta.example:80", "spiffe://alpha.example/ns/shop/sa/cart"),
        ("web.shop.svc.beta.example:80", ""),
        ("none.shop.svc.beta.example:80", "alpha"),
        ("reports.shop.svc.gamma.example:80", ""),
    ] {
        // Each is asked at a moment of its own, and a probe may end in between.
        let what = format!("the page and the command to explain {to} from {from:?} alike");
        wait::until(&what, SOON, async || explained(tour, to, from).await.map(Some)).await?;
        if from.contains("://") {
            picture(&mut tour.browser, "explain").await?;
        }
    }
    Ok(())
}

/// Fails unless the page explains a call as the command does.
async fn explained(tour: &mut Tour, to: &str, from: &str) -> Result<()> {
    let flag = if from.contains("://") { "--from" } else { "--peer" };
    let mut arguments = vec!["explain", "--output", "json", "--to", to];
    if !from.is_empty() {
        arguments.extend([flag, from]);
    }
    let said: Value = serde_json::from_str(&fedgate(tour.beta(), &arguments)?)?;
    let hash = format!(
        "location.hash = '#/explain?' + new URLSearchParams({{to: {to:?}, from: {from:?}}}); 0"
    );
    tour.browser.evaluate("location.hash = '#/changes'; 0").await?;
    tour.browser.wait("no answer", "!document.querySelector('.verdict')").await?;
    tour.browser.evaluate(&hash).await?;
    tour.browser.wait("the answer", "!!document.querySelector('.verdict')").await?;
    let shown = tour.browser.evaluate("[...document.querySelectorAll('.steps li')].map(li => [!!li.querySelector('b.good'), li.lastChild.textContent])").await?;
    let rows = |name: &str| said[name].as_array().into_iter().flatten();
    let steps = rows("steps").map(|step| (&step["holds"], &step["detail"]));
    let peers = rows("peers").map(|peer| (&peer["passes"], &peer["detail"]));
    let expected: Vec<_> =
        steps.chain(peers).map(|(holds, detail)| serde_json::json!([holds, detail])).collect();
    ensure!(!expected.is_empty() && shown == Value::from(expected.clone()), "{shown} {expected:?}");
    let text = tour.browser.evaluate("document.querySelector('.verdict').innerText").await?;
    let audited = said["reason"] == "caller_not_granted" && said["peers"].is_null();
    ensure!(audited == text.as_str().unwrap_or_default().contains("in audit mode"), "{text}");
    let verdict = tour.browser.evaluate("document.querySelector('.verdict').className").await?;
    let passes = verdict.as_str().unwrap_or_default().contains("good");
    ensure!(passes == (said["passes"] == true), "{said}");
    Ok(())
}

#[test]
fn the_page_needs_no_mouse() {
    scenario("page-keyboard", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        federation.start_controllers().await?;
        let origin = origin(&federation.clusters[0]).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser.wait("rows", "document.querySelectorAll('#peers a.row').length === 2").await?;
        // The first stop leads to the content, the next ones through the header to the views.
        browser.press("Tab").await?;
        browser.wait("the first stop", "document.activeElement.className === 'skip'").await?;
        for _ in 0..4 {
            browser.press("Tab").await?;
        }
        browser
            .wait("the second view", "document.activeElement.getAttribute('href') === '#/exports'")
            .await?;
        browser.press("/").await?;
        browser.wait("the search", "document.activeElement.type === 'search'").await?;
        browser.type_text("gam").await?;
        browser.wait("one row", "document.querySelectorAll('#peers a.row').length === 1").await?;
        for _ in 0..12 {
            browser.press("Tab").await?;
            if browser.evaluate("document.activeElement.closest('.list') !== null").await? == true {
                break;
            }
        }
        browser.press("ArrowDown").await?;
        browser.wait("a row", "document.activeElement.matches('a.row')").await?;
        browser.press("Enter").await?;
        browser
            .wait(
                "the panel",
                "!panel.hidden && document.querySelector('#panel h1').innerText === 'gamma'",
            )
            .await?;
        ensure!(
            browser.evaluate("document.activeElement.id === 'panel'").await? == true,
            "the panel has no focus"
        );
        browser.press("Escape").await?;
        browser.wait("no panel", "panel.hidden").await?;
        browser.wait("the row again", "document.activeElement.matches('a.row')").await?;
        let visible = browser
            .evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            .await?;
        ensure!(visible == true, "the focus cannot be seen");
        browser.check(&origin).await
    });
}
