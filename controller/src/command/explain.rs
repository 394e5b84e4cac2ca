use super::ask::ask;
use super::target::{Platform, Target};
use super::{Folder, Outcome, Output};
use crate::explain::{Caller, Explanation, Question};
use anyhow::Result;
use clap::Args;
use fedgate_core::{PeerName, ServiceName};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The service that is called
    #[arg(long, value_name = "HOST:PORT")]
    to: ServiceName,
    /// The SPIFFE ID of the workload that calls
    #[arg(long, value_name = "SPIFFE-ID", conflicts_with = "peer")]
    from: Option<String>,
    /// The peer that calls, by the name of its IstioFederation
    #[arg(long, value_name = "NAME")]
    peer: Option<PeerName>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Explain {
    pub(super) fn run(self) -> Result<Outcome> {
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
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&explanation)?),
            Output::Text => print!("{}", text(&explanation)),
        }
        Ok(if explanation.passes { Outcome::Well } else { Outcome::Finding })
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

fn text(explanation: &Explanation) -> String {
    let width = explanation.steps.iter().map(|step| step.check.len()).max().unwrap_or_default();
    let mut out = format!("{}\n", explanation.to);
    for step in &explanation.steps {
        let mark = if step.holds { "ok " } else { "NO " };
        out += &format!("  {mark} {:width$}  {}\n", step.check, step.detail);
    }
    let verdict = if explanation.passes { "passes" } else { "does not pass" };
    match &explanation.reason {
        Some(reason) => out + &format!("=> {verdict}: {reason}\n"),
        None => out + &format!("=> {verdict}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Step;

    #[test]
    fn the_deciding_step_stands_out() {
        let step = |check: &str, holds, detail: &str| Step { check: check.into(), holds, detail: detail.into() };
        let explanation = Explanation {
            to: "web.shop.svc.beta.example:80".parse().unwrap(),
            steps: vec![step("server name", true, "fine"), step("exported", false, "no such Service")],
            passes: false,
            reason: Some("unknown_service".into()),
        };
        let expected = "web.shop.svc.beta.example:80\n  ok  server name  fine\n  NO  exported     no such Service\n=> does not pass: unknown_service\n";
        assert_eq!(text(&explanation), expected);
    }
}
