//! What a new table does to a gateway: when it takes effect, and what happens to traffic meanwhile.

use crate::client::{Client, Fate, Open};
use crate::proxy::Proxy;
use crate::rounds::Programs;
use crate::variant::Variant;
use crate::world::{Call, World};
use anyhow::{Context, Result, anyhow, ensure};
use fedgate_benches::{Exports, PEERS, trust_domain};
use fedgate_core::Callers;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The number of changes: each grants one call, or takes it back.
const CHANGES: usize = 4;
/// Requests go out at this rate, whether earlier ones are answered or not: a worker that stands
/// still for 20 ms delays 20 of them.
const REQUEST_PERIOD: Duration = Duration::from_millis(1);
/// How often the changed call is tried.
const PROBE_PERIOD: Duration = Duration::from_millis(5);
/// The open connections that the requests use in turn.
const OPEN: usize = 8;
/// The bytes of a request.
const SIZE: usize = 128;
/// How long traffic is watched before the changes, and after each.
const BEFORE: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_millis(300);
/// No change takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What changes of the table did.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    /// From the file with the table to the first call that is decided by it, for each change.
    pub(crate) effects: Vec<Duration>,
    /// How long requests took before the changes, sorted.
    pub(crate) before: Vec<Duration>,
    /// How long they took from the first change to the last one's effect, sorted.
    pub(crate) during: Vec<Duration>,
    /// How many open connections ended.
    pub(crate) cut: usize,
}

/// Changes the table of a running gateway, under traffic.
pub(crate) fn measure(
    proxy: &Proxy,
    variant: Variant,
    world: &World,
    programs: &Programs<'_>,
    folder: &Path,
) -> Result<Update> {
    let (call, changed) = change(world)?;
    let table = |number: usize| {
        let exports = if number.is_multiple_of(2) { &changed } else { &world.exports };
        // The gateway was started with the first generation.
        variant.table_file(world, exports, number as u64 + 2, programs, folder)
    };
    let mut tables = Vec::new();
    for number in 0..CHANGES {
        // Without a generation in it, every second file is the same.
        let repeated = number.checked_sub(2).filter(|_| !variant.is_fedgate());
        tables.push(match repeated.and_then(|earlier| tables.get(earlier)) {
            Some(file) => Clone::clone(file),
            None => table(number)?,
        });
    }
    let client = |call| Client::new(call, &rustls::version::TLS13);
    let probe = client(&call)?;
    let granted = world.granted.iter().take(OPEN).map(client).collect::<Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| Traffic::run(&granted, proxy.address, &stop));
        let changes = changes(proxy, &probe, &tables, folder);
        stop.store(true, Ordering::Relaxed);
        let traffic = traffic.join().map_err(|_| anyhow!("the traffic panicked"))??;
        let (first, last, effects) = changes?;
        Ok(Update {
            effects,
            before: traffic.between(first - BEFORE, first),
            during: traffic.between(first, last),
            cut: traffic.cut,
        })
    })
}

/// Puts the tables in place one after the other. Returns when the first was put there, when the
/// last had taken effect, and how long each took.
fn changes(
    proxy: &Proxy,
    probe: &Client,
    tables: &[(&'static str, Vec<u8>)],
    folder: &Path,
) -> Result<(Instant, Instant, Vec<Duration>)> {
    watch(proxy, probe, BEFORE + AFTER, |_| false)?;
    let first = Instant::now();
    let mut effects = Vec::new();
    for (number, (name, contents)) in tables.iter().enumerate() {
        let expected = if number % 2 == 0 { Fate::Granted } else { Fate::RefusedLate };
        let temporary = folder.join("table.new");
        std::fs::write(&temporary, contents)?;
        let start = Instant::now();
        std::fs::rename(&temporary, folder.join(name))?;
        let effect = watch(proxy, probe, PATIENCE, |fate| fate == expected)?;
        let effect = effect.with_context(|| format!("a change had no effect in {PATIENCE:?}"))?;
        effects.push(effect - start);
        let undone = watch(proxy, probe, AFTER, |fate| fate != expected)?;
        ensure!(undone.is_none(), "a change was undone");
    }
    let last = Instant::now();
    // Connections of a removed filter chain are closed once it has drained.
    watch(proxy, probe, crate::proxy::DRAIN + Duration::from_secs(1), |_| false)?;
    Ok((first, last, effects))
}

/// Tries a call again and again, until its fate is the wanted one. Returns when that try began.
fn watch(
    proxy: &Proxy,
    probe: &Client,
    limit: Duration,
    wanted: impl Fn(Fate) -> bool,
) -> Result<Option<Instant>> {
    let end = Instant::now() + limit;
    let mut due = Instant::now();
    while due < end {
        wait_until(due);
        let start = Instant::now();
        if wanted(probe.ask(proxy.address)?.0) {
            return Ok(Some(start));
        }
        due += PROBE_PERIOD;
    }
    Ok(None)
}

/// Requests on open connections, and when each was due.
struct Traffic {
    requests: Vec<(Instant, Duration)>,
    cut: usize,
}

impl Traffic {
    /// Sends requests over a connection of each client, in turn, until it is stopped.
    fn run(clients: &[Client], gateway: SocketAddr, stop: &AtomicBool) -> Result<Self> {
        let open = |client: &Client| -> Result<Open> { client.open(gateway, SIZE) };
        let mut connections = clients.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut traffic = Self { requests: Vec::new(), cut: 0 };
        let mut due = Instant::now();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            wait_until(due);
            let place = number % clients.len();
            let connection = &mut connections[place];
            if connection.echo().is_err() {
                traffic.cut += 1;
                *connection = open(&clients[place])?;
                connection.echo()?;
            }
            traffic.requests.push((due, due.elapsed()));
            due += REQUEST_PERIOD;
        }
        Ok(traffic)
    }

    /// How long the requests took that were due in a time, sorted.
    fn between(&self, start: Instant, end: Instant) -> Vec<Duration> {
        let within = self.requests.iter().filter(|(due, _)| (start..end).contains(due));
        let mut times: Vec<_> = within.map(|&(_, took)| took).collect();
        times.sort_unstable();
        times
    }
}

/// The first refused call that a change grants, and the exports with that grant.
fn change(world: &World) -> Result<(Call, Exports)> {
    let has_back_end =
        |call: &&Call| world.granted.iter().any(|other| other.server_name == call.server_name);
    let call = world.not_granted.iter().find(has_back_end).context("no refused call")?;
    let mut exports = world.exports.clone();
    let row = exports.services.iter().position(|service| service.sni() == call.server_name);
    let row = row.context("a call of no export")?;
    let peer = (0..PEERS).find(|&peer| trust_domain(peer) == call.peer).context("no such peer")?;
    let mut grants = exports.sets[exports.set_of[row]].clone();
    ensure!(grants.insert(peer, Callers::Any).is_none(), "the call is granted already");
    exports.set_of[row] = exports.sets.len();
    exports.sets.push(grants);
    Ok((call.clone(), exports))
}

fn wait_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    #[expect(clippy::disallowed_methods, reason = "traffic at a fixed rate")]
    std::thread::sleep(wait);
}
