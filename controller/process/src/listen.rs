//! Opens listening sockets, and stops the process's tasks.

use crate::tasks::Tasks;
use crate::words;
use anyhow::Result;
use std::future::Future;
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
    TcpListener::bind(address).await.map_err(|error| {
        // The files platform has fields, Kubernetes has flags.
        let source = if setting.starts_with("--") { "by this flag" } else { "in fedgate.yaml" };
        let why = words::io(&error);
        anyhow::anyhow!(
            "cannot listen on {setting} {address}: {why}; end that program, or choose another address {source}"
        )
    })
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
