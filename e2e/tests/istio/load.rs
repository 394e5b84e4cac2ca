//! A steady load that runs as long as other work.

use anyhow::{Result, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::istio::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A few concurrent callers. Each makes one request after another, each on a new connection.
#[derive(Default)]
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    /// Runs the load until `work` ends.
    ///
    /// # Errors
    /// When `work` fails, when there were too few requests, or when a request failed.
    pub(crate) async fn beside<T>(
        &self,
        client: &Client,
        host: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let caller = async || {
            let (ends, asked, failed) =
                (self.ends.clone(), self.asked.clone(), self.failed.clone());
            let name = host.to_owned();
            let calls = move |address| async move {
                while !ends.load(Ordering::Relaxed) {
                    let answer = plain_get(address, &name).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("failed: {answer:?}");
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            };
            client.call(host, 80, calls).await
        };
        let work = async {
            let done = work.await;
            self.ends.store(true, Ordering::Relaxed);
            done
        };
        let (done, first, second) = tokio::join!(work, caller(), caller());
        first.and(second)?;
        let [asked, failed] =
            [&self.asked, &self.failed].map(|count| count.load(Ordering::Relaxed));
        println!("{asked} requests, {failed} failed");
        let done = done?;
        ensure!(asked > 100, "there was no load: {asked} requests");
        ensure!(failed == 0, "{failed} of {asked} requests failed");
        Ok(done)
    }
}
