//! The command line.

// These macros replace those of the standard library, which panic when the reader is gone.
macro_rules! print {
    ($($text:tt)*) => { $crate::command::out::print(format_args!($($text)*)) };
}
macro_rules! println {
    ($($text:tt)*) => { $crate::command::out::print(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::command::out::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

mod ask;
mod changes;
mod check;
mod completions;
mod controller;
mod copy_filter;
mod crd;
mod dns;
mod envoys;
mod explain;
mod http;
mod keygen;
mod man;
mod names;
pub(crate) mod out;
mod peer;
mod run;
mod source;
mod status;
mod support_bundle;
mod table;
mod target;
mod top;
mod ui;
mod uninstall;
mod validate;

use crate::terminal::{ColorChoice, Terminal};
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use fedgate_process::logging::LogFormat;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Joins the Istio meshes of independent clusters into a federation.
#[derive(Debug, Parser)]
#[command(name = "fedgate", version, max_term_width = 100)]
pub struct Cli {
    /// When to use colours: auto (on a terminal), always or never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true,
        display_order = 900
    )]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller on a cluster's folder
    #[command(after_help = "Example:\n  fedgate run --dir /etc/fedgate")]
    Run(run::Run),
    /// Run the controller on Kubernetes
    #[command(
        after_help = "Example:\n  fedgate controller --trust-domain alpha.example --metadata-tls /etc/fedgate/tls\n\nEach flag has an environment variable. The API server is found by KUBECONFIG, ~/.kube/config or the pod's service account."
    )]
    Controller(Box<controller::Controller>),
    /// Answer DNS questions for the names of imports, on Kubernetes
    #[command(
        after_help = "Example:\n  fedgate dns --namespace fedgate-system\n\nThe chart runs it (dns.enabled) behind the Service fedgate-dns, to which the cluster's DNS forwards the peers' zones."
    )]
    Dns(dns::Dns),
    /// Check a cluster's folder without running anything
    #[command(
        after_help = "Example:\n  fedgate validate /etc/fedgate\n\nExits with 1 when there is an error."
    )]
    Validate(validate::Validate),
    /// Show a cluster's peers, imports, exports and findings
    #[command(
        after_help = "Examples:\n  fedgate status --context alpha\n  fedgate status --dir /etc/fedgate --watch\n  fedgate status --wait --timeout 10m beta\n\nExits with 1 when a peer is not ready or something is in error."
    )]
    Status(status::StatusCommand),
    /// Check that a Kubernetes cluster has all that fedgate needs, with a hint for each failure
    #[command(
        after_help = "Examples:\n  fedgate check --context alpha\n  fedgate check --from-peer --context alpha\n  fedgate check --from-peer beta --dir /etc/fedgate\n\nExits with 1 when a line fails, and with 0 when there are only warnings."
    )]
    Check(check::CheckCommand),
    /// Show what changed when: roots, keys, peers, exports, grants, conditions
    #[command(
        after_help = "Examples:\n  fedgate changes --context alpha\n  fedgate changes beta roots --context alpha\n  fedgate changes --dir /etc/fedgate --limit 500 --output json\n\nThe controller keeps the latest 500. Exits with 1 when they cannot be read."
    )]
    Changes(changes::ChangesCommand),
    /// Explain step by step why a call passes or not
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(explain::Explain),
    /// Show the table that a cluster's gateway is given, or one from a file
    #[command(
        after_help = "Examples:\n  fedgate table --context alpha\n  fedgate table --dir /etc/fedgate\n  fedgate table envoy/gateway/filter/filter.json --host web.shop.svc.beta.example"
    )]
    Table(table::TableCommand),
    /// Show the names of imports with their addresses, also as lines of /etc/hosts or for CoreDNS
    #[command(
        after_help = "Examples:\n  fedgate names --context alpha\n  fedgate names --context alpha --output corefile\n  fedgate names --dir /etc/fedgate --output hosts\n\nExits with 1 when a name has no address, or, in files mode, when nothing listens there."
    )]
    Names(names::NamesCommand),
    /// Open the operators' page of a cluster in the browser
    #[command(
        after_help = "Examples:\n  fedgate ui --dir /etc/fedgate\n  kubectl fedgate ui --context alpha\n\nThe page is on loopback only and changes nothing. In files mode the controller serves it. On Kubernetes this command does, and shows what your kubeconfig may read."
    )]
    Ui(ui::UiCommand),
    /// Approve a peer's new roots, key or UUID
    Peer(peer::PeerCommand),
    /// Generate the key that signs requests and documents for peers
    #[command(after_help = "Example:\n  fedgate keygen --out authn.key")]
    Keygen(keygen::Keygen),
    /// Copy the native filter into a folder, from which the gateway loads it
    #[command(
        after_help = "Example:\n  fedgate copy-filter /etc/fedgate/native\n\nThe chart runs it in the gateway's Pod before Envoy starts (delivery: DynamicModule)."
    )]
    CopyFilter(copy_filter::CopyFilter),
    /// Delete everything that the controller has written to a Kubernetes cluster, and nothing else
    #[command(
        after_help = "Example:\n  fedgate uninstall --context alpha\n\nA running controller stops writing meanwhile. Stop it within ten seconds of the end, or it writes everything again.\nExits with 1 when something could not be deleted."
    )]
    Uninstall(uninstall::Uninstall),
    /// Show connections, refusals and bytes by peer and service, live
    #[command(
        after_help = "Examples:\n  fedgate top --context alpha\n  fedgate top --dir /etc/fedgate --once --output json\n\nThe counters are those of the gateway's Envoys since they started, in files mode also of the egress Envoy. Exits with 1 when one of them does not answer."
    )]
    Top(top::Top),
    /// Collect what a bug report needs into one file, without secrets
    #[command(
        after_help = "Examples:\n  fedgate support-bundle --context alpha\n  fedgate support-bundle --dir /etc/fedgate --log /var/log/envoy/gateway.log\n\nIt contains names and addresses of your clusters, so look through it before you send it."
    )]
    SupportBundle(support_bundle::SupportBundle),
    /// Print the completions for a shell
    #[command(
        after_help = "Examples:\n  source <(fedgate completions bash)\n  fedgate completions zsh > ~/.zfunc/_fedgate\n  fedgate completions fish > ~/.config/fish/completions/fedgate.fish"
    )]
    Completions(completions::Completions),
    /// Write the manual pages into a folder
    #[command(
        after_help = "Examples:\n  fedgate man /usr/local/share/man/man1\n  fedgate man pages && man -l pages/fedgate-status.1"
    )]
    Man(man::ManPages),
    /// Print a CustomResourceDefinition
    #[command(hide = true)]
    Crd(crd::Crd),
}

