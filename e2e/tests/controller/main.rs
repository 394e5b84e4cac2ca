//! One controller with thousands of peers. Run by `cargo xtask bench controller`, alone on the
//! machine. The numbers are in `docs/sizing.md`.
//!
//! One server in this process plays all peers, so it shares the processors with the controller.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::measure::{metric, number, percentile};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::long_scenario;
use fedgate_e2e::usage::Usage;
use fedgate_e2e::wait;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};
use xtask::ports;

const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn a_controller_with_thousands_of_peers() {
    let (peers, services) = (number("FLEET_PEERS", 2_000), number("FLEET_SERVICES", 300));
    long_scenario("controller", PATIENCE, async |run: &RunFolder| {
        let fleet = Fleet::start_with_gateways(peers, services).await?;
        let mut site = Site::new(run, &fleet, peers, services)?;
        site.cold().await?;
        site.idle().await?;
        site.single_changes(&fleet).await?;
        site.local_changes().await?;
        site.many_changes(&fleet).await?;
        ensure!(site.missed.is_empty(), "{}", site.missed.join("; "));
        Ok(())
    });
}

/// The cluster whose controller is measured.
struct Site {
    cluster: Cluster,
    http: reqwest::Client,
    peers: usize,
    imports: usize,
    /// The peers that have a port, and so a cluster in Envoy's files.
    with_port: BTreeSet<usize>,
    /// Addresses are never used twice, so each shows which change is in force.
    next: u32,
    /// The limits that were exceeded. They fail the test after everything is measured.
    missed: Vec<String>,
}

impl Site {
    fn new(run: &RunFolder, fleet: &Fleet, peers: usize, services: usize) -> Result<Self> {
        let mut cluster = Cluster::new(run, "alpha")?;
        let settings = cluster.settings();
        // A port for each peer and some more, so that each has a cluster in Envoy's files.
        settings.egress_ports = ports::free_range(u16::try_from(peers + peers / 4)?)?;
        settings.poll = std::env::var("FLEET_POLL").unwrap_or("30s".into());
        cluster.write_settings()?;
        for number in 0..peers {
            cluster.put_manifest(&format!("peer{number}.yaml"), &fleet.federation(number))?;
        }
        let answering = (0..peers).filter(|number| !fleet.is_silent(*number)).count();
        Ok(Self {
            cluster,
            http: reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?,
            peers,
            imports: answering * services,
            with_port: BTreeSet::new(),
            next: 0,
            missed: Vec::new(),
        })
    }

    /// From the start until every service of every peer that answers is imported.
    async fn cold(&mut self) -> Result<()> {
        let began = Instant::now();
        self.cluster.start_controller().await?;
        let imports = self.imports as f64;
        let all = async || Ok(self.metric("fedgate_imports").await? >= imports);
        wait::until_true("all imports", Duration::from_secs(300), all).await?;
        let (time, usage) = (began.elapsed(), self.usage()?);
        println!(
            "cold: {} peers, {} imports after {:.1} s, {:.1} s of CPU time, {} compilations, {}",
            self.peers,
            self.imports,
            time.as_secs_f64(),
            usage.cpu.as_secs_f64(),
            self.metric("fedgate_compilations_total").await?,
            memory(&usage, self.peers),
        );
        self.limit(time < Duration::from_secs(60), format!("complete only after {time:?}"));
        let most = (self.peers as u64) << 20;
        self.limit(usage.memory < most, "more than 1 MiB a peer".to_owned());
        Ok(())
    }

    /// Nothing changes for a while.
    async fn idle(&mut self) -> Result<()> {
        self.settled().await?;
        let (first, compilations) =
            (self.usage()?, self.metric("fedgate_compilations_total").await?);
        let time = Duration::from_secs(60);
        tokio::time::sleep(time).await;
        let last = self.usage()?;
        let share = (last.cpu - first.cpu).as_secs_f64() / time.as_secs_f64() * 100.0;
        println!(
            "idle: {share:.1} % of one core, {} compilations in {time:?}, {}",
            self.metric("fedgate_compilations_total").await? - compilations,
            memory(&last, self.peers),
        );
        self.limit(share < 5.0, format!("idle: {share:.1} % of one core"));
        Ok(())
    }

