//! Watches whether the two Envoys of a site run, and with what limits.
//!
//! Each Envoy has its own listener for `/healthz`, on a local socket that only programs on this
//! machine can reach. These requests reach no peer and no access log. The controller also looks for
//! the Envoys' processes. So an Envoy with few descriptors gets its lower number of connections
//! without waiting for another change.

use super::{Observed, bootstraps};
use fedgate_engine::running::Running;
use fedgate_envoy::EnvoyFiles;
use fedgate_process::envoy_processes::EnvoySearch;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often to query them.
const INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a query.
const TIME: Duration = Duration::from_secs(2);
/// How often to look for their processes. An Envoy takes about this long until it listens.
const SEARCH_INTERVAL: Duration = Duration::from_millis(500);

/// Watches both Envoys until it is dropped.
pub(crate) struct EnvoyWatch {
    receiver: watch::Receiver<Observed>,
    _tasks: JoinSet<()>,
}

impl EnvoyWatch {
    pub(crate) fn start(files: &EnvoyFiles) -> Self {
        let (sender, receiver) = watch::channel(Observed::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_health(files.gateway_socket(), files.egress_socket(), sender.clone()));
        tasks.spawn(watch_processes(
            bootstraps(files).map(|path| AsRef::<Path>::as_ref(&path).to_owned()),
            sender,
        ));
        Self { receiver, _tasks: tasks }
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&mut self) -> Observed {
        match self.receiver.changed().await {
            Ok(()) => *self.receiver.borrow_and_update(),
            // The tasks end only through a bug of ours.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn watch_health(gateway: String, egress: String, sender: watch::Sender<Observed>) {
    loop {
        let (gateway, egress) = tokio::join!(answers(&gateway), answers(&egress));
        let now = Some(Running { gateway, egress });
        sender.send_if_modified(|observed| std::mem::replace(&mut observed.running, now) != now);
        sleep(INTERVAL).await;
    }
}

async fn watch_processes(bootstraps: [PathBuf; 2], sender: watch::Sender<Observed>) {
    let mut search = EnvoySearch::new(bootstraps.clone());
    loop {
        let look = tokio::task::spawn_blocking(move || {
            let found = search.look();
            (search, found.into())
        });
        search = match look.await {
            Ok((search, now)) => {
                sender.send_if_modified(|observed| {
                    std::mem::replace(&mut observed.processes, now) != now
                });
                search
            }
            // This fails only on a panic; the next search begins anew.
            Err(_) => EnvoySearch::new(bootstraps.clone()),
        };
        sleep(SEARCH_INTERVAL).await;
    }
}

/// Returns true if the health listener answers. `socket` is in the abstract namespace; Envoy writes
/// it as `@name`.
async fn answers(socket: &str) -> bool {
    let path = socket.replacen('@', "\0", 1);
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: fedgate\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = [0; STATUS.len()];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer == *STATUS)
    };
    matches!(timeout(TIME, ask).await, Ok(Ok(true)))
}

const STATUS: &[u8; 12] = b"HTTP/1.1 200";

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn an_envoy_that_answers_200_runs() {
        let name = format!("fedgate-test-{}", uuid::Uuid::new_v4());
        assert!(!answers(&format!("@{name}")).await, "nobody listens");
        let listener = UnixListener::bind(format!("\0{name}")).unwrap();
        for (answer, expected) in
            [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.1 503 no\r\n\r\n", false), ("", false)]
        {
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 16];
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(&request, b"GET /healthz HTT");
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let socket = format!("@{name}");
            let (runs, ()) = tokio::join!(answers(&socket), serve);
            assert_eq!(runs, expected, "{answer:?}");
        }
    }
}
