//! Opens listening sockets, and stops the process's tasks.

use crate::tasks::Tasks;
use crate::words;
use anyhow::Result;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Listens on the address in `setting`: a field of `fedgate.yaml`, or a flag that begins with `--`.
///
/// # Errors
/// If the system refuses the address. The message names the setting, the address, the reason, and
/// what to do.
pub async fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| cannot(setting, address, &error))
}

/// The error of a socket that cannot be bound. Names the setting, the address, the reason, and what
/// to do.
pub fn cannot(setting: &str, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (why, remedy) = reason(setting, error, is_privileged(address.port()));
    anyhow::anyhow!("cannot listen on {setting} {address}: {why}; {remedy}")
}

fn reason(setting: &str, error: &io::Error, is_privileged: bool) -> (String, String) {
    // The files platform has fields, Kubernetes has flags.
    let source = if setting.starts_with("--") { "by this flag" } else { "in fedgate.yaml" };
    let other = format!("choose another address {source}");
    match error.kind() {
        io::ErrorKind::PermissionDenied if is_privileged => (
            "such a low port needs the capability CAP_NET_BIND_SERVICE".to_owned(),
            format!(
                "add it (AmbientCapabilities in a systemd unit, securityContext in a Pod), or {other}"
            ),
        ),
        io::ErrorKind::AddrInUse => (words::io(error), format!("end that program, or {other}")),
        _ => (words::io(error), other),
    }
}

/// Returns true if only programs with the capability CAP_NET_BIND_SERVICE may listen at this port,
/// as the kernel is set here (`net.ipv4.ip_unprivileged_port_start`, usually 1024).
pub fn is_privileged(port: u16) -> bool {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = first.ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(1024);
    u32::from(port) < first
}

/// Waits until the process is told to stop.
pub fn stop_signal(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stopped = stopped.clone();
    async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// How long tasks may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// Tells the tasks to stop, and waits until they have. `ended` is why the process ends.
pub async fn stop_all(stop: &watch::Sender<bool>, tasks: Tasks, ended: &Result<()>) {
    match ended {
        Ok(()) => tracing::info!("stopping"),
        Err(why) => tracing::error!("stopping, to be started again: {why:#}"),
    }
    let _ = stop.send(true);
    for failure in tasks.stop(STOP).await {
        tracing::warn!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_the_reason() {
        let of = |kind: io::ErrorKind, is_privileged| {
            let (why, remedy) = reason("metadata.listen", &kind.into(), is_privileged);
            format!("{why}; {remedy}")
        };
        let low = of(io::ErrorKind::PermissionDenied, true);
        assert!(
            low.contains("CAP_NET_BIND_SERVICE") && low.contains("AmbientCapabilities"),
            "{low}"
        );
        let other = of(io::ErrorKind::PermissionDenied, false);
        assert_eq!(other, "permission denied; choose another address in fedgate.yaml");
        let used = of(io::ErrorKind::AddrInUse, true);
        assert!(used.contains("end that program") && !used.contains("CAP_NET"), "{used}");
        let (_, flag) = reason("--dns-listen", &io::ErrorKind::AddrInUse.into(), false);
        assert!(flag.ends_with("by this flag"), "{flag}");
    }

    #[test]
    fn the_highest_port_needs_no_capability() {
        assert!(!is_privileged(u16::MAX));
    }
}
