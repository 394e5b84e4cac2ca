use super::ask::ask;
use super::target::{Platform, Target};
use super::{ExitStatus, Folder, Output};
use crate::terminal::layout::{Cell, aligned};
use crate::terminal::{Style, Terminal};
use anyhow::Result;
use clap::Args;
use fedgate_core::{PeerName, ServiceName};
use fedgate_engine::explain::{Caller, Explanation, Question};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Service that is called
    #[arg(long, value_name = "HOST:PORT")]
    to: ServiceName,
    /// SPIFFE ID of the calling workload
    #[arg(long, value_name = "SPIFFE-ID", conflicts_with = "peer")]
    from: Option<String>,
    /// Calling peer, by the name of its IstioFederation
    #[arg(long, value_name = "NAME")]
    peer: Option<PeerName>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Explain {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let from = match (self.from, self.peer) {
            (Some(uri), _) => Caller::Identity(uri),
            (None, Some(peer)) => Caller::Peer(peer),
            (None, None) => Caller::Unknown,
        };
        let question = Question { to: self.to, from };
        let explanation = match self.target.platform() {
            Platform::Files(folder) => ask_controller(&folder, &question)?,
            Platform::Kubernetes(cluster) => cluster.snapshot()?.in_force.explain(&question),
        };
        match self.output.of(&explanation)? {
            Some(document) => print!("{document}"),
            None => print!("{}", text(&explanation, self.output.layout(terminal).0)),
        }
        Ok(if explanation.passes { ExitStatus::Success } else { ExitStatus::Finding })
    }
}

fn ask_controller(folder: &Folder, question: &Question) -> Result<Explanation> {
    let from = match &question.from {
        Caller::Identity(uri) => Some(("from", uri.clone())),
        Caller::Peer(peer) => Some(("peer", peer.to_string())),
        Caller::Unknown => None,
    };
    let query: Vec<_> = [("to", question.to.to_string())].into_iter().chain(from).collect();
    ask(folder, "/explain", &query)
}

fn text(explanation: &Explanation, terminal: Terminal) -> String {
    let steps = explanation.steps.iter().map(|step| (step.holds, step.check.clone(), &step.detail));
    let peers = explanation
        .peers
        .iter()
        .map(|answer| (answer.passes, format!("peer {}", answer.peer), &answer.detail));
    let rows: Vec<_> = steps.chain(peers).collect();
    let row = |(holds, check, detail): &(bool, String, &String)| {
        let (mark, style) = if *holds { ("ok", Style::Good) } else { ("NO", Style::Bad) };
        vec![Cell::new(style, mark), check.as_str().into(), detail.as_str().into()]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let out = format!("{}\n{}", explanation.to, aligned(&rows, terminal));
    let style = if explanation.passes { Style::Good } else { Style::Bad };
    let verdict = terminal.paint(style, &verdict(explanation));
    match explanation.reason.as_ref().filter(|_| explanation.peers.is_empty()) {
        Some(reason) => out + &format!("=> {verdict}: {reason}\n"),
        None => out + &format!("=> {verdict}\n"),
    }
}

fn verdict(explanation: &Explanation) -> String {
    let all = explanation.peers.len();
    let passing = explanation.peers.iter().filter(|answer| answer.passes).count();
    match (all, passing) {
        (0, _) if explanation.is_audited() => {
            "passes in audit mode; enforced, it would be refused".to_owned()
        }
        (0, _) if explanation.passes => "passes".to_owned(),
        (0, _) => "does not pass".to_owned(),
        (1, 0) => "does not pass for the only peer".to_owned(),
        (1, _) => "passes for the only peer".to_owned(),
        (all, 0) => format!("does not pass for any of {all} peers"),
        (all, passing) if passing == all => format!("passes for all {all} peers"),
        (all, passing) => format!("passes for {passing} of {all} peers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_engine::explain::Step;

    #[test]
    fn the_deciding_step_is_marked() {
        let step = |check: &str, holds, detail: &str| Step {
            check: check.into(),
            holds,
            detail: detail.into(),
        };
        let explanation = Explanation {
            to: "web.shop.svc.beta.example:80".parse().unwrap(),
            steps: vec![
                step("server name", true, "fine"),
                step("exported", false, "no such Service"),
            ],
            peers: Vec::new(),
            passes: false,
            reason: Some("unknown_service".into()),
        };
        let expected = "web.shop.svc.beta.example:80\n  ok  server name  fine\n  NO  exported     no such Service\n=> does not pass: unknown_service\n";
        assert_eq!(text(&explanation, Terminal::PIPE), expected);
    }

    #[test]
    fn a_call_that_passes_only_in_audit_mode_is_told_from_a_granted_one() {
        let passing = |reason: Option<&str>| Explanation {
            to: "web.shop.svc.beta.example:80".parse().unwrap(),
            steps: Vec::new(),
            peers: Vec::new(),
            passes: true,
            reason: reason.map(str::to_owned),
        };
        for (reason, expected) in [
            (Some("granted"), "passes"),
            (None, "passes"),
            (Some("not_granted"), "passes in audit mode; enforced, it would be refused"),
        ] {
            assert_eq!(verdict(&passing(reason)), expected);
        }
    }
}
