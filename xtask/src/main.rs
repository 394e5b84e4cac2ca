//! `cargo xtask`: the project's own commands.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{
    alerts, bench, check, chromium, conformance, dist, envoy, fedgate, fuzz, generate, image,
    machine, native, programs, releases, site, tests, wasm,
};

/// The project's own commands.
///
/// Each command sets up what it needs: it fetches Envoy, installs the wasm target, and builds the
/// filter, the controller and a Kubernetes API server. Downloads and builds that are kept go to
/// .tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what a full run of the checks needs and this machine lacks.
    Machine,
    /// Run three federated clusters on this machine and show in fourteen scenes what fedgate does.
    ///
    /// Arguments are passed to the demo. `--keep` leaves the clusters running and writes
    /// target/demo/demo.json, which lists their addresses and folders. `--compare docs/demo.md`
    /// fails if that page shows another output.
    Demo(More),
    /// Run the tests of the workspace, including one on real Envoys.
    ///
    /// Arguments are passed to `cargo test`, for example `cargo xtask test -- spiffe`.
    Test(More),
    /// Run the end-to-end tests on real Envoys with each of the two filters, then on real
    /// Kubernetes API servers, then on real istiods.
    ///
    /// Without a part, every part runs even if one before it failed, and a summary follows. API
    /// servers and istiods run in network namespaces of their own.
    ///
    /// After a part, an argument selects tests by name, for example
    /// `cargo xtask e2e kubernetes rig`. Several names need `cargo xtask e2e envoy -- -- NAME NAME`
    /// with Envoy, and `cargo xtask e2e kubernetes NAME NAME` otherwise.
    E2e {
        /// Run only this part.
        part: Option<Part>,
        /// With the part envoy: run it on each tested release of Envoy (1.37 to 1.40).
        #[arg(long)]
        versions: bool,
        /// With the part envoy: run it with the native filter, without tests that do not see which
        /// filter there is.
        #[arg(long, conflicts_with = "versions")]
        native: bool,
        /// With --versions: write the outcome into docs/versions.md.
        #[arg(long, requires = "versions")]
        record: bool,
        /// Arguments for the tests.
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Run the benches.
    ///
    /// Without one of the commands below, this runs the criterion benches, and arguments are passed
    /// to `cargo bench`. `--short` alone runs the filter's benches briefly in a debug build, to check
    /// their answers.
    #[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
    Bench {
        /// A measurement on real programs.
        #[command(subcommand)]
        measurement: Option<Measurement>,
        /// Arguments for `cargo bench`, or `--short`.
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Run the fuzz targets briefly, each for two seconds.
    ///
    /// Arguments are the seconds for each target, and the names of targets:
    /// `cargo xtask fuzz 60 token signature`. fuzz/README.md says how to run them with libFuzzer.
    Fuzz(More),
    /// Build the gateway filter and print its path.
    Wasm,
    /// Build the gateway filter as a dynamic module of Envoy and print its path.
    Native,
    /// Fetch Envoy unless ENVOY is set to the path of one, and print its path.
    Envoy,
    /// Fetch Chromium unless CHROMIUM is set to the path of one, and print its path.
    Chromium,
    /// Build kube-apiserver, etcd, kubectl and helm, fetch Istio's CustomResourceDefinitions, and
    /// print their paths.
    ///
    /// This needs Go and takes about 4 minutes on two cores, the first time only. To use existing
    /// binaries, set KUBE_APISERVER, ETCD, KUBECTL and HELM to their paths.
    Kubernetes,
    /// Build istiod, istio-agent and istioctl, and print their paths.
    ///
    /// This needs Go and takes about 4 minutes on two cores, the first time only. To use existing
    /// binaries, set PILOT_DISCOVERY, PILOT_AGENT and ISTIOCTL to their paths.
    Istio,
    /// Build the controller and print its path.
    Fedgate,
    /// Put fedgate, the filter module and Envoy into a folder for the PATH, and print the folder.
    Programs {
        /// The folder. It is created if it does not exist.
        folder: std::path::PathBuf,
    },
    /// Build the files of the container image (a static fedgate and the filter module), and print
    /// their folder.
    ///
    /// This needs musl's C compiler (on Debian and Ubuntu: the package musl-tools).
    ImageFiles,
    /// Make a release in target/dist/VERSION and print the folder.
    ///
    /// It has static programs and native filters for x86_64 and aarch64, the wasm filter, files for
    /// container images, packages for Debian and Helm, manifests, units, a bill of materials,
    /// release notes and checksums. The checksums are signed with the private Ed25519 key (PEM)
    /// that FEDGATE_RELEASE_KEY names.
    ///
    /// The first run fetches zig from PyPI and builds cargo-cyclonedx and helm into .tools.
    Dist {
        /// The tag, which must be the version's, like v0.1.0. Without it, the release notes are
        /// those of the next release.
        #[arg(long)]
        tag: Option<String>,
        /// Make it with the unoptimized programs of this machine, and check all of it.
        #[arg(long, conflicts_with = "tag")]
        check: bool,
        /// Only build the program that writes the bill of materials.
        #[arg(long, conflicts_with_all = ["tag", "check"])]
        install: bool,
    },
    /// Write the generated files: CustomResourceDefinitions from the Rust types, manifests from the
    /// chart.
    ///
    /// The definitions go to deploy/kubernetes and to the chart, the manifests to deploy/kubernetes
    /// and the folders of single features beside it.
    Generate {
        /// Write nothing; fail if a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check that docs/conformance.md says how the tests of the peer protocol ended.
    ///
    /// It reads the outcomes that `cargo xtask test` and `cargo xtask e2e` have left, and fails if a
    /// test of a line has failed or has not run. xtask/src/conformance/protocol.txt names the tests.
    Conformance {
        /// Write the page. A failed or missing test is still a failure.
        #[arg(long)]
        record: bool,
    },
    /// Run the conformance suite of the Multi-Cluster Services API on two clusters.
    ///
    /// It ends well if the suite wrote its report, target/mcs-conformance/report.yaml. docs/mcs.md
    /// says how to build the suite.
    McsConformance {
        /// The suite's program.
        suite: std::path::PathBuf,
    },
    /// Check that every file is formatted.
    Fmt,
    /// Run clippy for the native target and for wasm. A warning is a failure.
    Clippy,
    /// Build the documentation of the code. A warning is a failure.
    Doc,
    /// Check and test the alerts with promtool, and check the dashboards against Grafana's types.
    ///
    /// Each alert needs a test in which it fires, one in which it is silent, and a runbook. The
    /// first run builds promtool into .tools, which needs Go. To use an existing binary, set PROMTOOL
    /// to its path.
    Alerts,
    /// Build the documentation as a site, check its links, and print its folder.
    ///
    /// The first run builds mdBook into .tools, and needs access to crates.io.
    Site {
        /// Only build mdBook.
        #[arg(long)]
        install: bool,
    },
    /// Make the pictures of the operators' page in its documentation again, and print their folder.
    ///
    /// A test visits the views in a real Chromium; all pictures that it makes are in
    /// target/pictures.
    Pictures,
    /// Check the workflow files with actionlint.
    ///
    /// The first run builds actionlint into .tools, which needs Go. To use an existing binary, set
    /// ACTIONLINT to its path.
    Workflows,
    /// Check the licences, sources and bans of the dependencies against deny.toml.
    ///
    /// The first run builds cargo-deny into .tools, and needs access to crates.io. Later runs need
    /// no network as long as cargo has the crates of Cargo.lock.
    Deny {
        /// Only build cargo-deny.
        #[arg(long)]
        install: bool,
    },
}

/// A part of the end-to-end tests.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// Real Envoys; clusters in files mode.
    Envoy,
    /// Real Kubernetes API servers.
    Kubernetes,
    /// Real istiods and istio-agents, on real Kubernetes API servers.
    Istio,
}

/// A measurement on real programs. The figures need a machine that does nothing else.
#[derive(Subcommand)]
enum Measurement {
    /// Compare what fedgate and its alternatives cost a gateway, on real Envoys.
    ///
    /// `--short` takes less than two minutes and fails if a result is outside wide limits. `--rows
    /// 10,1000`, `--rounds 20` and `--connections 300` set the sizes of the table, how often each
    /// variant is measured, and how many connections a measurement has. `--record` writes the
    /// results into docs/performance, `--redraw` draws the recorded ones again, and `--compare
    /// FOLDER` compares with others. `--instructions` counts Envoy's instructions, which needs
    /// Valgrind.
    Envoy(More),
    /// Measure one controller with 2,000 peers. Takes some ten minutes.
    Controller {
        /// Measure briefly, with 200 peers and in a debug build: only the outcome counts.
        #[arg(long)]
        short: bool,
    },
    /// Measure the controller on a real API server.
    ///
    /// Arguments select tests by name (`e2e/tests/load`).
    Kubernetes(More),
    /// Measure what imports cost istiod and a sidecar, and how long a large table takes to a gateway.
    ///
    /// Arguments select tests by name (`e2e/tests/istio/cost.rs`, `cost/delivery.rs`).
    Istio(More),
}

#[derive(clap::Args)]
struct More {
    /// Arguments that are passed on.
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without RUST_BACKTRACE's backtrace: a command failed, and its output says why.
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
        Command::E2e { part: Some(Part::Envoy), versions: true, record, more, .. } => {
            releases::test_each(record, &more)
        }
        Command::E2e { versions: true, .. } => {
            anyhow::bail!("--versions goes with the part envoy: cargo xtask e2e envoy --versions")
        }
        Command::E2e { part: Some(Part::Envoy), native: true, more, .. } => {
            tests::on_envoy_natively(&more)
        }
        Command::E2e { native: true, .. } => {
            anyhow::bail!("--native goes with the part envoy: cargo xtask e2e envoy --native")
        }
        Command::E2e { part: None, .. } => tests::end_to_end(),
        Command::E2e { part: Some(Part::Envoy), more, .. } => tests::on_envoy(&more),
        Command::E2e { part: Some(Part::Kubernetes), more, .. } => tests::on_kubernetes(&more),
        Command::E2e { part: Some(Part::Istio), more, .. } => tests::on_istio(&more),
        Command::Bench { measurement: Some(measurement), .. } => measure(&measurement),
        Command::Bench { more, .. } => match more.as_slice() {
            [short] if short == "--short" => bench::hot_path_in_short(),
            more => bench::hot_path(more),
        },
        Command::Fuzz(More { more }) => fuzz::briefly(&more),
        Command::Wasm => shown(wasm::build()?),
        Command::Native => shown(native::build()?),
        Command::Envoy => shown(envoy::path()?),
        Command::Chromium => shown(chromium::browser()?.program),
        Command::Kubernetes => tests::kubernetes_programs()?.into_iter().try_for_each(shown),
        Command::Istio => tests::istio_programs()?.into_iter().try_for_each(shown),
        Command::Fedgate => shown(fedgate::build()?),
        Command::Programs { folder } => shown(programs::put(&folder)?),
        Command::ImageFiles => shown(image::files()?),
        Command::Dist { install: true, .. } => dist::install().and_then(shown),
        Command::Dist { check: true, .. } => dist::check().and_then(shown),
        Command::Dist { tag, .. } => dist::make(tag.as_deref()).and_then(shown),
        Command::Generate { check: true } => generate::check(),
        Command::Generate { check: false } => generate::write(),
        Command::Conformance { record } => conformance::check(record),
        Command::McsConformance { suite } => tests::mcs_conformance(&suite),
        Command::Fmt => check::fmt(),
        Command::Clippy => check::clippy(),
        Command::Doc => check::doc(),
        Command::Alerts => alerts::check(),
        Command::Site { install: true } => site::mdbook().and_then(shown),
        Command::Site { install: false } => site::build().and_then(shown),
        Command::Pictures => tests::pictures().and_then(shown),
        Command::Workflows => check::workflows(),
        Command::Deny { install: true } => check::cargo_deny().and_then(shown),
        Command::Deny { install: false } => check::deny(),
    }
}

