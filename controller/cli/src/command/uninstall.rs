use super::Outcome;
use super::target::Kubernetes;
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::inspect::uninstall::{Options, uninstall};

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Delete the Secret fedgate-identity as well: a fedgate that is installed later is another cluster to the peers
    #[arg(long)]
    identity: bool,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// The namespace of the gateway [default: what the controller wrote down, else fedgate's own]
    #[arg(long, env = "FEDGATE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    gateway_namespace: Option<String>,
    /// The namespace of imports [default: what the controller wrote down, else fedgate's own]
    #[arg(long, env = "FEDGATE_IMPORTS_NAMESPACE", value_name = "NAMESPACE")]
    imports_namespace: Option<String>,
    /// The mesh's root namespace [default: what the controller wrote down, else istio-system]
    #[arg(long, env = "FEDGATE_ROOT_NAMESPACE", value_name = "NAMESPACE")]
    root_namespace: Option<String>,
    #[command(flatten)]
    cluster: Kubernetes,
}

impl Uninstall {
    pub(super) fn run(self) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = Options { identity: self.identity, dry_run: self.dry_run };
        let outcome = runtime.block_on(async {
            let client = self.cluster.client().await?;
            let places = self.cluster.places(&client).await;
            let places = places.moved(self.gateway_namespace, self.imports_namespace, self.root_namespace);
            uninstall(&client, &places, options, &mut |step| println!("{step}")).await
        })?;
        match (outcome.deleted, self.dry_run) {
            (0, _) if outcome.left.is_empty() => println!("nothing of fedgate's is left in the cluster"),
            (deleted, true) => println!("{deleted} objects would be deleted"),
            (deleted, false) => println!("{deleted} objects deleted"),
        }
        outcome.left.iter().for_each(|left| eprintln!("error: not deleted: {left}"));
        Ok(if outcome.left.is_empty() { Outcome::Well } else { Outcome::Finding })
    }
}
