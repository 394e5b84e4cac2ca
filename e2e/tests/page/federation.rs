//! The picture of the federation, and changes that appear without a reload.

use crate::site::{origin, picture};
use anyhow::{Result, ensure};
use fedgate_e2e::browser::Browser;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use std::net::{Ipv4Addr, SocketAddr};

/// A Service that every peer may reach.
fn service(name: &str) -> Service {
    Service::new(name, "http", 80, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))).exported()
}

#[test]
fn a_change_appears_without_a_reload() {
    scenario("page-live", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        federation.clusters[1].put_service(&service("web"))?;
        federation.start_controllers().await?;
        let [alpha, beta] = &federation.clusters;
        let origin = origin(alpha).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser
            .wait("the peer", "document.querySelector('.peer')?.innerText.includes('beta')")
            .await?;
        browser
            .wait("an import", "document.querySelector('.peer').innerText.includes('1 import')")
            .await?;
        browser.evaluate("window.mark = 'the same page'").await?;
        browser.wait("a row", "document.querySelector('#peers a.row') !== null").await?;
        browser.evaluate("document.querySelector('#peers a.row').focus()").await?;
        beta.put_service(&service("stock"))?;
        browser
            .wait("a change", "document.querySelector('.peer').innerText.includes('2 imports')")
            .await?;
        alpha.put_service(&service("cart"))?;
        browser
            .wait("an export", "document.querySelector('.peer').innerText.includes('1 export')")
            .await?;
        ensure!(browser.evaluate("window.mark").await? == "the same page", "it was reloaded");
        let focused = browser.evaluate("document.activeElement.matches('#peers a.row')").await?;
        ensure!(focused == true, "the row lost the focus, which a keyboard's user needs");
        picture(&mut browser, "live").await?;
        browser.check(&origin).await
    });
}

/// What a person is doing in a view: how it begins, and what must stay.
struct Doing {
    view: &'static str,
    element: &'static str,
    types: &'static str,
}

const DOING: [Doing; 6] = [
    Doing { view: "federation", element: "#peers input", types: "be" },
    Doing { view: "exports", element: "main input", types: "shop" },
    Doing { view: "matrix", element: "main input[aria-label=Peers]", types: "be" },
    Doing { view: "explain", element: "main input[name=from]", types: "spiffe" },
    Doing {
        view: "explain?to=web.shop.svc.alpha.example:80",
        element: "main input[name=to]",
        types: "x",
    },
    Doing { view: "changes", element: "main button.chip:nth-of-type(3)", types: "" },
];

/// What must stay: the focus, the text, the caret, and where the lists are scrolled to.
const STATE: &str = "JSON.stringify([document.activeElement === window.mine, window.mine.isConnected, window.mine.value, window.mine.selectionStart, scrollY, [...document.querySelectorAll('.list')].map(list => list.scrollTop)])";

/// Makes changes, each once the page has drawn the one before.
async fn change(cluster: &Cluster, browser: &mut Browser, round: usize) -> Result<()> {
    for number in 0..4 {
        browser.evaluate("window.drawn = window.live; 0").await?;
        // The last rows of every list, so that those in sight stay.
        cluster.put_service(&service(&format!("z{round}-{number}")))?;
        browser.wait("the change to be drawn", "window.live > window.drawn").await?;
    }
    Ok(())
}

#[test]
fn what_a_person_does_goes_on_while_changes_arrive() {
    scenario("page-focus", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        for number in 0..40 {
            federation.clusters[0].put_service(&service(&format!("web-{number}")))?;
        }
        federation.start_controllers().await?;
        let alpha = &federation.clusters[0];
        let origin = origin(alpha).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser.evaluate("window.live = 0; new EventSource('/page/events').addEventListener('changed', () => { window.live += 1; }); 0").await?;
        for (round, Doing { view, element, types }) in DOING.iter().enumerate() {
            browser.evaluate(&format!("location.hash = '#/{view}'; 0")).await?;
            browser.wait(view, &format!("document.querySelector('{element}') !== null")).await?;
            let focus = format!(
                "window.mine = document.querySelector('{element}'); window.mine.focus(); 0"
            );
            browser.evaluate(&focus).await?;
            if !types.is_empty() {
                browser.type_text(types).await?;
                browser.evaluate("window.mine.setSelectionRange(1, 1); 0").await?;
            }
            // Let what was typed be found.
            change(alpha, &mut browser, round * 2).await?;
            browser.evaluate("document.querySelectorAll('.list').forEach(list => { list.scrollTop = 100; }); 0").await?;
            let before = browser.evaluate(STATE).await?;
            change(alpha, &mut browser, round * 2 + 1).await?;
            let after = browser.evaluate(STATE).await?;
            ensure!(before == after, "{view}: {before} became {after}");
            ensure!(
                after.as_str().is_some_and(|after| after.starts_with("[true,true")),
                "{view}: {after}"
            );
        }
        // A row of a list in the middle.
        browser.evaluate("location.hash = '#/exports?search='; 0").await?;
        browser.wait("rows", "document.querySelectorAll('main a.row').length > 5").await?;
        browser.evaluate("window.mine = document.querySelectorAll('main a.row')[4]; window.mine.focus(); window.was = window.mine.href; 0").await?;
        change(alpha, &mut browser, 99).await?;
        let row = "document.activeElement === window.mine && window.mine.href === window.was";
        ensure!(browser.evaluate(row).await? == true, "the row lost the focus");
        browser.check(&origin).await
    });
}
