//! Commands that run the project: tests, the demo, and measurements of the controller and on Istio.

use crate::results::{run_some, run_tests};
use crate::{
    cargo, chromium, coredns, envoy, fedgate, helm, istio, kubernetes, mcs, native, network,
    previous, prometheus, recipes, root, run, spiffe, target, wasm,
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The features of all end-to-end tests together, so that switching between parts recompiles
/// nothing.
const END_TO_END: [&str; 2] =
    ["--features", "fedgate-e2e/real-envoy,fedgate-e2e/kubernetes,fedgate-e2e/istio"];

/// The number of concurrent tests with API servers: each uses one to three, at 350 MB including
/// etcd.
const KUBERNETES_TESTS_AT_ONCE: &str = "4";

/// The number of concurrent tests with meshes: each has two or three, with an istiod and some
/// Envoys each.
const ISTIO_TESTS_AT_ONCE: &str = "2";

/// All tests of the workspace, and one end-to-end test. The others are [`on_envoy`],
/// [`on_kubernetes`] and [`on_istio`].
///
/// # Errors
/// When something cannot be built or fetched, or a test fails.
pub fn workspace(more: &[String]) -> Result<()> {
    prepare(&["fedgate"])?;
    step("running the tests");
    run_part("workspace", more, || {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        command
    })
}

/// A part of the end-to-end tests, which takes arguments for the tests.
type Part = fn(&[String]) -> Result<()>;

/// All end-to-end tests, part by part. After a failed part the next one still runs.
///
/// # Errors
/// When a part has failed, after all have run.
pub fn end_to_end() -> Result<()> {
    let parts: [(&str, Part); 4] = [
        ("envoy", on_envoy),
        ("native", on_envoy_natively),
        ("kubernetes", on_kubernetes),
        ("istio", on_istio),
    ];
    let mut failed = Vec::new();
    let mut summary = String::new();
    for (name, part) in parts {
        let start = Instant::now();
        let result = part(&[]);
        let verdict = result
            .as_ref()
            .map_or_else(|error| format!("FAILED: {error:#}"), |()| "passed".to_owned());
        summary.push_str(&format!(
            "\nxtask: {name:<10} {:>5} s  {verdict}",
            start.elapsed().as_secs()
        ));
        failed.extend(result.err().map(|_| name));
    }
    eprintln!("xtask: parts of the end-to-end tests:{summary}");
    anyhow::ensure!(
        failed.is_empty(),
        "these parts of the end-to-end tests failed: {}",
        failed.join(", ")
    );
    Ok(())
}

/// The tests on real Envoys.
///
/// # Errors
/// When something cannot be built or fetched, or a test fails.
pub fn on_envoy(more: &[String]) -> Result<()> {
    prepare(&["fedgate"])?;
    step("looking for Chromium");
    chromium::browser()?;
    step("building the controller and the filter of the previous release");
    previous::filter()?;
    previous::fedgate()?;
    step("running the end-to-end tests on Envoy");
    // A DKP peer, the operators' page and the shells see nothing of the filter, so these run once.
    run_part("envoy", more, || {
        let mut command = envoy_tests();
        command.args(["--test", "dkp", "--test", "page", "--test", "shells"]);
        command
    })
}

/// Makes the pictures of the operators' page again: a test visits its views in Chromium.
///
/// # Errors
/// When something cannot be built or fetched, or the test fails.
pub fn pictures() -> Result<PathBuf> {
    prepare(&["fedgate"])?;
    chromium::browser()?;
    let made = target().join("pictures");
    let _ = std::fs::remove_dir_all(&made);
    step("visiting the views of the operators' page");
    let mut command = cargo();
    command.args(["test", "--workspace", "--test", "page"]).args(END_TO_END);
    run(command.arg("every_view_says").env("PAGE_PICTURES", &made))?;
    let docs = root().join("docs");
    let page = std::fs::read_to_string(docs.join("operators-page.md"))?;
    // The test makes more pictures than the page has.
    for rest in page.split("](").skip(1).filter(|rest| rest.starts_with("operators-page/")) {
        let name = rest.split(')').next().unwrap_or_default();
        let file = made.join(name.trim_start_matches("operators-page/"));
        std::fs::copy(&file, docs.join(name))
            .with_context(|| format!("the test has not made {}", file.display()))?;
    }
    Ok(docs.join("operators-page"))
}

/// Modules of tests that do not see which filter a gateway has: what the egress does, and the exchange
/// of metadata. They run once, with the wasm filter.
const OF_NO_FILTER: [&str; 9] = [
    "failover::",
    "failover_load::",
    "gateways::",
    "health_checks::",
    "http_proxy::",
    "ingress::",
    "members::",
    "peers::",
    "zones::",
];

/// The same tests, with the filter as a dynamic module, without those that do not see it.
///
/// # Errors
/// When something cannot be built or fetched, or a test fails.
pub fn on_envoy_natively(more: &[String]) -> Result<()> {
    prepare(&["fedgate"])?;
    step("building the native filter, with and without panics for tests");
    native::build()?;
    native::build_panicking()?;
    step("running the end-to-end tests on Envoy with the native filter");
    let natively = || {
        let mut command = envoy_tests();
        command.env(native::CHOICE, "native");
        command
    };
    if !more.is_empty() {
        return run(natively().args(more));
    }
    let skipped: Vec<_> = OF_NO_FILTER.iter().flat_map(|module| ["--skip", *module]).collect();
    run_tests("native", |arguments| {
        let mut command = natively();
        command.arg("--").args(&skipped).args(arguments);
        Ok(command)
    })
}

/// Runs tests by Cargo: all of a part, or those that `more` chooses.
fn run_part(part: &str, more: &[String], command: impl Fn() -> Command) -> Result<()> {
    if !more.is_empty() {
        return run_some(part, command().args(more));
    }
    run_tests(part, |arguments| {
        let mut command = command();
        command.arg("--").args(arguments);
        Ok(command)
    })
}

/// Runs the test of two clusters with this module as the native filter.
pub(crate) fn smoke_natively(module: &Path) -> Result<()> {
    prepare(&["fedgate"])?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--test", "smoke"]).args(END_TO_END);
    run(native::test_with(&mut command, module))
}

/// The command that runs the tests on real Envoys.
pub(crate) fn envoy_tests() -> Command {
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--test", "smoke", "--test", "real_envoy"])
        .args(END_TO_END);
    command
}

/// The tests on real Kubernetes API servers.
///
/// # Errors
/// When something cannot be built, fetched or started, or a test fails.
pub fn on_kubernetes(more: &[String]) -> Result<()> {
    step("looking for kube-apiserver, etcd, kubectl, helm and Istio's CustomResourceDefinitions");
    for file in kubernetes_programs()? {
        eprintln!("xtask: {}", file.display());
    }
    step("looking for Chromium");
    chromium::browser()?;
    step("building the controller and the tests");
    fedgate::build_binaries(&["fedgate"])?;
    in_network("kubernetes", KUBERNETES_TESTS_AT_ONCE, more)
}

/// The tests on real istiods and istio-agents.
///
/// # Errors
/// When something cannot be built, fetched or started, or a test fails.
pub fn on_istio(more: &[String]) -> Result<()> {
    prepare_istio()?;
    in_network("istio", ISTIO_TESTS_AT_ONCE, more)
}

fn prepare_istio() -> Result<()> {
    step("looking for kube-apiserver, etcd, kubectl, helm, istiod and istio-agent");
    for file in kubernetes_programs()?.into_iter().chain(istio_programs()?) {
        eprintln!("xtask: {}", file.display());
    }
    prepare(&["fedgate"])?;
    step("building the native filter");
    native::build().map(drop)
}

/// Measures what imports cost istiod and a sidecar.
///
/// # Errors
/// When something cannot be built, fetched or started.
pub fn cost_on_istio(more: &[String]) -> Result<()> {
    prepare_istio()?;
    step("building the optimized controller");
    fedgate::build_optimized()?;
    let mut command = isolated_tests("istio", "1")?;
    command.env(fedgate::OPTIMIZED, "1").args(["--ignored", "--nocapture"]);
    run(command.args(more))
}

/// Runs a test target in a network namespace. It is killed with this process.
fn in_network(target: &str, at_once: &str, more: &[String]) -> Result<()> {
    if !more.is_empty() {
        return run_some(target, isolated_tests(target, at_once)?.args(more));
    }
    run_tests(target, |arguments| {
        let mut command = isolated_tests(target, at_once)?;
        command.args(arguments);
        Ok(command)
    })
}

/// The command that runs a test target in a network namespace.
fn isolated_tests(target: &str, at_once: &str) -> Result<Command> {
    let tests = test_binary(target)?;
    step(&format!("running the end-to-end tests: {target}"));
    let mut command = network::isolated(tests.as_os_str())?;
    command.current_dir(root().join("e2e")).env("CARGO_NET_OFFLINE", "true");
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", at_once);
    }
    Ok(command)
}