const EXPLAIN_EXAMPLES: &str = "Examples:
  May this workload of a peer reach our service?
    fedgate explain --to web.shop.svc.beta.example:80 --from spiffe://alpha.example/ns/shop/sa/cart
  May the peer gamma reach it at all?
    fedgate explain --to web.shop.svc.beta.example:80 --peer gamma
  Which peers may reach it?
    fedgate explain --to web.shop.svc.beta.example:80
  How do calls from here get to a peer's service?
    fedgate explain --to stock.shop.svc.gamma.example:80

Exits with 1 when the call does not pass; without --from and --peer, when it passes for no peer.";

/// A cluster's folder.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// Folder of the cluster, with fedgate.yaml
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people; on a terminal it fits the width
    #[default]
    Text,
    /// For people, with more columns where there are more, and never wrapped
    Wide,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

impl Output {
    /// Returns true if programs read it.
    fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }

    /// The value as a document, if that is the format.
    fn of<T: Serialize>(self, value: &T) -> Result<Option<String>> {
        Ok(match self {
            Self::Text | Self::Wide => None,
            Self::Json => Some(serde_json::to_string_pretty(value)? + "\n"),
            Self::Yaml => Some(serde_saphyr::to_string(value)?),
        })
    }

    /// How wide a text may be, and whether it has all columns.
    fn layout(self, terminal: Terminal) -> (Terminal, bool) {
        match self {
            Self::Wide => (terminal.unlimited(), true),
            _ => (terminal, false),
        }
    }
}

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// All is well.
    Success,
    /// The command worked and has found a problem.
    Finding,
}

/// The name by which `kubectl` finds its plugin.
const PLUGIN: &str = "kubectl-fedgate";

/// Returns true if `kubectl fedgate …` started this program, through a link of that name.
fn is_kubectl_plugin() -> bool {
    let program = std::env::args_os().next().map(PathBuf::from);
    program.is_some_and(|program| program.file_stem().is_some_and(|name| name == PLUGIN))
}

impl Cli {
    /// Reads the command line. Wrong use ends the program with status 2.
    pub fn read() -> Self {
        let mut command = match is_kubectl_plugin() {
            true => Self::command().name(PLUGIN).bin_name("kubectl fedgate"),
            false => Self::command(),
        };
        let read = Self::from_arg_matches(&command.clone().get_matches());
        let cli = read.unwrap_or_else(|error| error.exit());
        if let Command::Check(check) = &cli.command
            && let Err(misuse) = check.misuse()
        {
            command.error(ErrorKind::ArgumentConflict, misuse).exit();
        }
        cli
    }

    /// Runs the command. Exit status 0: all is well; 1: a finding or an error. Wrong use (2) ends
    /// in [`Cli::read`].
    pub fn run(self) -> ExitCode {
        let terminal = Terminal::of_stdout(self.color);
        let outcome = match self.command {
            Command::Run(command) => command.run(),
            Command::Controller(command) => command.run(),
            Command::Dns(command) => command.run(),
            Command::Validate(command) => command.run(terminal),
            Command::Status(command) => command.run(terminal),
            Command::Check(command) => command.run(terminal),
            Command::Changes(command) => command.run(terminal),
            Command::Explain(command) => command.run(terminal),
            Command::Table(command) => command.run(terminal),
            Command::Names(command) => command.run(terminal),
            Command::Ui(command) => command.run(),
            Command::Peer(command) => command.run(),
            Command::Keygen(command) => command.run(),
            Command::CopyFilter(command) => command.run(),
            Command::Uninstall(command) => command.run(),
            Command::Top(command) => command.run(terminal),
            Command::SupportBundle(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
            Command::Crd(command) => command.run(),
        };
        match outcome {
            Ok(ExitStatus::Success) => ExitCode::SUCCESS,
            Ok(ExitStatus::Finding) => ExitCode::from(1),
            Err(error) => {
                eprintln!("error: {}", fedgate_process::words::chain(&error));
                ExitCode::from(1)
            }
        }
    }
}

/// Log format of a long-running command.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Log format
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Takes the name of a file to be made. What a `-` would make is a file of this name, and no output.
fn new_file(path: PathBuf) -> Result<PathBuf, &'static str> {
    match path.as_os_str() == "-" {
        true => Err("expected the name of a new file; ./- would be one, standard output is not"),
        false => Ok(path),
    }
}
