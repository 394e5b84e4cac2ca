//! A running Envoy, its work and its memory.

use crate::cores::Cores;
use crate::meter::Meter;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an Envoy may take to start. It reads some 50 MB of configuration at most.
const START: Duration = Duration::from_secs(120);

/// How long Envoy lets connections of a removed filter chain go on.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// A running Envoy. Killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    meter: Meter,
    folder: PathBuf,
    /// Where it accepts clients.
    pub(crate) address: SocketAddr,
    /// From its start until it accepted clients.
    pub(crate) started_in: Duration,
}

impl Proxy {
    /// Starts an Envoy with the files in a folder, and waits until it accepts clients.
    pub(crate) fn start(
        envoy: &Path,
        folder: &Path,
        workers: usize,
        meter: Meter,
        cores: &Cores,
    ) -> Result<Self> {
        let admin_file = folder.join("admin");
        // Left over from an Envoy that ran here before.
        let _ = std::fs::remove_file(&admin_file);
        let log = File::create(folder.join("envoy.log"))?;
        // The kernel ends it with this process, also when this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        meter.wrap(&mut command, folder);
        command.arg(envoy).arg("--config-path").arg(folder.join("gateway/bootstrap.json"));
        command.arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", &workers.to_string(), "--log-level", "warn"]);
        command.args(["--disable-hot-restart", "--drain-time-s", &DRAIN.as_secs().to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let child = cores.for_envoy(|| command.spawn().context("cannot start Envoy"))?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut proxy = Self {
            child,
            meter,
            folder: folder.to_owned(),
            address: nowhere,
            started_in: Duration::ZERO,
        };
        proxy.address = loop {
            if let Some(address) = address(&admin_file) {
                break address;
            }
            let log = || std::fs::read_to_string(folder.join("envoy.log")).unwrap_or_default();
            if let Some(status) = proxy.child.try_wait()? {
                bail!("Envoy ended with {status}; its log:\n{}", log());
            }
            ensure!(
                start.elapsed() < START,
                "Envoy is not ready after {START:?}; its log:\n{}",
                log()
            );
            #[expect(clippy::disallowed_methods, reason = "waits for a condition, with a limit")]
            std::thread::sleep(Duration::from_millis(10));
        };
        proxy.started_in = start.elapsed();
        meter.begin(proxy.child.id())?;
        Ok(proxy)
    }

    /// All of its work so far, as its meter counts it.
    pub(crate) fn work(&self) -> Result<u64> {
        self.meter.read(self.child.id(), &self.folder)
    }

    /// Ends the process.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its resident memory in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.context("no VmRSS in /proc")
    }
}

/// Where an Envoy accepts clients, once it is ready. Its admin address is in the file.
fn address(admin_file: &Path) -> Option<SocketAddr> {
    let admin = std::fs::read_to_string(admin_file).ok()?.trim().parse().ok()?;
    ask(admin, "/ready").ok()?;
    let listeners = ask(admin, "/listeners").ok()?;
    listeners.lines().find_map(|line| line.strip_prefix("federation::")?.parse().ok())
}

/// Requests a path of the admin interface.
fn ask(admin: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP response")?;
    ensure!(head.contains(" 200 "), "{path}: {head}");
    Ok(body.to_owned())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}