    /// Waits until the controller needs little CPU time, for three minutes at most. At first it probes
    /// all gateways.
    async fn settled(&mut self) -> Result<()> {
        let mut before = self.usage()?.cpu;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let now = self.usage()?.cpu;
            if now - before < Duration::from_millis(450) {
                return Ok(());
            }
            before = now;
        }
        println!("the controller did not settle");
        Ok(())
    }

    /// One change of one peer at a time: from the answer that has it to Envoy's file.
    async fn single_changes(&mut self, fleet: &Fleet) -> Result<()> {
        const CHANGES: usize = 200;
        let mut watch = Watch::new(self.cluster.folder());
        let text = std::fs::read_to_string(&watch.file)?;
        let names = text.split("\"name\": \"peer|peer").skip(1);
        let numbers = names.filter_map(|rest| rest.split('.').next()?.parse().ok());
        self.with_port = numbers.collect();
        ensure!(!self.with_port.is_empty(), "no peer has a port");
        let mut pending = BTreeMap::new();
        let mut pace = interval(Duration::from_millis(250));
        for _ in 0..CHANGES {
            pace.tick().await;
            let (peer, address) = self.another(fleet);
            fleet.move_gateway(peer, address)?;
            pending.insert(peer, address);
            watch.look(fleet, &mut pending)?;
        }
        self.drain(fleet, &mut watch, &mut pending).await?;
        let p99 = percentiles(
            "one change of a peer, from its answer to Envoy's file",
            &mut watch.latencies,
        );
        self.limit(p99 < Duration::from_secs(1), format!("a change of a peer: {p99:?}"));
        Ok(())
    }

    /// One Service is labelled: from its manifest to the gateway's table.
    async fn local_changes(&mut self) -> Result<()> {
        let table = self.cluster.folder().join("envoy/gateway/filter/filter.json");
        let mut latencies = Vec::new();
        for sample in 0..30 {
            let before = std::fs::read(&table)?;
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
            let service = Service::new(&format!("sample-{sample}"), "http", 80, target).exported();
            let began = Instant::now();
            self.cluster.put_service(&service)?;
            let changed = async || Ok(std::fs::read(&table)? != before);
            wait::until_true("the table", Duration::from_secs(10), changed).await?;
            latencies.push(began.elapsed());
        }
        let p99 = percentiles("one label, from the manifest to the table", &mut latencies);
        self.limit(p99 < Duration::from_secs(1), format!("a label: {p99:?}"));
        Ok(())
    }

    fn limit(&mut self, is_kept: bool, message: String) {
        if !is_kept {
            println!("a limit is exceeded: {message}");
            self.missed.push(message);
        }
    }

    /// 500 changes a second for 30 s. Each peer must end with its last change in force.
    async fn many_changes(&mut self, fleet: &Fleet) -> Result<()> {
        const A_TICK: usize = 25;
        let (began, first) = (Instant::now(), self.usage()?);
        let compilations = self.metric("fedgate_compilations_total").await?;
        let mut watch = Watch::new(self.cluster.folder());
        let (mut pending, mut changes) = (BTreeMap::new(), 0);
        let mut pace = interval(Duration::from_millis(50));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while began.elapsed() < Duration::from_secs(30) {
            pace.tick().await;
            for _ in 0..A_TICK {
                let (peer, address) = self.another(fleet);
                fleet.move_gateway(peer, address)?;
                pending.insert(peer, address);
                changes += 1;
            }
            watch.look(fleet, &mut pending)?;
        }
        let (time, last) = (began.elapsed(), self.usage()?);
        let behind = pending.len();
        self.drain(fleet, &mut watch, &mut pending).await?;
        println!(
            "{changes} changes in {:.1} s: {:.0} % of one core, {} compilations, {behind} peers' last change not in force at the end, \
             all {:.1} s later, {}",
            time.as_secs_f64(),
            (last.cpu - first.cpu).as_secs_f64() / time.as_secs_f64() * 100.0,
            self.metric("fedgate_compilations_total").await? - compilations,
            began.elapsed().as_secs_f64() - time.as_secs_f64(),
            memory(&self.usage()?, self.peers),
        );
        percentiles("under this load, from a peer's answer to Envoy's file", &mut watch.latencies);
        Ok(())
    }

    /// A random peer that answers, and an address on loopback where nobody listens.
    fn another(&mut self, fleet: &Fleet) -> (usize, Ipv4Addr) {
        self.next += 1;
        let [_, a, b, c] = (self.next + (1 << 16)).to_be_bytes();
        let address = Ipv4Addr::new(127, a, b, c);
        loop {
            let peer = fastrand::usize(..self.peers);
            if !fleet.is_silent(peer) && self.with_port.contains(&peer) {
                return (peer, address);
            }
        }
    }

    async fn drain(
        &self,
        fleet: &Fleet,
        watch: &mut Watch,
        pending: &mut BTreeMap<usize, Ipv4Addr>,
    ) -> Result<()> {
        let mut all = async || {
            watch.look(fleet, pending)?;
            Ok(pending.is_empty())
        };
        wait::until_true("all changes to be in force", Duration::from_secs(90), &mut all).await
    }

    fn usage(&mut self) -> Result<Usage> {
        self.cluster.controller()?.usage()
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let file = self.cluster.folder().join("state/admin.json");
        let admin: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let address = admin["address"].as_str().context("an address")?;
        let url = format!("http://{address}/metrics");
        let text = self.http.get(url).send().await?.text().await?;
        metric(&text, name).with_context(|| format!("no metric {name}"))
    }
}

/// Looks for addresses in the file with the egress's clusters.
struct Watch {
    file: PathBuf,
    seen: Option<std::time::SystemTime>,
    latencies: Vec<Duration>,
}

impl Watch {
    fn new(folder: &Path) -> Self {
        Self { file: folder.join("envoy/egress/cds.json"), seen: None, latencies: Vec::new() }
    }

    /// Removes the changes that are in force, and notes how long each took after it was answered.
    fn look(&mut self, fleet: &Fleet, pending: &mut BTreeMap<usize, Ipv4Addr>) -> Result<()> {
        let written = std::fs::metadata(&self.file)?.modified()?;
        if self.seen == Some(written) {
            return Ok(());
        }
        let (now, text) = (Instant::now(), std::fs::read_to_string(&self.file)?);
        let addresses = text.split("\"address\": \"127.").skip(1);
        let addresses: std::collections::HashSet<&str> =
            addresses.filter_map(|rest| rest.split('"').next()).collect();
        pending.retain(|peer, address| {
            let in_force = addresses.contains(&address.to_string()[4..]);
            if in_force {
                self.latencies.extend(fleet.served(*peer).map(|served| now.duration_since(served)));
            }
            !in_force
        });
        self.seen = Some(written);
        Ok(())
    }
}

/// Prints the distribution; returns the 99th percentile.
fn percentiles(what: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let [half, most, last] = [50, 99, 100].map(|percent| percentile(times, percent));
    println!("{what}: {} samples, p50 {half:.2?}, p99 {most:.2?}, longest {last:.2?}", times.len());
    most
}

fn memory(usage: &Usage, peers: usize) -> String {
    format!("{usage}, {} KiB a peer", (usage.memory >> 10) / peers as u64)
}
