//! What a peer says it sees of this cluster.

use crate::terminal::Style;
use crate::terminal::layout::Cell;
use fedgate_engine::status::PeerStatus;
use fedgate_federation::document::View;
use fedgate_federation::federate::FarSide;

/// A row for a peer that says what it sees.
pub(super) fn row(peer: &PeerStatus) -> Option<Vec<Cell>> {
    let side = peer.far_side.as_ref()?;
    let fetched = match &side.view.fetch {
        Some(fetch) => format!("fetch {}", fetch.reason.word()),
        None => "fetch unknown".to_owned(),
    };
    let probed = match &side.view.probe {
        Some(probe) => format!("probe {}", probe.reason.word()),
        None => "no probe".to_owned(),
    };
    let gateways: Vec<_> = side.view.gateways.iter().map(ToString::to_string).collect();
    let gateways = if gateways.is_empty() { "none".to_owned() } else { gateways.join(", ") };
    let state = format!("{}, {}{}", probed, clock(&side.view), mismatches(peer, side));
    let style = if side.mismatches.is_empty() { Style::Plain } else { Style::Warning };
    Some(vec![
        peer.name.as_str().into(),
        document(side).into(),
        fetched.into(),
        format!("gateways {gateways}").into(),
        Cell::new(style, &state),
    ])
}

fn document(side: &FarSide) -> String {
    let which = match (side.current, side.view.sequence) {
        (true, _) => "our newest document",
        (false, Some(_)) => "an OLDER document of ours",
        (false, None) => "NO document of ours",
    };
    which.to_owned()
}

fn clock(view: &View) -> String {
    match view.clock_ahead {
        None => "clock unknown".to_owned(),
        Some(0) => "clock agrees".to_owned(),
        Some(ahead) if ahead < 0 => format!("our clock {} s behind", ahead.unsigned_abs()),
        Some(ahead) => format!("our clock {ahead} s ahead"),
    }
}

fn mismatches(peer: &PeerStatus, side: &FarSide) -> String {
    let texts = side
        .mismatches
        .iter()
        .map(|mismatch| format!("; {}: {}", mismatch.whose_turn(&peer.name), mismatch.message));
    texts.collect()
}
