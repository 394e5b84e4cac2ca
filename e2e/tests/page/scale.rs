//! Two thousand peers and ten thousand services: the page is there at once, and a search too.

use crate::site::{origin, picture};
use anyhow::{Result, ensure};
use fedgate_e2e::browser::Browser;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use xtask::ports;

const PEERS: usize = 2_000;
const SERVICES: usize = 10_000;
/// A manifest has a limited size.
const FILES: usize = 20;
/// Far more than needed, on a busy machine with unoptimized programs.
const PAINT: Duration = Duration::from_secs(5);
const SEARCH: Duration = Duration::from_secs(3);

#[test]
fn a_large_federation_is_shown_at_once() {
    scenario("page-scale", async |run: &RunFolder| {
        let fleet = Fleet::start(PEERS, 1).await?;
        let mut cluster = Cluster::new(run, "alpha")?;
        cluster.settings().poll = "10m".into();
        cluster.settings().egress_ports = ports::free_range(u16::try_from(PEERS)?)?;
        cluster.write_settings()?;
        cluster.put_manifest("peers.yaml", &fleet.federations())?;
        for file in 0..FILES {
            let mut services = String::new();
            for number in (file..SERVICES).step_by(FILES) {
                let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
                let service = Service::new(&format!("s{number}"), "http", 80, target).exported();
                writeln!(services, "{}---", service.yaml())?;
            }
            cluster.put_manifest(&format!("services-{file}.yaml"), &services)?;
        }
        cluster.start_controller().await?;
        let origin = origin(&cluster).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser.wait("all peers and services", "/2,?000/.test(document.querySelector('.tiles')?.innerText) && /10,000/.test(document.querySelector('.tiles').innerText)").await?;

        // A machine that is busy with something else may need longer once.
        let mut times = Vec::new();
        while times.len() < 3 && !times.last().is_some_and(is_quick) {
            times.push(times_of(&mut browser, &format!("{origin}/?again={}", times.len())).await?);
        }
        browser.evaluate("location.hash = '#/matrix'; 0").await?;
        browser.wait("the matrix", "document.querySelectorAll('.cell').length > 50").await?;
        picture(&mut browser, "scale-matrix").await?;
        println!(
            "{PEERS} peers, {SERVICES} services: page, search and end of the list after {times:.2?}"
        );
        ensure!(times.last().is_some_and(is_quick), "{times:?}");
        let elements = browser.evaluate("document.querySelectorAll('*').length").await?;
        ensure!(elements.as_u64().unwrap_or(u64::MAX) < 5_000, "{elements} elements");
        browser.check(&origin).await
    });
}

/// How long it takes until the page is there, a search is done, and the end of a list is reached.
async fn times_of(browser: &mut Browser, url: &str) -> Result<[Duration; 3]> {
    let began = Instant::now();
    browser.open(url).await?;
    browser.wait("rows", "document.querySelectorAll('#peers a.row').length > 5").await?;
    let paint = began.elapsed();
    picture(browser, "scale").await?;
    Ok([paint, search(browser).await?, scroll(browser).await?])
}

fn is_quick([paint, search, scroll]: &[Duration; 3]) -> bool {
    *paint < PAINT && *search < SEARCH && *scroll < SEARCH
}

async fn search(browser: &mut Browser) -> Result<Duration> {
    browser.evaluate("location.hash = '#/exports'; 0").await?;
    browser.wait("exports", "document.querySelectorAll('.list a.row').length > 5").await?;
    let began = Instant::now();
    browser.evaluate("const field = document.querySelector('main input[type=search]'); field.focus(); field.value = 's9876'; field.oninput(); 0").await?;
    browser.wait("the service", "document.querySelectorAll('.list a.row').length === 1 && document.querySelector('.list').innerText.includes('s9876.shop')").await?;
    let time = began.elapsed();
    browser.evaluate("field.value = ''; field.oninput(); 0").await?;
    browser.wait("all", "document.querySelectorAll('.list a.row').length > 5").await?;
    Ok(time)
}

async fn scroll(browser: &mut Browser) -> Result<Duration> {
    let began = Instant::now();
    browser.evaluate("document.querySelector('.list').scrollTop = 1e9; 0").await?;
    browser
        .wait("the last one", "document.querySelector('.list').innerText.includes('s9999.shop')")
        .await?;
    Ok(began.elapsed())
}