/// Measures what the controller costs on a real API server, in a network namespace. Returns only if
/// it cannot be started.
///
/// # Errors
/// When something cannot be built, fetched or started.
pub fn load(more: &[String]) -> Result<()> {
    kubernetes_programs()?;
    step("building the controller and the load test");
    fedgate::build_optimized()?;
    let load = test_binary("load")?;
    step("running the load test; this takes several minutes");
    let mut command = network::isolated(load.as_os_str())?;
    command
        .current_dir(root().join("e2e"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("RUST_TEST_THREADS", "1")
        .env(fedgate::OPTIMIZED, "1");
    become_command(command.arg("--nocapture").args(more))
}

/// Runs the conformance suite of the Multi-Cluster Services API.
///
/// # Errors
/// When something cannot be built, fetched or started.
pub fn mcs_conformance(suite: &Path) -> Result<()> {
    let suite = suite.canonicalize().with_context(|| {
        format!("there is no {}; docs/mcs.md says how to build the suite", suite.display())
    })?;
    kubernetes_programs()?;
    fedgate::build()?;
    let program = test_binary("mcs_conformance")?;
    step("running the conformance suite; this takes several minutes");
    let mut command = network::isolated(program.as_os_str())?;
    command
        .current_dir(root().join("e2e"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("MCS_CONFORMANCE", suite);
    become_command(command.arg("--nocapture"))
}

/// Measures one controller in files mode with thousands of peers.
///
/// # Errors
/// When something cannot be built or started, or a limit is exceeded.
pub fn many_peers() -> Result<()> {
    step("building the controller and the measurement");
    fedgate::build_optimized()?;
    let mut command = measurement_of_peers()?;
    step("running the measurement; this takes some ten minutes");
    run(command.env(fedgate::OPTIMIZED, "1"))
}

/// The same in a short form, with fewer peers and in a debug build, which the tests have made
/// already. The figures mean nothing, but nothing may stay behind or be refused.
///
/// # Errors
/// When something cannot be built, or is missing at the end.
pub fn many_peers_in_short() -> Result<()> {
    step("building the controller and the measurement");
    fedgate::build_binaries(&["fedgate"])?;
    let mut command = measurement_of_peers()?;
    step("running the measurement in a debug build, for its outcome only");
    run(command.env("FLEET_SHORT", "1"))
}

fn measurement_of_peers() -> Result<Command> {
    step("building the filter");
    wasm::build()?;
    let mut command = Command::new(test_binary("controller")?);
    command.current_dir(root().join("e2e")).arg("--nocapture");
    Ok(command)
}

/// Builds or fetches what the tests on Kubernetes need from outside this workspace.
///
/// # Errors
/// When something cannot be built or fetched.
pub fn kubernetes_programs() -> Result<Vec<PathBuf>> {
    let mut programs = vec![
        kubernetes::etcd()?,
        kubernetes::api_server()?,
        kubernetes::kubectl()?,
        istio::crds()?,
        mcs::crds()?,
        helm::helm()?,
        spiffe::bundle()?,
    ];
    programs.extend(recipes::definitions()?);
    Ok(programs)
}

/// Builds or fetches what the tests on istiod need in addition to [`kubernetes_programs`].
///
/// # Errors
/// When something cannot be built or fetched.
pub fn istio_programs() -> Result<[PathBuf; 7]> {
    Ok([
        istio::istiod()?,
        istio::agent()?,
        istio::istioctl()?,
        istio::bootstrap()?,
        istio::injection()?,
        prometheus::prometheus()?,
        coredns::coredns()?,
    ])
}

/// Builds an end-to-end test target and returns the path of its program. This happens beforehand
/// because cargo cannot download anything in a network namespace.
fn test_binary(target: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--quiet", "--workspace", "--test", target, "--no-run"]).args(END_TO_END);
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = build.output().context("cannot start cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "this command failed with {}: {build:?}",
        output.status
    );
    let messages = output.stdout.split(|&byte| byte == b'\n');
    let binary = messages.filter_map(|line| executable(line, target)).next();
    binary
        .with_context(|| format!("cannot find the program of the test {target} in cargo's output"))
}

/// The program in a message of cargo, if it belongs to this target.
fn executable(message: &[u8], target: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_slice(message).ok()?;
    let executable = message["executable"].as_str()?;
    (message["target"]["name"] == target).then(|| executable.into())
}

/// Runs the demo. Returns only if it cannot be started: the demo replaces this process, so that it
/// handles Ctrl-C and sets the exit status.
///
/// # Errors
/// When something cannot be built, fetched or started.
pub fn demo(more: &[String]) -> Result<()> {
    prepare(&["fedgate", "demo"])?;
    become_command(Command::new(fedgate::binary("demo")).args(more))
}

/// Fetches and builds what a run needs. Prints each step, because the first run takes minutes.
pub(crate) fn prepare(binaries: &[&str]) -> Result<()> {
    #[cfg(target_os = "linux")]
    crate::inotify::check()?;
    step("looking for Envoy");
    envoy::path()?;
    step("building the filter");
    wasm::build()?;
    step("building the controller");
    fedgate::build_binaries(binaries)
}

/// Prints what happens next.
pub(crate) fn step(what: &str) {
    eprintln!("xtask: {what}");
}

/// Replaces this process, so that the command handles Ctrl-C and sets the exit status. Returns only
/// if it cannot be started.
#[cfg(unix)]
pub(crate) fn become_command(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let shown = format!("{command:?}");
    Err(command.exec()).with_context(|| format!("cannot start {shown}"))
}

#[cfg(not(unix))]
pub(crate) fn become_command(command: &mut Command) -> Result<()> {
    run(command)
}