fn measure(measurement: &Measurement) -> Result<()> {
    match measurement {
        Measurement::Envoy(More { more }) => bench::on_envoy(more),
        Measurement::Controller { short: true } => tests::many_peers_in_short(),
        Measurement::Controller { short: false } => tests::many_peers(),
        Measurement::Kubernetes(More { more }) => tests::load(more),
        Measurement::Istio(More { more }) => tests::cost_on_istio(more),
    }
}

fn shown(path: std::path::PathBuf) -> Result<()> {
    println!("{}", path.display());
    Ok(())
}

// Not named `tests`: the library has a module of that name, with commands.
#[cfg(test)]
mod command_line {
    use super::{Cli, Command, Measurement};
    use clap::error::ErrorKind;
    use clap::{CommandFactory, Parser};

    fn parsed(line: &str) -> Result<Command, ErrorKind> {
        let words = line.split(' ');
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.kind())
    }

    /// clap's own check, which otherwise runs only when a wrongly defined command is used.
    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Commands take minutes, so a question about one must not start it.
    #[test]
    fn help_starts_nothing() {
        fn lines(command: &clap::Command, line: &str, all: &mut Vec<String>) {
            all.push(line.to_owned());
            for below in command.get_subcommands() {
                lines(below, &format!("{line} {}", below.get_name()), all);
            }
        }
        let mut all = Vec::new();
        lines(&Cli::command(), "xtask", &mut all);
        all.extend(["envoy", "kubernetes", "istio"].map(|part| format!("xtask e2e {part}")));
        assert!(all.len() > 30, "{all:?}");
        for line in all {
            for flag in ["--help", "-h"] {
                let error = parsed(&format!("{line} {flag}")).err();
                assert_eq!(error, Some(ErrorKind::DisplayHelp), "{line} {flag}");
            }
        }
    }

    #[test]
    fn a_measurement_hands_its_arguments_on() {
        let command = parsed("xtask bench envoy --short");
        let Ok(Command::Bench { measurement: Some(Measurement::Envoy(passed_on)), .. }) = command
        else {
            panic!("not passed on");
        };
        assert_eq!(passed_on.more, ["--short"]);
    }

    #[test]
    fn all_other_arguments_are_those_of_cargo_bench() {
        for (line, expected) in [
            ("xtask bench --short", vec!["--short"]),
            ("xtask bench --bench decision", vec!["--bench", "decision"]),
            ("xtask bench -- -- --save-baseline base", vec!["--", "--save-baseline", "base"]),
        ] {
            let command = parsed(line);
            let Ok(Command::Bench { measurement: None, more }) = command else {
                panic!("{line}");
            };
            assert_eq!(more, expected, "{line}");
        }
        assert_eq!(parsed("xtask bench controller --slow").err(), Some(ErrorKind::UnknownArgument));
    }
}
