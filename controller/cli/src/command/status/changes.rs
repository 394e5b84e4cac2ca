//! What differs between two statuses, as lines for a pipe.

use super::text::blocks;
use crate::terminal::layout::Cell;
use fedgate_engine::status::Status;
use fedgate_process::words::counted;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The status without what changes all the time: when documents were confirmed.
pub(super) fn settled(mut status: Status) -> Status {
    for peer in &mut status.peers {
        (peer.public_confirmed, peer.private_confirmed) = (None, None);
    }
    status.imports.iter_mut().for_each(|import| import.confirmed = None);
    status
}

/// A line for each row that is new, different or gone, and for the table.
pub(super) fn lines(before: &Status, after: &Status, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if before.table != after.table {
        lines.push(format!("table  {}", table(after)));
    }
    let (old, new) = (rows(before, now), rows(after, now));
    for (key, row) in &new {
        if old.get(key) != Some(row) {
            lines.push(format!("{}  {row}", key.0));
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        lines.push(format!("{}  {}  gone", key.0, key.1));
    }
    lines
}

fn table(status: &Status) -> String {
    let table = &status.table;
    let outdated = if table.outdated { ", OUTDATED" } else { "" };
    let loaded = table.loaded.as_ref();
    let loaded = loaded.map(|loaded| format!(", loaded {:?} {}", loaded.status, loaded.message));
    let loaded = loaded.unwrap_or_default();
    let exports = counted(table.exports as usize, "export");
    format!("generation {}, {exports}{outdated}{loaded}", table.generation).trim_end().to_owned()
}

/// Rows by block and name. A finding is its own name.
fn rows(status: &Status, now: Timestamp) -> BTreeMap<(&'static str, String), String> {
    // What was never confirmed would be said to be so; the statuses are settled.
    let text = |row: &[Cell]| {
        let cells: Vec<_> = row.iter().map(|cell| cell.text.as_str()).collect();
        cells.join("  ").replace(", never confirmed", "")
    };
    let blocks = blocks(status, now, false, usize::MAX).into_iter();
    let rows = blocks.flat_map(|(heading, rows)| {
        rows.into_iter().map(move |row| {
            let name = match heading {
                "findings" => text(&row),
                _ => row.first().map(|cell| cell.text.clone()).unwrap_or_default(),
            };
            ((heading, name), text(&row))
        })
    });
    rows.collect()
}
