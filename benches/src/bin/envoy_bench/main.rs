//! What authorization costs a gateway: fedgate beside its alternatives, on a real Envoy
//! (`cargo xtask bench envoy`).
//!
//! Every variant is an Envoy of its own with one worker, made from the files that fedgate writes
//! for its gateway ([`variant`]). Clients make full mTLS handshakes and check each answer
//! ([`client`]). The variants take turns ([`rounds`]), and each is compared with no authorization
//! in the same round ([`summary`]). All variants write the same access log, to `/dev/null`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`backends`] | a back end for each service |
//! | [`client`] | one connection, and what is checked about it |
//! | [`comparison`] | two runs side by side |
//! | [`cores`] | a core for Envoy, the others for clients |
//! | [`empty_filter`] | a wasm filter that does nothing |
//! | [`gate`] | limits of a short run |
//! | [`load`] | batches of operations |
//! | [`machine`] | what a run was made on |
//! | [`measurement`] | the results, and their CSV files |
//! | [`meter`] | what Envoy's work is measured in |
//! | [`operation`] | what is measured |
//! | [`page`] | the generated tables of `docs/performance.md` |
//! | [`plots`] | the plots beside them |
//! | [`proxy`] | a running Envoy, its CPU time and memory |
//! | [`rbac`] | the same grants for Envoy's RBAC filter |
//! | [`rounds`] | the order of measurements |
//! | [`summary`] | from samples to results |
//! | [`update`] | what a new table does |
//! | [`variant`] | the gateways that are compared |
//! | [`world`] | peers, certificates, services and calls |

mod backends;
mod client;
mod comparison;
mod cores;
mod empty_filter;
mod gate;
mod load;
mod machine;
mod measurement;
mod meter;
mod operation;
mod page;
mod plots;
mod proxy;
mod rbac;
mod rounds;
mod summary;
mod update;
mod variant;
mod world;

use anyhow::{Context, Result};
use clap::Parser;
use cores::Cores;
use measurement::Results;
use meter::Meter;
use operation::Operation;
use rounds::{Contest, Plan, Programs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use variant::Variant;
use world::{Keys, World};

/// Measure what authorization costs a gateway.
///
/// The results are CSV files in target/envoy-bench/results, and tables on standard output.
#[derive(Parser)]
#[command(name = "cargo xtask bench envoy", bin_name = "cargo xtask bench envoy")]
struct Cli {
    /// Run a few rounds in less than two minutes, and fail if a result is outside wide limits.
    #[arg(long, conflicts_with_all = ["rows", "rounds", "connections", "record"])]
    short: bool,
    /// The sizes of the table.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000,100000")]
    rows: Vec<usize>,
    /// How often each variant is measured.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The number of connections in a measurement.
    #[arg(long, default_value_t = 300)]
    connections: usize,
    /// Write the results into docs/performance, and the tables into docs/performance.md.
    #[arg(long)]
    record: bool,
    /// Count Envoy's instructions in place of its CPU time, with 1,000 rows. This needs Valgrind.
    #[arg(long, conflicts_with_all = ["short", "rows", "rounds", "connections", "redraw", "compare"])]
    instructions: bool,
    /// Draw the tables and plots again from the recorded results, without measuring.
    #[arg(
        long,
        conflicts_with_all = ["short", "rows", "rounds", "connections", "record", "compare"]
    )]
    redraw: bool,
    /// Compare with the results in this folder.
    #[arg(long, value_name = "FOLDER")]
    compare: Option<PathBuf>,
    /// The folder for results and for Envoy's files.
    #[arg(long, hide = true)]
    folder: PathBuf,
    /// The folder of the documentation.
    #[arg(long, hide = true)]
    docs: PathBuf,
    /// Envoy.
    #[arg(long, hide = true)]
    envoy: PathBuf,
    /// The filter as a proxy-wasm module.
    #[arg(long, hide = true)]
    wasm: PathBuf,
    /// The filter as a dynamic module.
    #[arg(long, hide = true)]
    native: PathBuf,
}

impl Cli {
    fn programs(&self, meter: Meter) -> Programs<'_> {
        Programs { envoy: &self.envoy, wasm: &self.wasm, native: &self.native, meter }
    }
}

/// What a run measures.
struct Run {
    plan: Plan,
    rows: Vec<usize>,
    /// The size at which everything is measured that does not depend on the size.
    one_size: usize,
}

