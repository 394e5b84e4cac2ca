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
    /// A peer, or another part of the federation.
    name: String,
    /// Whose turn it is; `None` if it is enough to wait.
    turn: Option<String>,
    what: String,
}

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
        let what = missing.first().map(|missing| format!("waiting for {}", missing.name));
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
    let turn = Some(Turn::Ours.whose(""));
    (None, vec![Missing { name: "the status".to_owned(), turn, what: why }])
}

fn missing(status: &Status, names: &[String]) -> Vec<Missing> {
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let unknown = names.iter().filter(|name| !pick::is_known(status, name)).map(|name| Missing {
        name: format!("peer {name}"),
        turn: Some(Turn::Ours.whose(name)),
        what: "there is no IstioFederation of this name".to_owned(),
    });
    let peers = status.peers.iter().filter(|peer| is_wanted(&peer.name)).flat_map(of_peer);
    let loaded = status.table.loaded.as_ref().filter(|_| !is_loaded(status));
    let table = loaded.map(|loaded| Missing {
        name: "the table".to_owned(),
        turn: Some(Turn::Ours.whose("")),
        what: format!("{}: {}", loaded.reason, loaded.message),
    });
    // Those who wait for named peers need not mend everything else first.
    let errors = status
        .findings
        .iter()
        .filter(|finding| names.is_empty() && finding.severity == Severity::Error);
    let errors = errors.map(|finding| Missing {
        name: "no error".to_owned(),
        turn: None,
        what: finding.to_string(),
    });
    unknown.chain(peers).chain(table).chain(errors).collect()
}

fn of_peer(peer: &PeerStatus) -> Vec<Missing> {
    let missing = peer.missing().into_iter().map(|missing| Missing {
        name: format!("peer {}", peer.name),
        turn: missing.turn.map(|turn| turn.whose(&peer.name)),
        what: missing.what,
    });
    let missing: Vec<_> = missing.collect();
    if peer.ready || !missing.is_empty() {
        return missing;
    }
    let what = text::state(peer).text;
    vec![Missing { name: format!("peer {}", peer.name), turn: None, what }]
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

fn lines(missing: &[Missing], terminal: Terminal) -> String {
    let row = |missing: &Missing| {
        let turn = missing.turn.as_deref().unwrap_or("wait");
        let turn = Cell::new(Style::Warning, turn);
        vec![missing.name.as_str().into(), turn, Cell::new(Style::Plain, &missing.what)]
    };
    aligned(&missing.iter().map(row).collect::<Vec<_>>(), terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

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
