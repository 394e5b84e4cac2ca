//! The cluster whose controller is measured.

use crate::scale::Scale;
use crate::watch::{Pending, Watch};
use anyhow::{Context, Result};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::measure::{metric, percentile};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::usage::Usage;
use fedgate_e2e::wait::{self, SOON};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use xtask::ports;

pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) scale: Scale,
    http: reqwest::Client,
    /// Addresses are never used twice, so each shows which change is in force.
    next: u32,
    /// The limits that were exceeded. They fail the test after everything is measured.
    pub(crate) missed: Vec<String>,
}

/// What a controller has used and done, to compare two moments.
pub(crate) struct Meter {
    at: Instant,
    usage: Usage,
    pub(crate) compilations: f64,
}

impl Site {
    pub(crate) fn new(run: &RunFolder, fleet: &Fleet, scale: Scale) -> Result<Self> {
        let mut cluster = Cluster::new(run, "alpha")?;
        let settings = cluster.settings();
        // A port for each peer and some more, so that each has a cluster in Envoy's files.
        settings.egress_ports = ports::free_range(u16::try_from(scale.peers + scale.peers / 4)?)?;
        settings.poll = format!("{}s", scale.poll);
        cluster.write_settings()?;
        for number in 0..scale.peers {
            cluster.put_manifest(&format!("peer{number}.yaml"), &fleet.federation(number))?;
        }
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { cluster, scale, http, next: 0, missed: Vec::new() })
    }

    /// From the start until every service of every peer that answers is imported.
    pub(crate) async fn cold(&mut self, fleet: &Fleet) -> Result<()> {
        let began = Instant::now();
        self.cluster.start_controller().await?;
        let imports = self.answering(fleet).len() * self.scale.services;
        self.imports(imports).await?;
        let (time, usage) = (began.elapsed(), self.usage()?);
        println!(
            "cold: {} peers, {imports} imports after {:.1} s, {:.1} s of CPU time, {} compilations, {}",
            self.scale.peers,
            time.as_secs_f64(),
            usage.cpu.as_secs_f64(),
            self.metric("fedgate_compilations_total").await?,
            self.memory(&usage),
        );
        self.limit(time < self.scale.limits.cold, format!("complete only after {time:?}"));
        let most = (self.scale.peers as u64) << 20;
        self.limit(usage.memory < most, "more than 1 MiB a peer".to_owned());
        Ok(())
    }

    /// Starts the controller again, with another interval of polls. All peers get ports: at first,
    /// those that answered first took several.
    pub(crate) async fn restart(&mut self, poll: u64, imports: usize) -> Result<()> {
        self.cluster.controller()?.terminate(SOON).await?;
        std::fs::remove_file(self.cluster.folder().join("state/egress-ports.json"))?;
        self.cluster.settings().poll = format!("{poll}s");
        self.cluster.write_settings()?;
        self.cluster.start_controller().await?;
        self.imports(imports).await?;
        self.polls(poll).await
    }

    /// Waits until the peers that answer are polled at this interval, or let this cluster wait. At
    /// first those that are silent are asked so often that the others have to wait.
    async fn polls(&self, interval: u64) -> Result<()> {
        let count = async || {
            let series =
                "fedgate_importer_exchanges_total{document=\"private\",reason=\"Succeeded\"}";
            // A series begins with its first event.
            self.metric(series).await.unwrap_or_default()
        };
        let expected = self.scale.peers as f64 * 0.9 * 0.9;
        let all = async || {
            if self.metric("fedgate_importer_waiting").await? >= expected {
                return Ok(true);
            }
            let before = count().await;
            tokio::time::sleep(Duration::from_secs(interval)).await;
            Ok(count().await - before >= expected)
        };
        wait::until_true("all peers to be asked at the usual pace", Duration::from_secs(240), all)
            .await
    }

    /// Nothing changes for a while.
    pub(crate) async fn idle(&mut self) -> Result<()> {
        self.settle().await?;
        let first = self.meter().await?;
        tokio::time::sleep(self.scale.idle).await;
        let (share, text) = self.since(&first).await?;
        println!("idle: {text}");
        self.limit(share < self.scale.limits.idle, format!("idle: {text}"));
        Ok(())
    }

    /// One change of one peer at a time: from the answer that has it to Envoy's file.
    pub(crate) async fn single_changes(&mut self, fleet: &Fleet) -> Result<()> {
        let mut watch = Watch::new(self.cluster.folder());
        let (peers, mut pending) = (watch.peers()?, Pending::new());
        let mut pace = tokio::time::interval(Duration::from_millis(250));
        for _ in 0..self.scale.changes {
            pace.tick().await;
            let peer = peers[fastrand::usize(..peers.len())];
            pending.insert(peer, self.change(fleet, peer)?);
            watch.look(fleet, &mut pending)?;
        }
        self.drain(fleet, &mut watch, &mut pending).await?;
        let what = "one change of a peer, from its answer to Envoy's file";
        let p99 = percentiles(what, &mut watch.latencies);
        self.limit(p99 < self.scale.limits.change, format!("a change of a peer: {p99:?}"));
        Ok(())
    }

    /// One Service is labelled: from its manifest to the gateway's table.
    pub(crate) async fn local_changes(&mut self) -> Result<()> {
        let table = self.cluster.folder().join("envoy/gateway/filter/filter.json");
        let mut latencies = Vec::new();
        for sample in 0..self.scale.labels {
            let before = std::fs::read(&table)?;
            let began = Instant::now();
            self.cluster.put_service(&export(&format!("sample-{sample}")))?;
            let changed = async || Ok(std::fs::read(&table)? != before);
            wait::until_true("the table", SOON, changed).await?;
            latencies.push(began.elapsed());
        }
        let p99 = percentiles("one label, from the manifest to the table", &mut latencies);
        self.limit(p99 < self.scale.limits.change, format!("a label: {p99:?}"));
        Ok(())
    }

    pub(crate) fn limit(&mut self, is_kept: bool, message: String) {
        if !is_kept {
            println!("a limit is exceeded: {message}");
            self.missed.push(message);
        }
    }

    /// The peers that answer.
    pub(crate) fn answering(&self, fleet: &Fleet) -> Vec<usize> {
        (0..self.scale.peers).filter(|number| !fleet.is_silent(*number)).collect()
    }

    /// Makes a peer announce an address on loopback where nobody listens, and returns that.
    pub(crate) fn change(&mut self, fleet: &Fleet, peer: usize) -> Result<Ipv4Addr> {
        self.next += 1;
        let [_, a, b, c] = (self.next + (1 << 16)).to_be_bytes();
        let address = Ipv4Addr::new(127, a, b, c);
        fleet.move_gateway(peer, address)?;
        Ok(address)
    }

    /// Waits until all changes are in force.
    pub(crate) async fn drain(
        &self,
        fleet: &Fleet,
        watch: &mut Watch,
        pending: &mut Pending,
    ) -> Result<()> {
        let mut all = async || {
            watch.look(fleet, pending)?;
            Ok(pending.is_empty())
        };
        wait::until_true("all changes to be in force", Duration::from_secs(90), &mut all).await
    }

    /// Waits until there are this many imports.
    pub(crate) async fn imports(&self, imports: usize) -> Result<()> {
        let all = async || Ok(self.metric("fedgate_imports").await? >= imports as f64);
        wait::until_true("all imports", Duration::from_secs(300), all).await
    }

    /// Waits until the controller needs little CPU time, for three minutes at most. At first it probes
    /// all gateways.
    async fn settle(&mut self) -> Result<()> {
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

    pub(crate) async fn meter(&mut self) -> Result<Meter> {
        let compilations = self.metric("fedgate_compilations_total").await?;
        Ok(Meter { at: Instant::now(), usage: self.usage()?, compilations })
    }

    /// The share of one core since then, and the same in words.
    pub(crate) async fn since(&mut self, first: &Meter) -> Result<(f64, String)> {
        let last = self.meter().await?;
        let (time, cpu) = (last.at - first.at, last.usage.cpu - first.usage.cpu);
        let share = cpu.as_secs_f64() / time.as_secs_f64();
        let text = format!(
            "{:.1} % of one core and {} compilations in {:.0} s, {}",
            share * 100.0,
            last.compilations - first.compilations,
            time.as_secs_f64(),
            self.memory(&last.usage),
        );
        Ok((share, text))
    }

    fn usage(&mut self) -> Result<Usage> {
        self.cluster.controller()?.usage()
    }

    /// What the controller has resident.
    pub(crate) fn memory_kib(&mut self) -> Result<u64> {
        Ok(self.usage()?.memory >> 10)
    }

    fn memory(&self, usage: &Usage) -> String {
        format!("{usage}, {} KiB a peer", (usage.memory >> 10) / self.scale.peers as u64)
    }

    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let file = self.cluster.folder().join("state/admin.json");
        let admin: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let address = admin["address"].as_str().context("an address")?;
        let url = format!("http://{address}/metrics");
        let text = self.http.get(url).send().await?.text().await?;
        metric(&text, name).with_context(|| format!("no metric {name}"))
    }
}

/// A Service of this cluster that every peer may reach.
pub(crate) fn export(name: &str) -> Service {
    Service::new(name, "http", 80, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))).exported()
}

/// Prints the distribution; returns the 99th percentile.
pub(crate) fn percentiles(what: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let [half, most, last] = [50, 99, 100].map(|percent| percentile(times, percent));
    println!("{what}: {} samples, p50 {half:.2?}, p99 {most:.2?}, longest {last:.2?}", times.len());
    most
}