impl Run {
    fn new(cli: &Cli) -> Self {
        match cli.short {
            true => {
                Self { plan: Plan { rounds: 6, batch: 100 }, rows: vec![10, 10_000], one_size: 10 }
            }
            false => {
                let largest = |most| cli.rows.iter().copied().filter(|&rows| rows <= most).max();
                Self {
                    plan: Plan { rounds: cli.rounds, batch: cli.connections },
                    rows: cli.rows.clone(),
                    // The largest size that all variants can take, if there is one.
                    one_size: largest(10_000).or(largest(usize::MAX)).unwrap_or_default(),
                }
            }
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if cli.redraw {
        return record(&Results::read(&cli.docs.join("performance"))?, &cli.docs);
    }
    // Read before the run, which may replace these results.
    let base = cli.compare.as_deref().map(Results::read).transpose()?;
    let start = Instant::now();
    let cores = Cores::divide()?;
    if !cores.divided {
        eprintln!("this machine has one core: clients and back ends take time from Envoy");
    }
    let folder = cli.folder.join("results");
    std::fs::create_dir_all(&folder)?;
    if cli.instructions {
        let recorded = Results::read(&cli.docs.join("performance"))?;
        let instructions = count(cli, &cores)?.instructions;
        let results = Results { instructions, ..recorded };
        println!("{}", page::instructions(&results));
        return if cli.record { record(&results, &cli.docs) } else { Ok(()) };
    }
    let mut results = measure(cli, &cores, &folder)?;
    results.circumstances = machine::circumstances(&cli.envoy, &cores, start.elapsed())?;
    write(&results, &folder)?;
    print!("{}", page::all(&results));
    eprintln!("results: {}", folder.display());
    if let Some(base) = &base {
        println!("{}", comparison::table(base, &results));
    }
    if cli.record {
        // They are counted by another run.
        results.instructions = Results::read(&cli.docs.join("performance"))?.instructions;
        record(&results, &cli.docs)?;
    }
    match cli.short {
        true => gate::check(&results),
        false => Ok(()),
    }
}

/// Measures everything. What is complete is also in the folder, for a run that does not end.
fn measure(cli: &Cli, cores: &Cores, folder: &Path) -> Result<Results> {
    let start = Instant::now();
    let step = |what: &str| eprintln!("{:>4} s: {what}", start.elapsed().as_secs());
    let run = Run::new(cli);
    let programs = cli.programs(Meter::CpuTime);
    let mut results = Results::default();
    for &rows in &run.rows {
        let mut operations = Operation::AT_EVERY_SIZE.to_vec();
        if rows == run.one_size {
            operations.extend(Operation::AT_ONE_SIZE);
        }
        let variants =
            Variant::ALL.into_iter().filter(|variant| rows <= variant.most_rows(cli.short));
        step(&format!("{rows} rows: starting the gateways"));
        let world = World::new(rows, Keys::P256)?;
        let place = cli.folder.join(rows.to_string());
        let mut contest = Contest::start(world, variants, &operations, &programs, &place, cores)?;
        step(&format!("{rows} rows: measuring connections"));
        contest.run(run.plan)?;
        if rows == run.one_size || !cli.short {
            step(&format!("{rows} rows: changing the table"));
            contest.update()?;
        }
        if rows == run.one_size {
            step(&format!("{rows} rows: adding workers"));
            contest.add_workers(cores)?;
        }
        let measured = contest.end();
        summary::add_costs(&mut results, rows, &measured, cores);
        summary::add_tables(&mut results, rows, &measured);
        results.write(folder)?;
    }
    step("RSA keys");
    let world = World::new(run.one_size, Keys::Rsa2048)?;
    let variants = Variant::ALL.into_iter().filter(|variant| !variant.is_rbac());
    let place = cli.folder.join("rsa");
    let mut contest = Contest::start(world, variants, &[Operation::Rsa], &programs, &place, cores)?;
    contest.run(run.plan)?;
    summary::add_costs(&mut results, run.one_size, &contest.end(), cores);
    step("done");
    Ok(results)
}

/// Counts instructions.
fn count(cli: &Cli, cores: &Cores) -> Result<Results> {
    const ROWS: usize = 1_000;
    const PLAN: Plan = Plan { rounds: 4, batch: 100 };
    let operations: Vec<_> =
        Operation::AT_EVERY_SIZE.into_iter().chain([Operation::Request]).collect();
    let (programs, place) = (cli.programs(Meter::Instructions), cli.folder.join("instructions"));
    let world = World::new(ROWS, Keys::P256)?;
    let mut contest = Contest::start(world, Variant::ALL, &operations, &programs, &place, cores)?;
    contest.run(PLAN)?;
    let mut results = Results::default();
    summary::add_instructions(&mut results, ROWS, &contest.end());
    Ok(results)
}

/// Writes CSV files and plots into a folder.
fn write(results: &Results, folder: &Path) -> Result<()> {
    results.write(folder)?;
    for (name, svg) in plots::all(results)? {
        std::fs::write(folder.join(name), svg)?;
    }
    Ok(())
}

/// Writes the results into the documentation.
fn record(results: &Results, docs: &Path) -> Result<()> {
    let folder = docs.join("performance");
    std::fs::create_dir_all(&folder)?;
    write(results, &folder)?;
    let file = docs.join("performance.md");
    let page = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    std::fs::write(&file, page::fill(&page, results)?)?;
    eprintln!("recorded in {}", file.display());
    Ok(())
}
