//! A Pod's network and process namespaces: its own address, its own ports, its own lifetime.

use crate::process::Process;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// The next hop of all packets from Pods, as with Calico.
const NEXT_HOP: &str = "169.254.1.1";

/// The addresses that istiod allocates to ServiceEntries without one. They are local in each Pod,
/// so that its Envoy can listen on them. In a real Pod iptables redirects the packets to Envoy.
const AUTO_ALLOCATED: &str = "240.240.0.1/16";

/// Network and process namespaces. All processes in them end when this is dropped.
pub struct PodNetwork {
    address: Ipv4Addr,
    // The Pod's first process: when it ends, the kernel kills all others.
    _holder: Process,
    network: PathBuf,
    processes: PathBuf,
}

impl PodNetwork {
    /// Creates one with an address that no other Pod of this run has. The test's own network and
    /// other Pods can reach it.
    ///
    /// # Errors
    /// When the caller is not in a network namespace in which it may create others
    /// (`cargo xtask e2e istio`).
    pub async fn start(name: &str, log: &Path) -> Result<Self> {
        static COUNT: AtomicU16 = AtomicU16::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        // Outside of xtask::network::NETWORK, all of which is local.
        let address = Ipv4Addr::new(10, 78, high, low);
        let arguments = ["--net", "--pid", "--fork", "--kill-child=KILL", "sleep", "infinity"]
            .map(AsRef::as_ref);
        let holder =
            Process::start(&format!("the Pod {name}"), Path::new("unshare"), &arguments, log)?;
        let namespaces = PathBuf::from(format!("/proc/{}/ns", holder.id()));
        let (network, processes) = (namespaces.join("net"), namespaces.join("pid_for_children"));
        let own = |name: &str| std::fs::read_link(Path::new("/proc/self/ns").join(name));
        wait::until_true("a Pod's own network", SOON, async || {
            Ok(std::fs::read_link(&network)? != own("net")?
                && std::fs::read_link(&processes)? != own("pid")?)
        })
        .await?;
        let pod = Self { address, network, processes, _holder: holder };
        pod.connect(&format!("pod{number}"), pod._holder.id())
            .with_context(|| format!("the network of {name}"))?;
        Ok(pod)
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Starts a program in the Pod, with `folder` as its working folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_process(
        &self,
        name: &str,
        folder: &Path,
        words: &[&str],
        variables: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Process> {
        let mut arguments = self.enter();
        arguments.push(format!("--wd={}", folder.display()));
        arguments.extend(words.iter().map(|&word| word.to_owned()));
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        Process::start_with(name, Path::new("nsenter"), &arguments, variables, log)
    }

    /// Runs the future of `work` on a thread whose sockets are in this Pod's network.
    ///
    /// # Errors
    /// When the thread cannot enter the network, or `work` fails.
    pub async fn inside<T: Send + 'static, F: Future<Output = Result<T>>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T> {
        let network = std::fs::File::open(&self.network)?;
        let (done, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let run = || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&network),
                    Some(kind),
                )?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
            };
            let _ = done.send(run());
        });
        result.await.context("a thread in a Pod ended")?
    }

    /// The command words that make a program run in the Pod.
    fn enter(&self) -> Vec<String> {
        vec![
            format!("--net={}", self.network.display()),
            format!("--pid={}", self.processes.display()),
        ]
    }

    /// Sets up both ends of the Pod's veth pair, and its routes.
    fn connect(&self, cable: &str, holder: u32) -> Result<()> {
        let address = self.address;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .context("not in a network of our own")?;
        let outside = [
            format!("link add {cable} type veth peer name eth0 netns {holder}"),
            format!("link set {cable} up"),
            format!("address add {NEXT_HOP}/32 dev {cable}"),
            format!("route add {address}/32 dev {cable}"),
        ];
        let inside = [
            "link set lo up".to_owned(),
            format!("address add {address}/32 dev eth0"),
            format!("address add {AUTO_ALLOCATED} dev lo"),
            "link set eth0 up".to_owned(),
            format!("route add {NEXT_HOP} dev eth0"),
            format!("route add default via {NEXT_HOP}"),
        ];
        for words in outside {
            ip(&mut std::process::Command::new("ip"), &words)?;
        }
        for words in inside {
            let mut command = std::process::Command::new("nsenter");
            ip(command.arg(format!("--net={}", self.network.display())).arg("ip"), &words)?;
        }
        Ok(())
    }
}

fn ip(command: &mut std::process::Command, words: &str) -> Result<()> {
    let output = command.args(words.split(' ')).output().context("cannot start ip or nsenter")?;
    ensure!(
        output.status.success(),
        "`ip {words}` says: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
