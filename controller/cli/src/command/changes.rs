//! `fedgate changes`: what happened when, as on the operators' page.

use super::ask::fetch;
use super::target::{Platform, Target};
use super::{ExitStatus, Folder, Output};
use crate::terminal::layout::{Cell, aligned};
use crate::terminal::{Style, Terminal};
use anyhow::Result;
use clap::Args;
use fedgate_engine::history::Change;
use fedgate_kubernetes::inspect::changes::happened;
use fedgate_kubernetes::inspect::snapshot::Snapshot;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many rows the controller answers with at once.
const ROWS: usize = 200;

#[derive(Debug, Args)]
pub(crate) struct ChangesCommand {
    /// Only changes with all of these words in their kind, object or text
    words: Vec<String>,
    /// How many changes to show, the newest first
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// What happened, as far as it is known.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Newest first.
    changes: Vec<Change>,
    /// How many further changes there are.
    more: usize,
    /// Why changes are missing.
    trouble: Option<String>,
}

impl ChangesCommand {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut report = runtime.block_on(self.report())?;
        let words: Vec<_> = self.words.iter().map(|word| word.to_lowercase()).collect();
        report.changes.retain(|change| change.has_words(&words));
        report.more = report.changes.len().saturating_sub(self.limit);
        report.changes.truncate(self.limit);
        match self.output.of(&report)? {
            Some(document) => print!("{document}"),
            None => print!("{}", text(&report, self.output.layout(terminal).0)),
        }
        if let Some(why) = &report.trouble {
            eprintln!("changes are missing: {why}");
            return Ok(ExitStatus::Finding);
        }
        Ok(ExitStatus::Success)
    }

    async fn report(&self) -> Result<Report> {
        match self.target.platform() {
            Platform::Files(folder) => of_site(&folder).await,
            Platform::Kubernetes(cluster) => {
                let client = cluster.client().await?;
                let namespace = cluster.namespace();
                let snapshot = Snapshot::take(&client, namespace, Timestamp::now()).await?;
                let happened = happened(&client, &snapshot).await;
                Ok(Report {
                    changes: happened.changes,
                    trouble: happened.trouble,
                    ..Report::default()
                })
            }
        }
    }
}

/// Asks the controller of a folder, page by page.
async fn of_site(folder: &Folder) -> Result<Report> {
    #[derive(Deserialize)]
    struct Answer {
        found: usize,
        rows: Vec<Change>,
    }
    let mut report = Report::default();
    loop {
        let query = [("offset", report.changes.len()), ("limit", ROWS)];
        let query = query.map(|(name, number)| (name, number.to_string()));
        let answer: Answer = fetch(folder, "/page/changes", &query).await?;
        let is_last = answer.rows.is_empty();
        report.changes.extend(answer.rows);
        if is_last || report.changes.len() >= answer.found {
            return Ok(report);
        }
    }
}

fn text(report: &Report, terminal: Terminal) -> String {
    if report.changes.is_empty() && report.more == 0 {
        return "no changes\n".to_owned();
    }
    let row = |change: &Change| {
        let at = change.at.round(jiff::Unit::Second).unwrap_or(change.at);
        let [at, about, text] = [&at.to_string(), &change.about, &change.text];
        vec![
            Cell::new(Style::Faint, at),
            Cell::from(change.kind.word()),
            Cell::from(about.as_str()),
            Cell::from(text.as_str()),
        ]
    };
    let rows: Vec<_> = report.changes.iter().map(row).collect();
    let mut out = aligned(&rows, terminal);
    if report.more > 0 {
        out += &format!("  and {} more; show more with --limit\n", report.more);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_engine::history::ChangeKind;

    #[test]
    fn a_strangers_text_is_harmless_and_what_is_left_out_is_counted() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let change = Change::new(at, ChangeKind::Key, "beta", "UUID \u{1b}[2J became \u{202e}x");
        let report = Report { changes: vec![change], more: 7, trouble: None };
        assert_eq!(
            text(&report, Terminal::PIPE),
            "  2027-01-15T08:00:00Z  key  beta  UUID \\u{1b}[2J became \\u{202e}x\n  and 7 more; show more with --limit\n"
        );
        assert_eq!(text(&Report::default(), Terminal::PIPE), "no changes\n");
        let none_shown = Report { more: 3, ..Report::default() };
        assert_eq!(text(&none_shown, Terminal::PIPE), "  and 3 more; show more with --limit\n");
    }
}
