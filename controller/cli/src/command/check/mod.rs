mod rotation;

use super::target::Kubernetes;
use super::{ExitStatus, Output};
use anyhow::Result;
use clap::{Args, Subcommand};
use fedgate_kubernetes::inspect::check::{self, Check, Report};
use fedgate_process::words::counted;
use serde_json::json;
use std::io::IsTerminal;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CheckCommand {
    #[command(subcommand)]
    subject: Option<Subject>,
    #[command(flatten)]
    whole: WholeCluster,
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
struct WholeCluster {
    /// ServiceAccount of the controller, whose permissions are checked
    #[arg(long, value_name = "NAME", default_value = "fedgate")]
    service_account: String,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    cluster: Kubernetes,
}

impl CheckCommand {
    pub(super) fn run(self) -> Result<ExitStatus> {
        match self.subject {
            Some(Subject::Rotation(rotation)) => rotation.run(),
            None => self.whole.run(),
        }
    }
}

impl WholeCluster {
    fn run(self) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(async {
            let client = self.cluster.client().await?;
            anyhow::Ok(check::check(&client, self.cluster.namespace(), &self.service_account).await)
        })?;
        let failed = report.count(check::CheckOutcome::Failed);
        match self.output {
            Output::Json => {
                let json = json!({ "ok": failed == 0, "sections": report.sections });
                println!("{}", serde_json::to_string_pretty(&json)?);
            }
            Output::Text => print!("{}", text(&report, std::io::stdout().is_terminal())),
        }
        Ok(if failed == 0 { ExitStatus::Success } else { ExitStatus::Finding })
    }
}

fn text(report: &Report, terminal: bool) -> String {
    let mut out = String::new();
    for section in &report.sections {
        out += &format!("{}\n", section.name);
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
fn line(check: &Check, terminal: bool) -> String {
    let (sign, word) = match check.outcome {
        check::CheckOutcome::Ok => ("√", "ok  "),
        check::CheckOutcome::Warning => ("‼", "WARN"),
        check::CheckOutcome::Failed => ("×", "FAIL"),
        check::CheckOutcome::Skipped => ("-", "skip"),
    };
    let mark = if terminal { sign } else { word };
    let detail =
        if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
    let hint = check
        .hint
        .as_ref()
        .map(|hint| format!("{:width$}-> {hint}\n", "", width = mark.chars().count() + 3));
    format!("  {mark} {}{detail}\n{}", check.title, hint.unwrap_or_default())
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
        assert_eq!(text(&report, true), expected);
        let plain = text(&report, false);
        assert!(
            plain.is_ascii()
                && plain.contains("  FAIL another thing holds: it does not\n       -> mend it\n"),
            "{plain}"
        );
    }
}
