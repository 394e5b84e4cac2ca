//! `fedgate status --wait`: for pipelines, which go on when the peers are ready.

use super::{is_loaded, pick, shown, text};
use crate::command::source::Source;
use crate::command::{ExitStatus, Output};
use crate::terminal::layout::{Cell, aligned};
use crate::terminal::progress::Progress;
use crate::terminal::{Style, Terminal};
use anyhow::{Context, Result, ensure};
use fedgate_engine::status::{PeerStatus, Status};
use fedgate_federation::Severity;
use fedgate_federation::federate::Turn;
use fedgate_process::words::{chain, counted, spell};
use jiff::SignedDuration;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Reads `--timeout`.
pub(super) fn timeout(text: &str) -> Result<Duration> {
    let span: SignedDuration = text
        .parse()
        .ok()
        .with_context(|| format!("expected a duration such as 90s or 10m, found {text:?}"))?;
    let span = Duration::try_from(span).ok().filter(|span| !span.is_zero());
    span.with_context(|| format!("expected a duration above zero, found {text:?}"))
}

/// Something that is not ready.
struct Missing {
    of: Part,
    /// Whose turn it is; `None` if it is enough to wait.
    turn: Option<Turn>,
    what: String,
}

/// A part of the federation.
enum Part {
    Peer(String),
    Other(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(name) => write!(f, "peer {name}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// More peers than this that lack the same share one line.
const ONE_BY_ONE: usize = 3;

/// Waits until everything is ready, or until the time is over. Prints what is ready, or what is
/// missing and whose turn it is.
pub(super) async fn wait(
    source: &mut Source<'_>,
    names: &[String],
    timeout: Duration,
    output: Output,
    terminal: Terminal,
) -> Result<ExitStatus> {
    let end = Instant::now() + timeout;
    let mut progress = Progress::start();
    loop {
        let (status, missing) = look(source, names, end).await;
        if missing.is_empty()
            && let Some(status) = &status
        {
            progress.clear();
            print!("{}", ready(status, names, output, terminal)?);
            return Ok(ExitStatus::Success);
        }
        let next = Instant::now() + source.interval();
        if next >= end {
            // One last look at the end, so that the answer is of then.
            sleep_until(end).await;
            let (status, missing) = look(source, names, end + source.patience()).await;
            progress.clear();
            return finish(status.as_ref(), &missing, names, timeout, output, terminal);
        }
        let what = missing.first().map(|missing| format!("waiting for {}", missing.of));
        progress.at(&what.unwrap_or_default(), 0, None);
        sleep_until(next).await;
    }
}

/// The status, as far as it can be had before `end`, and what is missing.
async fn look(
    source: &mut Source<'_>,
    names: &[String],
    end: Instant,
) -> (Option<Status>, Vec<Missing>) {
    let answer = tokio::time::timeout_at(end, source.status()).await;
    let why = match answer {
        Ok(Ok(status)) => {
            let missing = missing(&status, names);
            return (Some(status), missing);
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => "there is no answer yet".to_owned(),
    };
    (None, vec![Missing { of: Part::Other("the status"), turn: Some(Turn::Ours), what: why }])
}

fn missing(status: &Status, names: &[String]) -> Vec<Missing> {
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let unknown = names.iter().filter(|name| !pick::is_known(status, name)).map(|name| Missing {
        of: Part::Peer(name.clone()),
        turn: Some(Turn::Ours),
        what: "there is no IstioFederation of this name".to_owned(),
    });
    let peers = status.peers.iter().filter(|peer| is_wanted(&peer.name)).flat_map(of_peer);
    let loaded = status.table.loaded.as_ref().filter(|_| !is_loaded(status));
    let table = loaded.map(|loaded| Missing {
        of: Part::Other("the table"),
        turn: Some(Turn::Ours),
        what: format!("{}: {}", loaded.reason, loaded.message),
    });
    // Those who wait for named peers need not mend everything else first.
    let errors = status
        .findings
        .iter()
        .filter(|finding| names.is_empty() && finding.severity == Severity::Error);
    let errors = errors.map(|finding| Missing {
        of: Part::Other("an error"),
        turn: Some(Turn::Ours),
        what: finding.to_string(),
    });
    unknown.chain(peers).chain(table).chain(errors).collect()
}

fn of_peer(peer: &PeerStatus) -> Vec<Missing> {
    let missing = peer.missing().into_iter().map(|missing| Missing {
        of: Part::Peer(peer.name.clone()),
        turn: missing.turn,
        what: missing.what,
    });
    let missing: Vec<_> = missing.collect();
    if peer.ready || !missing.is_empty() {
        return missing;
    }
    let what = text::state(peer).text;
    vec![Missing { of: Part::Peer(peer.name.clone()), turn: None, what }]
}

fn ready(status: &Status, names: &[String], output: Output, terminal: Terminal) -> Result<String> {
    if output.is_document() {
        return shown(&pick::peers(status.clone(), names)?, output, terminal);
    }
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let peers = status.peers.iter().filter(|peer| is_wanted(&peer.name));
    let rows: Vec<_> =
        peers.map(|peer| vec![peer.name.as_str().into(), text::state(peer)]).collect();
    let (terminal, _) = output.layout(terminal);
    Ok(match rows.is_empty() {
        true => "ready: there is no peer yet\n".to_owned(),
        false => aligned(&rows, terminal),
    })
}

fn finish(
    status: Option<&Status>,
    missing: &[Missing],
    names: &[String],
    timeout: Duration,
    output: Output,
    terminal: Terminal,
) -> Result<ExitStatus> {
    if missing.is_empty()
        && let Some(status) = status
    {
        print!("{}", ready(status, names, output, terminal)?);
        return Ok(ExitStatus::Success);
    }
    if output.is_document() {
        let Some(status) = status else {
            anyhow::bail!("{}", missing.iter().map(|it| it.what.as_str()).collect::<String>());
        };
        // A name without a peer is on standard error below.
        let known: Vec<_> =
            names.iter().filter(|name| pick::is_known(status, name)).cloned().collect();
        ensure!(names.is_empty() || !known.is_empty(), "{}", lines(missing, Terminal::PIPE));
        print!("{}", shown(&pick::peers(status.clone(), &known)?, output, terminal)?);
        eprintln!("{}", lines(missing, Terminal::PIPE).trim_end());
        return Ok(ExitStatus::Finding);
    }
    let (terminal, _) = output.layout(terminal);
    print!("not ready after {}:\n{}", spell(timeout), lines(missing, terminal));
    eprintln!("error: {} missing after {}", counted(missing.len(), "thing"), spell(timeout));
    Ok(ExitStatus::Finding)
}

/// A line for each, or for all peers that lack the same: a gateway that is down would otherwise be
/// told once for every peer.
fn lines(missing: &[Missing], terminal: Terminal) -> String {
    let mut alike: HashMap<(Option<Turn>, &str), Vec<&str>> = HashMap::new();
    for Missing { of, turn, what } in missing {
        if let Part::Peer(name) = of {
            alike.entry((*turn, what)).or_default().push(name);
        }
    }
    let mut rows = Vec::new();
    for Missing { of, turn, what } in missing {
        let whose = |peer: &str| turn.map_or_else(|| "wait".to_owned(), |turn| turn.whose(peer));
        let (of, whose, what) = match (of, alike.get(&(*turn, what.as_str()))) {
            (Part::Peer(name), Some(names)) if names.len() > ONE_BY_ONE => {
                if names.first() != Some(&name.as_str()) {
                    continue;
                }
                let (shown, more) = names.split_at(ONE_BY_ONE);
                let what = format!("{what} ({} and {} more)", shown.join(", "), more.len());
                (counted(names.len(), "peer"), whose("the peer"), what)
            }
            (Part::Peer(name), _) => (of.to_string(), whose(name), what.clone()),
            (Part::Other(name), _) => ((*name).to_owned(), whose(""), what.clone()),
        };
        rows.push(vec![
            of.into(),
            Cell::new(Style::Warning, &whose),
            Cell::new(Style::Plain, &what),
        ]);
    }
    aligned(&rows, terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, turn: Turn, what: &str) -> Missing {
        Missing { of: Part::Peer(name.to_owned()), turn: Some(turn), what: what.to_owned() }
    }

    #[test]
    fn what_many_peers_lack_is_said_once() {
        let names = ["a", "b", "c", "d", "e"];
        let mut missing: Vec<_> =
            names.map(|name| peer(name, Turn::Ours, "the egress Envoy does not run")).into();
        missing.push(peer("a", Turn::Theirs, "no route"));
        missing.insert(2, peer("b", Turn::Either, "no route"));
        missing.push(Missing { of: Part::Other("an error"), turn: None, what: "bad".to_owned() });
        let expected = "  5 peers   our turn         the egress Envoy does not run (a, b, c and 2 more)\n  \
             peer b    our turn or b's  no route\n  \
             peer a    a's turn         no route\n  \
             an error  wait             bad\n";
        assert_eq!(lines(&missing, Terminal::PIPE), expected);
        let few =
            [peer("a", Turn::Ours, "x"), peer("b", Turn::Ours, "x"), peer("c", Turn::Ours, "x")];
        assert_eq!(lines(&few, Terminal::PIPE).lines().count(), 3);
    }

    #[test]
    fn timeouts_are_read() {
        assert_eq!(timeout("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(timeout("1m30s").unwrap(), Duration::from_secs(90));
        for wrong in ["", "5", "soon", "0s", "-1s"] {
            let error = timeout(wrong).unwrap_err().to_string();
            assert!(error.starts_with("expected a duration"), "{wrong}: {error}");
        }
    }
}
