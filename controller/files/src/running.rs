//! Whether the two Envoys of a site run, and with what limits.
//!
//! Each has a listener of its own that answers `/healthz`, at a socket of this machine that only local programs reach. Nothing of it goes to a
//! peer, or into an access log. Their processes are looked for besides: an Envoy with few descriptors must not wait for some other change
//! to be told how few connections it can take.

use crate::capacity::{self, Observed};
use fedgate_engine::running::Running;
use fedgate_envoy::EnvoyFiles;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often they are asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// The time for an answer.
const TIME: Duration = Duration::from_secs(2);
/// How often their processes are looked for: an Envoy takes about as long from its start until it listens.
const LOOK: Duration = Duration::from_millis(500);

/// Asks and looks until it is dropped.
pub(crate) struct Watching {
    receiver: watch::Receiver<Observed>,
    _tasks: JoinSet<()>,
}

impl Watching {
    pub(crate) fn start(files: &EnvoyFiles) -> Self {
        let (sender, receiver) = watch::channel(Observed::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(ask(files.gateway_socket(), files.egress_socket(), sender.clone()));
        tasks.spawn(look(files.clone(), sender));
        Self { receiver, _tasks: tasks }
    }

    /// Ready when something else is the case than before.
    pub(crate) async fn changed(&mut self) -> Observed {
        match self.receiver.changed().await {
            Ok(()) => *self.receiver.borrow_and_update(),
            // Only a fault of ours ends the tasks.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn ask(gateway: String, egress: String, sender: watch::Sender<Observed>) {
    loop {
        let (gateway, egress) = tokio::join!(answers(&gateway), answers(&egress));
        let now = Some(Running { gateway, egress });
        sender.send_if_modified(|observed| std::mem::replace(&mut observed.running, now) != now);
        sleep(INTERVAL).await;
    }
}

async fn look(files: EnvoyFiles, sender: watch::Sender<Observed>) {
    loop {
        let files = files.clone();
        // Only a panic ends it without an answer, and then the next look follows.
        if let Ok(now) = tokio::task::spawn_blocking(move || capacity::look(&files)).await {
            sender.send_if_modified(|observed| std::mem::replace(&mut observed.processes, now) != now);
        }
        sleep(LOOK).await;
    }
}

/// Whether the health listener at a socket of the abstract namespace, `@name` in Envoy's spelling, answers.
async fn answers(socket: &str) -> bool {
    let path = socket.replacen('@', "\0", 1);
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: fedgate\r\nconnection: close\r\n\r\n").await?;
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
    async fn who_answers_200_runs() {
        let name = format!("fedgate-test-{}", uuid::Uuid::new_v4());
        assert!(!answers(&format!("@{name}")).await, "nobody listens");
        let listener = UnixListener::bind(format!("\0{name}")).unwrap();
        for (answer, expected) in [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.1 503 no\r\n\r\n", false), ("", false)] {
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
