//! All peers poll this cluster's metadata endpoint.

use crate::site::{Site, export, percentiles};
use anyhow::{Result, ensure};
use fedgate_e2e::fleet::{Asker, Fleet, Round};
use fedgate_e2e::wait::{self, SOON};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often rounds begin.
const TICK: Duration = Duration::from_millis(10);

/// Every peer answers from now on, and this cluster exports as many Services as each of them.
/// Returns the peers as clients that know the documents.
pub(crate) async fn prepare(site: &mut Site, fleet: &Fleet) -> Result<Vec<Arc<Asker>>> {
    for service in 0..site.scale.services {
        site.cluster.put_service(&export(&format!("export-{service}")))?;
    }
    for peer in (0..site.scale.peers).filter(|peer| fleet.is_silent(*peer)) {
        let manifest = fleet.answering_federation(peer);
        site.cluster.put_manifest(&format!("peer{peer}.yaml"), &manifest)?;
    }
    site.imports(site.scale.peers * site.scale.services).await?;
    let askers = (0..site.scale.peers).map(|peer| Ok(Arc::new(fleet.asker(peer, &site.cluster)?)));
    let askers = askers.collect::<Result<Vec<_>>>()?;
    for asker in &askers {
        let known = async || Ok(asker.round().await?.statuses == [200, 200]);
        // It has a token for each second.
        wait::until_true("the documents", SOON, known).await?;
    }
    Ok(askers)
}

/// Each peer polls once in every `pace`, for `time`. Fails if one is refused or not answered.
pub(crate) async fn poll(
    site: &mut Site,
    askers: &[Arc<Asker>],
    pace: Duration,
    time: Duration,
) -> Result<()> {
    let dropped = site.dropped().await?;
    let (first, began, mut begun) = (site.meter().await?, Instant::now(), 0);
    let (mut rounds, mut ended) = (JoinSet::new(), Vec::new());
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while began.elapsed() < time {
        tick.tick().await;
        let due = began.elapsed().as_secs_f64() / pace.as_secs_f64() * askers.len() as f64;
        while begun < due as usize {
            let asker = Arc::clone(&askers[begun % askers.len()]);
            rounds.spawn(async move { asker.round().await });
            begun += 1;
        }
        while let Some(round) = rounds.try_join_next() {
            ended.push(round?);
        }
    }
    let (behind, (_, text)) = (rounds.len(), site.since(&first).await?);
    ended.extend(rounds.join_all().await);
    let what = format!("{} peers poll this cluster every {pace:?}", askers.len());
    println!("{what}: {begun} rounds, {behind} not finished at the end; the controller: {text}");
    report(site, &what, ended)?;
    let dropped = site.dropped().await? - dropped;
    site.limit(dropped == 0.0, format!("{what}: {dropped} connections dropped"));
    Ok(())
}

fn report(site: &mut Site, what: &str, ended: Vec<Result<Round>>) -> Result<()> {
    ensure!(!ended.is_empty(), "no round in the whole time");
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut times = Vec::new();
    for round in ended {
        let outcome = match &round {
            Ok(round) => format!("{:?}", round.statuses),
            Err(error) => format!("{error:#}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
        times.extend(round.ok().map(|round| round.time));
    }
    println!("{what}: {outcomes:?}");
    let p99 = percentiles("a round, from the connection to the second answer", &mut times);
    site.limit(p99 < site.scale.limits.round, format!("{what}: a round takes {p99:?}"));
    let bad: Vec<_> = outcomes.keys().filter(|outcome| *outcome != "[304, 304]").collect();
    site.limit(bad.is_empty(), format!("{what}: {bad:?}"));
    Ok(())
}

impl Site {
    /// How many of peers' connections were closed unanswered.
    async fn dropped(&self) -> Result<f64> {
        let mut all = 0.0;
        for reason in ["SourceLimit", "Crowded", "Handshake", "HandshakeTimeout", "Life"] {
            let series =
                format!("fedgate_exporter_dropped_connections_total{{reason=\"{reason}\"}}");
            // A series begins with its first event.
            all += self.metric(&series).await.unwrap_or_default();
        }
        Ok(all)
    }
}
