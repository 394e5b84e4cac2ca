//! `cargo xtask`: the project's own commands.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{check, envoy, fedgate, generate, image, machine, programs, tests, wasm};

/// The project's own commands. Each does all the set-up that it needs: it fetches Envoy, installs the wasm target and
/// builds the filter, the controller and a Kubernetes API server.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what a whole run of the checks needs and this machine lacks.
    Machine,
    /// Run three federated clusters on this machine and show what fedgate does, in eleven scenes.
    ///
    /// Options are passed on: `--keep` leaves the clusters running and writes target/demo/demo.json, which says where
    /// everything is.
    Demo(More),
    /// Run the tests of the workspace, one of those on real Envoys included.
    ///
    /// Further words go to `cargo test`, for example `cargo xtask test -- spiffe`.
    Test(More),
    /// Run the end-to-end tests: on real Envoys, then on real Kubernetes API servers and on real istiods in networks of their own.
    ///
    /// All parts run, also after one that has failed, and a summary is at the end.
    ///
    /// After the name of a part, a further word picks tests by name, for example `cargo xtask e2e kubernetes rig`.
    E2e {
        /// Only this part.
        part: Option<Part>,
        /// Words that are passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Run the benches. Further words go to `cargo bench`; `cargo xtask bench kubernetes` measures the controller on a real API
    /// server, `cargo xtask bench istio` what imports cost istiod and a sidecar.
    Bench(More),
    /// Build the gateway filter and print where it is.
    Wasm,
    /// Fetch Envoy unless ENVOY points at one, and print where it is.
    Envoy,
    /// Build kube-apiserver, etcd, kubectl and helm, fetch Istio's definitions, and print where they are.
    ///
    /// It takes 10 minutes on two cores, once, and needs Go. KUBE_APISERVER, ETCD, KUBECTL and HELM may point at ready
    /// binaries.
    Kubernetes,
    /// Build istiod, istio-agent and istioctl, and print where they are.
    ///
    /// It takes 8 minutes on two cores, once, and needs Go. PILOT_DISCOVERY, PILOT_AGENT and ISTIOCTL may point at ready
    /// binaries.
    Istio,
    /// Build the controller and print where it is.
    Fedgate,
    /// Put fedgate, the filter's module and Envoy in a folder for the PATH, and print it.
    Programs {
        /// The folder; it is made when it is missing.
        folder: std::path::PathBuf,
    },
    /// Build what the container image is made of, a static fedgate and the filter's module, and print the folder.
    ///
    /// It needs musl's C compiler (Debian and Ubuntu: the package musl-tools).
    ImageFiles,
    /// Write the files that are made from others: the CustomResourceDefinitions from the Rust types, for the chart and for
    /// deploy/kubernetes, and the manifests in deploy/kubernetes from the chart.
    Generate {
        /// Write nothing; fail when a file is not what it would be.
        #[arg(long)]
        check: bool,
    },
    /// Check that every file is formatted.
    Fmt,
    /// Run clippy, for the native target and the filter's; any warning fails.
    Clippy,
    /// Build the documentation; any warning fails.
    Doc,
    /// Check licenses, sources and duplicates of the dependencies (deny.toml), offline.
    Deny {
        /// Only build cargo-deny, once, into .tools.
        #[arg(long)]
        install: bool,
    },
}

/// A part of the end-to-end tests.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// Real Envoys, clusters from folders.
    Envoy,
    /// Real Kubernetes API servers.
    Kubernetes,
    /// Real istiods and istio-agents on real Kubernetes API servers.
    Istio,
}

/// Words that are passed on.
#[derive(clap::Args)]
struct More {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that RUST_BACKTRACE would add: what failed is a command, and it has said why.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Machine => machine::check(),
        Command::Demo(More { more }) => tests::demo(&more),
        Command::Test(More { more }) => tests::workspace(&more),
        Command::E2e { part: None, .. } => tests::end_to_end(),
        Command::E2e { part: Some(Part::Envoy), more } => tests::on_envoy(&more),
        Command::E2e { part: Some(Part::Kubernetes), more } => tests::on_kubernetes(&more),
        Command::E2e { part: Some(Part::Istio), more } => tests::on_istio(&more),
        Command::Bench(More { more }) => match more.split_first() {
            Some((first, rest)) if first == "kubernetes" => tests::load(rest),
            Some((first, rest)) if first == "istio" => tests::cost_on_istio(rest),
            _ => tests::bench(&more),
        },
        Command::Wasm => shown(wasm::build()?),
        Command::Envoy => shown(envoy::path()?),
        Command::Kubernetes => tests::kubernetes_programs()?.into_iter().try_for_each(shown),
        Command::Istio => tests::istio_programs()?.into_iter().try_for_each(shown),
        Command::Fedgate => shown(fedgate::build()?),
        Command::Programs { folder } => shown(programs::put(&folder)?),
        Command::ImageFiles => shown(image::files()?),
        Command::Generate { check: true } => generate::check(),
        Command::Generate { check: false } => generate::write(),
        Command::Fmt => check::fmt(),
        Command::Clippy => check::clippy(),
        Command::Doc => check::doc(),
        Command::Deny { install: true } => check::cargo_deny().and_then(shown),
        Command::Deny { install: false } => check::deny(),
    }
}

fn shown(path: std::path::PathBuf) -> Result<()> {
    println!("{}", path.display());
    Ok(())
}
