//! Batches: clients that do one thing after the other, as fast as the gateway lets them.

use crate::client::Client;
use crate::operation::Operation;
use crate::proxy::Proxy;
use crate::world::World;
use anyhow::{Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of clients at once: enough that Envoy always has work.
const CLIENTS: usize = 8;

/// What a batch cost.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) operations: usize,
    pub(crate) time: Duration,
    /// Envoy's work, as its meter counts it: CPU time in nanoseconds, or instructions.
    pub(crate) envoy: u64,
    /// The CPU time of clients and back ends.
    pub(crate) clients: Duration,
    /// How long each operation took, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Sample {
    /// Envoy's work for each operation: CPU time in microseconds, or thousands of instructions.
    pub(crate) fn work(&self) -> f64 {
        self.envoy as f64 / 1e3 / self.operations as f64
    }
}

/// A client that does the operation with this number, and returns how long it took.
type Worker<'a> = Box<dyn FnMut(usize) -> Result<Duration> + Send + 'a>;

/// Does an operation `count` times, and waits until all have ended.
pub(crate) fn run(
    proxy: &Proxy,
    world: &World,
    operation: Operation,
    count: usize,
) -> Result<Sample> {
    let clients = operation
        .calls(world)
        .iter()
        .map(|call| Client::new(call, operation.version()))
        .collect::<Result<Vec<_>>>()?;
    let client = |number: usize| &clients[number % clients.len()];
    let worker = |number| -> Result<Worker<'_>> {
        Ok(match operation.size() {
            None => Box::new(move |number| client(number).expect(proxy.address, operation.fate())),
            Some(size) => {
                let mut open = client(number).open(proxy.address, size)?;
                Box::new(move |_| open.echo())
            }
        })
    };
    let workers = (0..CLIENTS).map(worker).collect::<Result<_>>()?;
    measure(proxy, workers, count)
}

fn measure(proxy: &Proxy, workers: Vec<Worker<'_>>, count: usize) -> Result<Sample> {
    let next = AtomicUsize::new(0);
    let work = |mut worker: Worker<'_>| -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(latencies);
            }
            latencies.push(worker(number)?);
        }
    };
    let (start, envoy, own) = (Instant::now(), proxy.work()?, own_cpu());
    let mut latencies = std::thread::scope(|scope| -> Result<Vec<Duration>> {
        let threads: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| work(worker))).collect();
        let mut latencies = Vec::with_capacity(count);
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(latencies)
    })?;
    let time = start.elapsed();
    latencies.sort_unstable();
    Ok(Sample {
        operations: count,
        time,
        envoy: proxy.work()?.saturating_sub(envoy),
        clients: own_cpu().saturating_sub(own),
        latencies,
    })
}

/// The CPU time of this process, with that of threads that have ended.
fn own_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
