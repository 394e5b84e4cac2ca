//! Many changes a second, each of which the controller sees and brings into force.

use crate::site::{Site, percentiles};
use crate::watch::{Pending, Watch};
use anyhow::Result;
use fedgate_e2e::fleet::Fleet;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How often changes are made.
const TICK: Duration = Duration::from_millis(50);
/// In how many parts of the time latencies are reported, to show whether they grow.
const PARTS: usize = 3;

/// A peer changes again only after its last change is in force, so none is skipped: the controller
/// parses as many changed documents as there are changes. Fails if a change is missing, or the
/// controller cannot follow.
pub(crate) async fn seen_changes(site: &mut Site, fleet: &Fleet) -> Result<()> {
    let (a_second, time) = (site.scale.load.a_second, site.scale.load.time);
    let mut watch = Watch::new(site.cluster.folder());
    let mut free: VecDeque<usize> = watch.peers()?.into();
    fastrand::shuffle(free.make_contiguous());
    let mut pending = Pending::new();
    // A series begins with its first event.
    let seen = site.metric(CHANGES).await.unwrap_or_default();
    let first = site.meter().await?;
    let (began, mut changes, mut parts) = (Instant::now(), 0, Vec::new());
    let mut pace = interval(TICK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while began.elapsed() < time {
        pace.tick().await;
        let due = (began.elapsed().as_secs_f64() * a_second as f64) as usize;
        for peer in free.drain(..free.len().min(due.saturating_sub(changes))) {
            pending.insert(peer, site.change(fleet, peer)?);
            changes += 1;
        }
        free.extend(watch.look(fleet, &mut pending)?);
        if began.elapsed() >= time * (parts.len() as u32 + 1) / PARTS as u32 {
            parts.push((pending.len(), std::mem::take(&mut watch.latencies)));
        }
    }
    let (took, (_, text)) = (began.elapsed(), site.since(&first).await?);
    let behind = pending.len();
    site.drain(fleet, &mut watch, &mut pending).await?;
    let seen = site.metric(CHANGES).await? - seen;
    println!(
        "{changes} changes of {} peers in {:.1} s: {text}; {seen} changes seen, {behind} not in force at the end, all {:.1} s later",
        free.len() + behind,
        took.as_secs_f64(),
        (began.elapsed() - took).as_secs_f64(),
    );
    for (part, (pending, latencies)) in parts.iter_mut().enumerate() {
        let what = format!("part {} of {PARTS}, {pending} pending, from answer to file", part + 1);
        percentiles(&what, latencies);
    }
    let wanted = (time.as_secs_f64() * a_second as f64 * 0.98) as usize;
    site.limit(changes >= wanted, format!("only {changes} changes, expected {wanted}"));
    site.limit(seen >= changes as f64, format!("{changes} changes, but only {seen} seen"));
    Ok(())
}

/// The documents that the controller has parsed and accepted.
const CHANGES: &str = "fedgate_importer_documents_total{document=\"private\"}";
