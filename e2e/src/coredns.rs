//! A real CoreDNS, as in a cluster's kube-system or on a machine.

use crate::dns;
use crate::process::Process;
use crate::programs;
use anyhow::Result;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running CoreDNS. Stops when dropped.
pub struct CoreDns {
    address: SocketAddr,
    _process: Process,
}

impl CoreDns {
    /// Starts it in a folder with these server blocks, which are for port 53. They get another port,
    /// because only root may use that one.
    ///
    /// # Errors
    /// When it does not answer, for example because of an error in the blocks.
    pub async fn start(folder: &Path, ip: IpAddr, blocks: &str) -> Result<Self> {
        let port = xtask::ports::free()?.port();
        let bound = format!(" {{\n    bind {ip}\n");
        let blocks: String = blocks
            .lines()
            .map(|line| match line.strip_suffix(" {") {
                Some(keys) if !line.starts_with(' ') => {
                    format!("{}{bound}", keys.replace(":53", &format!(":{port}")))
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let file = folder.join("Corefile");
        std::fs::write(&file, blocks)?;
        let log = folder.join("coredns.log");
        let arguments = ["-conf".as_ref(), file.as_os_str()];
        let mut process = Process::start("CoreDNS", programs::coredns()?, &arguments, &log)?;
        let address = SocketAddr::new(ip, port);
        let answers = async || Ok(Some(dns::ask(address, "nothing.example").await?));
        process.wait_until("CoreDNS to answer", START, answers).await?;
        Ok(Self { address, _process: process })
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
