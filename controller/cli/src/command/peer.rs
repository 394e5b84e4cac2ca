use super::ask::ask;
use super::target::{Platform, Target};
use super::{ExitStatus, Folder};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use fedgate_engine::status::{PeerStatus, Status};
use fedgate_federation::document::TrustId;
use fedgate_federation::knowledge::HeldTrust;
use fedgate_federation::object::APPROVE_ANNOTATION;
use fedgate_kubernetes::inspect::approve::approve;
use std::fmt::Write;

#[derive(Debug, Args)]
pub(crate) struct PeerCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a peer's new roots, key or UUID that are held, and let them take effect
    #[command(
        after_help = "Examples:\n  fedgate peer approve beta --dry-run\n  fedgate peer approve beta --context alpha\n\nCompare the fingerprints with the peer's operator first. In files mode it prints what to write into the manifest.\nExits with 1 when nothing of the peer is held, or it cannot be approved."
    )]
    Approve(Approve),
}

#[derive(Debug, Args)]
struct Approve {
    /// Name of the peer's IstioFederation
    name: String,
    /// Approve only if exactly this is held [default: what is held now]
    #[arg(long, value_name = "ID", value_parser = TrustId::parse)]
    id: Option<TrustId>,
    /// Show what is held, without approving it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

impl PeerCommand {
    pub(super) fn run(self) -> Result<ExitStatus> {
        match self.action {
            Action::Approve(approve) => approve.run(),
        }
    }
}

impl Approve {
    fn run(self) -> Result<ExitStatus> {
        match self.target.platform() {
            Platform::Files(folder) => self.in_files(&folder),
            Platform::Kubernetes(cluster) => {
                let status = cluster.snapshot()?.status();
                let Some(held) = self.held(&status)? else { return Ok(ExitStatus::Finding) };
                if !self.dry_run {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(async {
                        approve(&cluster.client().await?, &self.name, held.id).await
                    })?;
                    println!(
                        "\napproved; it takes effect when the controller has asked the peer again"
                    );
                }
                Ok(ExitStatus::Success)
            }
        }
    }

    /// A manifest is its operator's: it may have comments, or come from elsewhere. So it is not
    /// written here.
    fn in_files(&self, folder: &Folder) -> Result<ExitStatus> {
        let status: Status = ask(folder, "/status", &[])?;
        let Some(held) = self.held(&status)? else { return Ok(ExitStatus::Finding) };
        if !self.dry_run {
            let peer = peer(&status, &self.name)?;
            let manifest = peer.source.as_deref().unwrap_or("the manifest");
            println!(
                "\nto approve it, write this into the IstioFederation {} ({manifest}):\n",
                self.name
            );
            println!("metadata:\n  annotations:\n    {APPROVE_ANNOTATION}: \"{}\"", held.id);
        }
        Ok(ExitStatus::Success)
    }

    /// Shows what is held. Returns it if it can be approved.
    fn held<'s>(&self, status: &'s Status) -> Result<Option<&'s HeldTrust>> {
        let Some(held) = &peer(status, &self.name)?.held_trust else {
            println!("nothing of the peer {} is held", self.name);
            return Ok(None);
        };
        print!("{}", describe(&self.name, held));
        if !held.approvable {
            println!(
                "\nit cannot be approved: correct the pins in the annotations of its IstioFederation"
            );
            return Ok(None);
        }
        if let Some(id) = self.id.filter(|id| *id != held.id) {
            bail!("expected {id} to be held, found {}; compare it again", held.id);
        }
        Ok(Some(held))
    }
}

fn peer<'s>(status: &'s Status, name: &str) -> Result<&'s PeerStatus> {
    status.peers.iter().find(|peer| peer.name == name).with_context(|| {
        let names: Vec<_> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
        match names.is_empty() {
            true => format!("expected a peer {name}, found no peer"),
            false => format!("expected a peer {name}, found {}", names.join(", ")),
        }
    })
}

fn describe(name: &str, held: &HeldTrust) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "held of the peer {name} since {:.0}, because {}", held.since, held.why);
    let _ = writeln!(out, "  change  {}", held.change);
    let _ = writeln!(out, "  id      {}", held.id);
    let _ = writeln!(out, "  uuid    {}", held.cluster_uuid);
    let _ = writeln!(out, "  key     {}", held.key);
    for root in &held.roots {
        let known = if root.known { "known" } else { "NEW" };
        let _ = writeln!(
            out,
            "  root    {}  {known}, valid until {}, {}",
            root.fingerprint, root.not_after, root.subject
        );
    }
    out
}
