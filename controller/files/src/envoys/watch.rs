//! Watches whether the two Envoys of a site run, and with what limits.
//!
//! Each Envoy has its own listener for `/healthz`, on a local socket that only programs on this
//! machine can reach. These requests reach no peer and no access log. The controller also looks for
//! the Envoys' processes. So an Envoy with few descriptors gets its lower number of connections
//! without waiting for another change.
//!
//! A process with an Envoy's arguments may still be a script that sets its limits and then becomes
//! the Envoy. So a process is *settled* only if the Envoy answered between two looks that found the
//! same process with the same limits.

use super::{Observed, Pair, Processes, bootstraps};
use fedgate_envoy::EnvoyFiles;
use fedgate_process::envoy_processes::EnvoySearch;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How often to query Envoys whose processes are settled or not visible.
const INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a query.
const TIME: Duration = Duration::from_secs(2);
/// How often to look for their processes. An Envoy takes about this long until it listens.
const SEARCH_INTERVAL: Duration = Duration::from_millis(500);

/// Watches both Envoys until it is dropped.
pub(crate) struct EnvoyWatch {
    receiver: watch::Receiver<Observed>,
    _task: JoinSet<()>,
}

impl EnvoyWatch {
    pub(crate) fn start(files: &EnvoyFiles) -> Self {
        let (sender, receiver) = watch::channel(Observed::default());
        let sockets = [files.gateway_socket(), files.egress_socket()];
        let bootstraps = bootstraps(files).map(|path| AsRef::<Path>::as_ref(&path).to_owned());
        let mut task = JoinSet::new();
        task.spawn(observe(sockets, Search::new(bootstraps), sender));
        Self { receiver, _task: task }
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&mut self) -> Observed {
        match self.receiver.changed().await {
            Ok(()) => *self.receiver.borrow_and_update(),
            // The task ends only through a bug of ours.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn observe(sockets: [String; 2], mut search: Search, sender: watch::Sender<Observed>) {
    let mut observed = Observed::default();
    let mut queried = None;
    loop {
        let before = search.look().await;
        if before != observed.processes {
            // A lower limit counts at once, and the answer may take a while.
            observed = observed.with_new(before);
            publish(&sender, observed);
        }
        let is_due = queried.is_none_or(|at: Instant| at.elapsed() >= INTERVAL);
        if is_due || observed.has_unsettled() {
            queried = Some(Instant::now());
            let [gateway, egress] = &sockets;
            let (gateway, egress) = tokio::join!(answers(gateway), answers(egress));
            let after = search.look().await;
            observed = Observed::new(before, Pair { gateway, egress }, after);
        }
        publish(&sender, observed);
        sleep(SEARCH_INTERVAL).await;
    }
}

fn publish(sender: &watch::Sender<Observed>, now: Observed) {
    sender.send_if_modified(|last| std::mem::replace(last, now) != now);
}

/// Looks for the processes without blocking the other tasks.
struct Search {
    bootstraps: [PathBuf; 2],
    /// `None` after a panic in a search; the next one begins anew.
    search: Option<EnvoySearch<2>>,
}

impl Search {
    fn new(bootstraps: [PathBuf; 2]) -> Self {
        Self { bootstraps, search: None }
    }

    async fn look(&mut self) -> Processes {
        let new = || EnvoySearch::new(self.bootstraps.clone());
        let mut search = self.search.take().unwrap_or_else(new);
        let look = tokio::task::spawn_blocking(move || {
            let found = search.look();
            (search, found.into())
        });
        let Ok((search, found)) = look.await else { return Processes::default() };
        self.search = Some(search);
        found
    }
}

/// Returns true if the health listener answers. `socket` is in the abstract namespace; Envoy writes
/// it as `@name`.
async fn answers(socket: &str) -> bool {
    status(socket, "/healthz").await == Some(200)
}

/// The status with which a path is answered on an Envoy's local socket.
pub(super) async fn status(socket: &str, path: &str) -> Option<u16> {
    let socket = socket.replacen('@', "\0", 1);
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: fedgate\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(TIME, ask).await.ok()?.ok()?;
    std::str::from_utf8(answer.strip_prefix(b"HTTP/1.1 ")?).ok()?.parse().ok()
}

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
