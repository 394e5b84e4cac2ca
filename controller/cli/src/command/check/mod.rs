//! `fedgate check`: of this cluster, as its peers see it, or of a rotation.

mod from_peer;
mod rotation;

use super::source::Source;
use super::status::pick;
use super::target::Target;
use super::{ExitStatus, Output};
use crate::terminal::layout::paragraph;
use crate::terminal::progress::Progress;
use crate::terminal::{Style, Terminal, harmless};
use anyhow::Result;
use clap::{Args, Subcommand};
use fedgate_kubernetes::inspect::check::{self, Check, Report};
use fedgate_process::words::counted;
use jiff::Timestamp;
use serde_json::json;
use std::cell::RefCell;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CheckCommand {
    #[command(subcommand)]
    subject: Option<Subject>,
    #[command(flatten)]
    cluster: ClusterCheck,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Show which peer holds which of our roots and keys, and so what may be done next in a rotation
    #[command(
        after_help = "Examples:\n  fedgate check rotation --dir /etc/fedgate\n  fedgate check rotation --context alpha\n\nExits with 1 while a peer lacks a root or key of ours."
    )]
    Rotation(rotation::RotationCommand),
}

#[derive(Debug, Args)]
struct ClusterCheck {
    /// Show what the peers see of this cluster, and whose turn it is. Works on a folder, too
    #[arg(long)]
    from_peer: bool,
    /// With --from-peer: only these peers [default: all]
    #[arg(value_name = "PEER", requires = "from_peer")]
    peers: Vec<String>,
    /// ServiceAccount of the controller, whose permissions are checked
    #[arg(long, value_name = "NAME", default_value = "fedgate", conflicts_with = "from_peer")]
    service_account: String,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl CheckCommand {
    /// # Errors
    /// For a folder without `--from-peer`: its checks are those of `validate` and `status`.
    pub(super) fn misuse(&self) -> Result<(), &'static str> {
        let ClusterCheck { from_peer, target, .. } = &self.cluster;
        match *from_peer || !target.names_folder() {
            true => Ok(()),
            false => Err(
                "check --dir needs --from-peer; `fedgate validate` and `fedgate status` check a folder",
            ),
        }
    }

    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        match self.subject {
            Some(Subject::Rotation(rotation)) => rotation.run(),
            None => self.cluster.run(terminal),
        }
    }
}

impl ClusterCheck {
    fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(async {
            let progress = RefCell::new(Progress::start());
            let asked = |done, all| progress.borrow_mut().count(done, all);
            Progress::during(&progress, "checking", self.report(&asked)).await
        })?;
        let failed = report.count(check::CheckOutcome::Failed);
        match self.output.of(&json!({ "ok": failed == 0, "sections": report.sections }))? {
            Some(document) => print!("{document}"),
            None => print!("{}", text(&report, self.output.layout(terminal).0)),
        }
        Ok(if failed == 0 { ExitStatus::Success } else { ExitStatus::Finding })
    }

    async fn report(&self, asked: &dyn Fn(usize, usize)) -> Result<Report> {
        if self.from_peer {
            let status = Source::of(&self.target).status().await?;
            let status = pick::peers(status, &self.peers)?;
            return Ok(from_peer::report(&status, Timestamp::now()));
        }
        let cluster = self.target.kubernetes();
        let client = cluster.client().await?;
        Ok(check::check(&client, cluster.namespace(), &self.service_account, asked).await)
    }
}

fn text(report: &Report, terminal: Terminal) -> String {
    let mut out = String::new();
    for section in &report.sections {
        out += &format!("{}\n", terminal.paint(Style::Heading, &harmless(&section.name)));
        section.checks.iter().for_each(|check| out += &line(check, terminal));
        out.push('\n');
    }
    let count = |outcome| report.count(outcome);
    out + &format!(
        "{} ok, {}, {} failed, {} skipped\n",
        count(check::CheckOutcome::Ok),
        counted(count(check::CheckOutcome::Warning), "warning"),
        count(check::CheckOutcome::Failed),
        count(check::CheckOutcome::Skipped)
    )
}

/// One line, with its hint below. Off a terminal, the marks are words that one can search for.
fn line(check: &Check, terminal: Terminal) -> String {
    let (sign, word, style) = match check.outcome {
        check::CheckOutcome::Ok => ("√", "ok  ", Style::Good),
        check::CheckOutcome::Warning => ("‼", "WARN", Style::Warning),
        check::CheckOutcome::Failed => ("×", "FAIL", Style::Bad),
        check::CheckOutcome::Skipped => ("-", "skip", Style::Faint),
    };
    let mark = if terminal.is_terminal { sign } else { word };
    let detail =
        if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
    let start = format!("  {mark} ");
    let title = format!("{}{detail}", check.title);
    let out = paragraph(&start, &title, Style::Plain, terminal);
    let out = out.replacen(mark, &terminal.paint(style, mark), 1);
    let indent = format!("{:width$}-> ", "", width = mark.chars().count() + 3);
    let hint = check.hint.as_ref();
    out + &hint.map(|hint| paragraph(&indent, hint, Style::Plain, terminal)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_kubernetes::inspect::check::Section;

    #[test]
    fn a_failed_check_is_followed_by_a_hint() {
        let checks = vec![
            Check::ok("a", "one thing holds", "three of them"),
            Check::failed("b", "another thing holds", "it does not", "mend it"),
        ];
        let report = Report { sections: vec![Section { name: "things".into(), checks }] };
        let expected = "things\n  √ one thing holds: three of them\n  × another thing holds: it does not\n    -> mend it\n\n\
                        1 ok, 0 warnings, 1 failed, 0 skipped\n";
        let terminal = Terminal { is_terminal: true, ..Terminal::PIPE };
        assert_eq!(text(&report, terminal), expected);
        let plain = text(&report, Terminal::PIPE);
        assert!(
            plain.is_ascii()
                && plain.contains("  FAIL another thing holds: it does not\n       -> mend it\n"),
            "{plain}"
        );
    }
}
