//! What the peers see of this cluster: the faults that only the other side can see.

use fedgate_engine::status::{PeerStatus, Status};
use fedgate_federation::document::View;
use fedgate_federation::federate::{FarSide, Mismatch, MismatchKind};
use fedgate_kubernetes::inspect::check::{Check, Report, Section};
use jiff::Timestamp;

/// A section for each peer.
pub(super) fn report(status: &Status, now: Timestamp) -> Report {
    let sections = status.peers.iter().map(|peer| section(peer, now));
    let mut sections: Vec<_> = sections.collect();
    if sections.is_empty() {
        let none = Check::skipped("far-side", "a peer sees this cluster", "there is no peer yet");
        sections.push(Section { name: "peers".to_owned(), checks: vec![none] });
    }
    Report { sections }
}

fn section(peer: &PeerStatus, now: Timestamp) -> Section {
    let name = format!("what {} sees of this cluster", peer.name);
    let checks = match &peer.far_side {
        Some(side) => checks(peer, side, now),
        None => vec![silent(peer)],
    };
    Section { name, checks }
}

/// A peer that says nothing: it cannot be heard, or it is no fedgate cluster.
fn silent(peer: &PeerStatus) -> Check {
    const TITLE: &str = "it says what it sees";
    let missing = peer.missing();
    match missing.first() {
        // Its last document is not in force, or it never came.
        Some(missing) if peer.private_confirmed.is_none() => {
            let turn = missing.turn.map(|turn| turn.whose(&peer.name));
            let hint = match turn {
                Some(turn) => format!("{turn}: first it must be heard, see `fedgate status`"),
                None => "wait: it has not been asked yet".to_owned(),
            };
            Check::failed("far-side", TITLE, missing.what.clone(), hint)
        }
        _ => Check::skipped(
            "far-side",
            TITLE,
            "it does not say what it sees of this cluster, as a DKP cluster does not; ask its operator",
        ),
    }
}

fn checks(peer: &PeerStatus, side: &FarSide, now: Timestamp) -> Vec<Check> {
    use MismatchKind::{Clock, Document, Fetch, Gateways, Probe, Roots};
    let view = &side.view;
    let rows = [
        (Fetch, "far-fetch", "it can fetch our document", fetch(view, now)),
        (Document, "far-document", "it uses our newest document", Some(String::new())),
        (Roots, "far-roots", "it has put our roots in force", roots(side)),
        (Gateways, "far-gateways", "it has the gateways that we announce", gateways(view)),
        (Probe, "far-probe", "its probe of our gateways gets through", probe(view, now)),
        (Clock, "far-clock", "its clock agrees with ours", clock(view)),
    ];
    let check = |(kind, name, title, detail): (_, &'static str, &str, Option<String>)| {
        let found = side.mismatches.iter().find(|mismatch| mismatch.kind == kind);
        match (found, detail) {
            (Some(mismatch), _) => differs(peer, mismatch, (name, title), now),
            (None, Some(detail)) => Check::ok(name, title, detail),
            (None, None) => Check::skipped(name, title, "it does not say"),
        }
    };
    rows.map(check).into()
}

/// Right after a change a mismatch is normal, so that it is only a warning.
fn differs(
    peer: &PeerStatus,
    mismatch: &Mismatch,
    (name, title): (&'static str, &str),
    now: Timestamp,
) -> Check {
    let since = mismatch.since.map(|since| format!(" (for {})", age(since, now)));
    // The message ends with what to do, after a semicolon.
    let (what, advice) = match mismatch.message.rsplit_once("; ") {
        Some((what, advice)) => (what, advice),
        None => (mismatch.message.as_str(), "ask its operator"),
    };
    let detail = format!("{what}{}", since.unwrap_or_default());
    let hint = format!("{}: {advice}", mismatch.whose_turn(&peer.name));
    match mismatch.is_settled(now) {
        true => Check::failed(name, title, detail, hint),
        false => Check::warning(name, title, detail, hint),
    }
}

fn fetch(view: &View, now: Timestamp) -> Option<String> {
    let fetch = view.fetch.as_ref()?;
    Some(format!("{} for {}", fetch.reason.word(), age(fetch.since, now)))
}

/// Whether its roots are known is said by the mismatch alone; an older document says nothing yet.
fn roots(side: &FarSide) -> Option<String> {
    side.current.then(String::new)
}

fn gateways(view: &View) -> Option<String> {
    let listed: Vec<_> = view.gateways.iter().map(ToString::to_string).collect();
    (!listed.is_empty()).then(|| listed.join(", "))
}

fn probe(view: &View, now: Timestamp) -> Option<String> {
    let probe = view.probe.as_ref()?;
    Some(format!("{} for {}", probe.reason.word(), age(probe.since, now)))
}

fn clock(view: &View) -> Option<String> {
    view.clock_ahead.map(|ahead| match ahead {
        0 => String::new(),
        ahead => format!(
            "ours is {} s {}",
            ahead.unsigned_abs(),
            if ahead < 0 { "behind" } else { "ahead" }
        ),
    })
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    format!("{:#}", jiff::SignedDuration::from_secs(seconds))
}
