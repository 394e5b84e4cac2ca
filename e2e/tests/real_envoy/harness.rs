//! The test harness itself: what the other tests rely on.

use anyhow::{Context, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::Client;
use fedgate_e2e::envoy::stock::StockGateway;
use fedgate_e2e::process::Process;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::path::Path;

const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/cart";
const GAMMA: &str = "spiffe://gamma.example/ns/shop/sa/cart";
const SNI: &str = "outbound_.80_._.web.shop.svc.beta.example";

/// This is the attack that fedgate exists for: with all roots in one list, any peer can pose as any
/// other.
#[test]
fn a_stock_gateway_lets_an_impostor_in() {
    scenario("stock", async |run: &RunFolder| {
        let (alpha, gamma) = (Authority::root("alpha")?, Authority::root("gamma")?);
        let server = alpha.sign(&Leaf::new().dns("gateway")?)?.write(run.path(), "server")?;
        let backend = Backend::http("web", "beta").await?;
        let roots = alpha.pem() + &gamma.pem();
        let stock = StockGateway::start(run, &roots, &server, ALPHA, backend.address()).await?;

        let get = async |leaf| Client::new(Some(&leaf))?.get(stock.address, SNI, "web").await;
        ensure!(get(alpha.workload(ALPHA)?).await?.body == identity("web", "beta"));
        ensure!(
            get(gamma.workload(ALPHA)?).await?.body == identity("web", "beta"),
            "the impostor gets in"
        );
        ensure!(backend.connections() == 2);
        ensure!(get(gamma.workload(GAMMA)?).await.is_err(), "gamma in its own name does not");
        Ok(())
    });
}

/// No process may be left behind, however a run ends. The test starts itself again as the run to be
/// killed.
#[test]
fn processes_end_with_the_run_even_when_it_is_killed() {
    const INNER: &str = "FEDGATE_E2E_INNER";
    const NAME: &str = "harness::processes_end_with_the_run_even_when_it_is_killed";
    if let Some(pid_file) = std::env::var_os(INNER) {
        hold_a_process(Path::new(&pid_file));
    }
    scenario("killed", async |run: &RunFolder| {
        let pid_file = run.path().join("pid");
        let mut inner = tokio::process::Command::new(std::env::current_exe()?);
        let mut inner =
            inner.args(["--exact", NAME]).env(INNER, &pid_file).kill_on_drop(true).spawn()?;
        let pid = wait::until("the inner run's process", SOON, async || {
            let text = std::fs::read_to_string(&pid_file)?;
            Ok(text
                .strip_suffix('\n')
                .and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)))
        });
        let pid = pid.await?;
        rustix::process::test_kill_process(pid).context("it runs")?;
        inner.kill().await?;
        let gone = async || Ok(rustix::process::test_kill_process(pid).is_err());
        wait::until_true("the inner run's process to end", SOON, gone).await
    });
}

/// Starts a process, writes its ID to a file, and waits to be killed.
fn hold_a_process(pid_file: &Path) -> ! {
    let sleep = Process::start(
        "sleep",
        Path::new("sleep"),
        &["600".as_ref()],
        &pid_file.with_extension("log"),
    );
    let _process =
        sleep.inspect(|sleep| std::fs::write(pid_file, format!("{}\n", sleep.id())).unwrap());
    loop {
        std::thread::park();
    }
}
