use super::ExitStatus;
use super::target::Kubernetes;
use crate::terminal::progress::Progress;
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::inspect::uninstall::{Options, Step, uninstall};
use std::cell::RefCell;

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Also delete the Secret fedgate-identity: to peers, a later installation is another cluster
    #[arg(long)]
    identity: bool,
    /// Print what would be deleted, without deleting it
    #[arg(long)]
    dry_run: bool,
    /// Namespace of the gateway [default: as recorded by the controller, else fedgate's own]
    #[arg(long, env = "FEDGATE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    gateway_namespace: Option<String>,
    /// Namespace of imports [default: as recorded by the controller, else fedgate's own]
    #[arg(long, env = "FEDGATE_IMPORTS_NAMESPACE", value_name = "NAMESPACE")]
    imports_namespace: Option<String>,
    /// Root namespace of the mesh [default: as recorded by the controller, else istio-system]
    #[arg(long, env = "FEDGATE_ROOT_NAMESPACE", value_name = "NAMESPACE")]
    root_namespace: Option<String>,
    #[command(flatten)]
    cluster: Kubernetes,
}

impl Uninstall {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = Options { identity: self.identity, dry_run: self.dry_run };
        let outcome = runtime.block_on(async {
            let client = self.cluster.client().await?;
            let namespaces = self.cluster.namespaces(&client).await;
            let namespaces = namespaces.overridden(
                self.gateway_namespace,
                self.imports_namespace,
                self.root_namespace,
            );
            let progress = RefCell::new(Progress::start());
            let mut report = |step: Step| match step {
                Step::Said(line) => {
                    progress.borrow_mut().clear();
                    println!("{line}");
                }
                Step::Done { done, all } => progress.borrow_mut().count(done, all),
            };
            let step = uninstall(&client, &namespaces, options, &mut report);
            Progress::during(&progress, "uninstalling", step).await
        })?;
        match (outcome.deleted, self.dry_run) {
            (0, _) if outcome.left.is_empty() => {
                println!("nothing of fedgate's is left in the cluster")
            }
            (deleted, true) => println!("{deleted} objects would be deleted"),
            (deleted, false) => println!("{deleted} objects deleted"),
        }
        outcome.left.iter().for_each(|left| eprintln!("error: not deleted: {left}"));
        Ok(if outcome.left.is_empty() { ExitStatus::Success } else { ExitStatus::Finding })
    }
}
