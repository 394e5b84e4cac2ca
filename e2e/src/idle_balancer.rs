//! A load balancer that forgets idle connections in silence: `e2e/idle_balancer`, a Python program
//! that forwards packets.

use crate::process::Process;
use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running balancer. Stops when dropped.
pub struct IdleBalancer {
    front: SocketAddr,
    log: PathBuf,
    _process: Process,
}

impl IdleBalancer {
    /// Starts one that leads to an IPv4 address and forgets connections after `idle`. It needs the
    /// network of its own in which the tests on Kubernetes and Istio run.
    ///
    /// # Errors
    /// When there is no TUN device, or the program does not become ready.
    pub async fn start(run: &RunFolder, target: SocketAddr, idle: Duration) -> Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Outside of xtask::network::NETWORK and of the Pods' addresses.
        let [front, back] = [1, 2].map(|last| Ipv4Addr::new(10, 79, number, last));
        let device = format!("idle{number}");
        let program = xtask::root().join("e2e/idle_balancer/balancer.py");
        let words = [
            program.display().to_string(),
            device.clone(),
            front.to_string(),
            back.to_string(),
            target.ip().to_string(),
            target.port().to_string(),
            idle.as_secs_f64().to_string(),
        ];
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let log = run.log(&device);
        let mut process = Process::start(&device, Path::new("python3"), &words, &log)?;
        let ready = async || Ok(count(&log, "ready")?.checked_sub(1));
        process.wait_until("the balancer to be ready", START, ready).await?;
        Ok(Self { front: (front, target.port()).into(), log, _process: process })
    }

    /// The address that clients connect to.
    pub fn front(&self) -> SocketAddr {
        self.front
    }

    /// How many connections it has forgotten.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn forgotten(&self) -> Result<usize> {
        count(&self.log, "forgotten")
    }
}

fn count(log: &Path, word: &str) -> Result<usize> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    Ok(text.lines().filter(|line| *line == word).count())
}
